"""What a PDF library must be able to tell of one file, and the two that are known.

`pdf` judges and joins what an engine finds; it does not know which one it is.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from tasks.errors import ConfigurationError, MillraceError, Rejected

PdfEngine = Literal["pypdf", "pdfium"]

MEND_FILE = "Open it in a PDF viewer and print or save it anew (or run `qpdf in.pdf out.pdf`), then retry."


@dataclass(frozen=True, slots=True)
class RawPage:
    """What an engine finds on a page.

    `text` is as the page has it, with U+FFFD for each character that its font leaves unknown. `image_pixels` is the
    number of pixels of all images on the page, `area` its size in square points; both are told only where the text
    alone does not decide. `is_bare` says that nothing is drawn on the page at all.
    """

    text: str
    image_pixels: int = 0
    area: float = 0.0
    is_bare: bool = False


@dataclass(frozen=True, slots=True)
class OutlineEntry:
    """A bookmark: its level from 1 to 9, and the number of the page it leads to."""

    level: int
    title: str
    page: int


class PageDamaged(MillraceError):
    """One page that the engine cannot read; the others are not affected."""


class OpenPdf(Protocol):
    """One open file."""

    @property
    def page_count(self) -> int:
        """How many pages there are, at least one."""

    def page(self, number: int, *, min_characters: int) -> RawPage:
        """Page `number`, from 1. Of one with so many characters or more, the text alone is looked for.

        Raises:
            PageDamaged: it cannot be read.
        """

    def outline(self) -> list[OutlineEntry]:
        """The bookmarks that lead to a page, in their order; none when the outline cannot be read."""

    def named_title(self) -> str:
        """The title in the document information, as it stands there; "" without one."""

    def let_go(self) -> None:
        """Forget the contents of pages that were read."""


def require_engine(name: PdfEngine) -> None:
    """Raises `ConfigurationError` when the library of the engine is not installed."""
    if name == "pdfium" and importlib.util.find_spec("pypdfium2") is None:
        raise ConfigurationError(
            'documents.pdf_engine = "pdfium" needs the package pypdfium2: pip install "millrace[pdfium]" '
            '(or leave the setting at "pypdf")'
        )


def open_pdf(data: bytes, engine: PdfEngine) -> OpenPdf:
    """The file whose content is `data`.

    Raises:
        Rejected: "encrypted" or "damaged".
    """
    return _OPENERS[engine](data)


def damaged(said: str) -> Rejected:
    """The refusal of a file that cannot be read, with what the engine says."""
    return Rejected(f"The PDF cannot be read: {said}.", reason="damaged", remedy=MEND_FILE)


def locked() -> Rejected:
    """The refusal of a file that asks for a password."""
    return Rejected(
        "The file is encrypted and does not open with an empty password.",
        reason="encrypted",
        remedy="Save a copy without the password (for instance `qpdf --decrypt --password=... in.pdf out.pdf`).",
    )


def _open_with_pypdf(data: bytes) -> OpenPdf:
    from tasks.documents.pdf_pypdf import PypdfFile

    return PypdfFile(data)


def _open_with_pdfium(data: bytes) -> OpenPdf:
    from tasks.documents.pdf_pdfium import open_with_pdfium

    return open_with_pdfium(data)


_OPENERS: dict[PdfEngine, Callable[[bytes], OpenPdf]] = {"pypdf": _open_with_pypdf, "pdfium": _open_with_pdfium}
