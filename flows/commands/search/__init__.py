"""`millrace search`: embed a query, retrieve, rerank, and say where each hit stands."""
