"""The PDF file that is open: one at a time, kept for whoever asks for the same one next.

Opening a file of thousands of pages takes seconds, and a process reads many ranges of it one after the other.
"""

import functools
import hashlib
from dataclasses import dataclass

from tasks.documents.file_bytes import bytes_of
from tasks.documents.pdf_engine import OpenPdf, PdfEngine, open_pdf
from tasks.errors import Rejected
from tasks.records import SourceFile

_HEADER_SEARCH_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open file, and the SHA-256 (hex) of its bytes."""

    pdf: OpenPdf
    digest: str


@functools.lru_cache(maxsize=1)
def open_file(file: SourceFile, engine: PdfEngine) -> OpenFile:
    """The file, open until it is closed or another one is opened.

    Raises:
        Rejected: "not_a_pdf", "encrypted" or "damaged".
        OSError: it cannot be read.
    """
    data = bytes_of(file.path)
    if b"%PDF-" not in data[:_HEADER_SEARCH_BYTES]:
        raise Rejected(
            f"The file is no PDF: it begins with {data[:16]!r}.",
            reason="not_a_pdf",
            remedy="Give it the suffix of what it is, or fetch it again: servers send error pages under any name.",
        )
    return OpenFile(open_pdf(data, engine), hashlib.sha256(data).hexdigest())


def close_file() -> None:
    """Close the file that is open, if any."""
    open_file.cache_clear()
