"""Formats whose text is its own markup, kept unchanged: Markdown and reStructuredText."""

from millrace.tasks.documents.markup.markdown import read_markdown
from millrace.tasks.documents.markup.restructured import read_restructured

__all__ = ["read_markdown", "read_restructured"]
