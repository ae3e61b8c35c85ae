"""`millrace ingest`: what changed since the last run, into the collection."""
