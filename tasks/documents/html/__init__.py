"""HTML to text: the content of a page, with its headings, lists and tables."""

from millrace.tasks.documents.html.reader import declared_charset, read_html

__all__ = ["declared_charset", "read_html"]
