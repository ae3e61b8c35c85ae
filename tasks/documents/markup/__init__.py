"""Formats whose text is read as it is written: plain text, Markdown and reStructuredText."""

from millrace.tasks.documents.markup.markdown import read_markdown
from millrace.tasks.documents.markup.plain_text import read_text, readable
from millrace.tasks.documents.markup.restructured import read_restructured

__all__ = ["read_markdown", "read_restructured", "read_text", "readable"]
