"""The PDF file that is open: one at a time, and kept open, because the next call often asks for the same one.

Opening a file of thousands of pages takes seconds, and a process reads many ranges of it one after the other.
"""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from millrace.tasks.documents.file_kinds import HEAD_BYTES, kind_of
from millrace.tasks.documents.options import PdfEngine
from millrace.tasks.documents.pdf.engine import OpenPdf
from millrace.tasks.documents.source_bytes import read_source
from millrace.tasks.errors import Rejected
from millrace.tasks.records import SourceFile

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
        Rejected: "not_a_pdf", "link_leaves_source", "encrypted", "damaged", "portfolio" or "xfa_form".
        OSError: it cannot be read.
    """
    data = read_source(file)
    if b"%PDF-" not in data[:_HEADER_SEARCH_BYTES]:
        kind = kind_of(data[:HEAD_BYTES])
        raise Rejected(
            f"The file is {kind}, not a PDF." if kind else f"The file is not a PDF: it begins with {data[:16]!r}.",
            reason="not_a_pdf",
            remedy="Give it the suffix of its format, or fetch it again: servers send error pages under any name.",
        )
    return OpenFile(open_pdf(data, engine), hashlib.sha256(data).hexdigest())


def close_file() -> None:
    """Close the file that is open, if any."""
    open_file.cache_clear()


def open_pdf(data: bytes, engine: PdfEngine) -> OpenPdf:
    """The file whose content is `data`.

    Raises:
        Rejected: "encrypted", "damaged", "portfolio" or "xfa_form".
    """
    return _OPENERS[engine](data)


def _open_with_pypdf(data: bytes) -> OpenPdf:
    from millrace.tasks.documents.pdf.pypdf_engine import PypdfFile

    return PypdfFile(data)


def _open_with_pdfium(data: bytes) -> OpenPdf:
    from millrace.tasks.documents.pdf.pdfium_engine import open_with_pdfium

    return open_with_pdfium(data)


_OPENERS: dict[PdfEngine, Callable[[bytes], OpenPdf]] = {"pypdf": _open_with_pypdf, "pdfium": _open_with_pdfium}
