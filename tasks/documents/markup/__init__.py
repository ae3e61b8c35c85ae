"""Formats of text: plain text, Markdown, reStructuredText, notebooks, subtitles, XML."""

from millrace.tasks.documents.markup.markdown import read_markdown
from millrace.tasks.documents.markup.notebook import read_notebook
from millrace.tasks.documents.markup.plain_text import read_text, readable
from millrace.tasks.documents.markup.restructured import read_restructured
from millrace.tasks.documents.markup.subtitles import read_subtitles
from millrace.tasks.documents.markup.xml import read_xml

__all__ = [
    "read_markdown", "read_notebook", "read_restructured", "read_subtitles", "read_text", "read_xml", "readable",
]  # fmt: skip
