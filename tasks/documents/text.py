"""Plain text: kept as it is, without headings and title."""

from tasks.documents.extraction import Extraction


def read_text(text: str) -> Extraction:
    """The text itself."""
    return Extraction(text)
