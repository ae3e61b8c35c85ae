"""Settings and their defaults; the catalogue of models."""
