"""The stages of an ingest: `scan`, `chunk`, `embed`, `load`. Each joins components."""
