"""millrace: a corpus into rows of a Milvus collection, embedded with Qwen's text-embedding models."""
