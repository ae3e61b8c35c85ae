"""The vector store: journal, immutable Parquet parts, an index of keys."""
