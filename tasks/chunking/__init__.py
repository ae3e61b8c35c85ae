"""Text to chunks: a tokenizer, and a splitter that keeps chunks within both bounds and stable under edits.

This component knows text, headings and pages. It must not know files, models, prices or collections.
"""

from millrace.tasks.chunking.chunks import chunk_document
from millrace.tasks.chunking.options import ChunkOptions
from millrace.tasks.chunking.splitter import Span, split
from millrace.tasks.chunking.tokenizer import Tokenizer, tokenizer_identity

__all__ = ["ChunkOptions", "Span", "Tokenizer", "chunk_document", "split", "tokenizer_identity"]
