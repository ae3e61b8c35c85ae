"""Reranking: the models, the dialects of their servers, and inputs that fit a request."""
