"""What a PDF library must be able to do with one file, whichever of the two that are known it is.

`reader` judges and joins the pages that an engine reads; it does not know which engine that is. What the engines share
is here too: their refusals of a file, and the repair of characters. Fonts draw some characters through others that look
the same, which no search would match: Kangxi and CJK radicals (U+2E80 to U+2FDF) become the ideographs they stand for,
and the Latin ligatures (U+FB00 to U+FB06) their letters. Surrogate pairs are joined; control characters other than line
breaks and tabs, and characters without width that are no part of a script's spelling, are removed.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from millrace.tasks.errors import MillraceError, Rejected

SAVE_ANEW = "Open it in a PDF viewer and print or save it anew (or run `qpdf in.pdf out.pdf`), then retry."
"""The remedy for a damaged file."""

DETACH = "Save the attached files (for instance with `pdfdetach -saveall in.pdf`) and name their folder as a source."
"""The remedy for attachments, which are not read."""

_MAX_TITLE_CHARACTERS = 300
_MAX_NAMES_SHOWN = 8
_SURROGATE = re.compile("[\ud800-\udfff]")
_REMOVED = dict.fromkeys([*range(9), 11, *range(14, 32), 127, 0x200B, 0x2060, 0xFEFF, 0xFFFE, 0xFFFF])
_SAME_LOOKS = {
    code: unicodedata.normalize("NFKC", chr(code))
    for block in (range(0x2E80, 0x2FE0), range(0xFB00, 0xFB07))
    for code in block
    if unicodedata.normalize("NFKC", chr(code)) != chr(code)
}
_DOCUMENT_SUFFIXES = frozenset(
    [
        *(".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".pptx", ".odt", ".ods", ".odp", ".rtf", ".epub"),
        *(".txt", ".md", ".html", ".htm", ".csv", ".eml", ".msg", ".zip"),
    ]
)


@dataclass(frozen=True, slots=True)
class RawPage:
    """What an engine finds on a page.

    `text` is as the page has it, with U+FFFD for each character that its font leaves unknown. `image_pixels` is the
    number of pixels of all images on the page, `area` its size in square points; both are set only where the text alone
    does not decide. `is_bare` says that nothing is drawn on the page at all.
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
        """Page `number`, from 1. If it has `min_characters` or more, nothing but its text is determined.

        Raises:
            PageDamaged: it cannot be read.
            Rejected: it shows that the whole file is nothing to read: "xfa_form".
        """

    def outline(self) -> list[OutlineEntry]:
        """The bookmarks that lead to a page, in their order; none when the outline cannot be read."""

    def metadata_title(self) -> str:
        """The title in the document information, as it stands there; "" without one."""

    def attachments(self) -> list[str]:
        """The names of the files that are attached; none when their list cannot be read."""

    def release_pages(self) -> None:
        """Free the contents of pages that were read."""


def join_surrogates(text: str) -> str:
    """The text with its surrogate pairs joined, and U+FFFD for each one that stands alone."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def searchable(text: str) -> str:
    """The text without control characters, and with the characters that people type for those that look the same."""
    return text.translate(_REMOVED).translate(_SAME_LOOKS)


def one_line(title: str) -> str:
    """A title as one line of at most 300 characters."""
    return " ".join(searchable(join_surrogates(title)).split())[:_MAX_TITLE_CHARACTERS]


def attached_documents(names: Sequence[str]) -> list[str]:
    """The attached files that are documents for people, by their suffix; the data of an invoice (XML) is not one."""
    return [name for name in map(one_line, names) if PurePosixPath(name).suffix.lower() in _DOCUMENT_SUFFIXES]


def listed_names(names: Sequence[str]) -> str:
    """The first names, in a length fit for a message."""
    more = len(names) - _MAX_NAMES_SHOWN
    return ", ".join(names[:_MAX_NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def damaged_file(detail: str) -> Rejected:
    """The refusal of a file that cannot be read; `detail` is the engine's message."""
    return Rejected(f"The PDF cannot be read: {detail.rstrip('.')}.", reason="damaged", remedy=SAVE_ANEW)


def locked_file() -> Rejected:
    """The refusal of a file that asks for a password."""
    return Rejected(
        "The file is encrypted and does not open with an empty password.",
        reason="encrypted",
        remedy="Save a copy without the password (for instance `qpdf --decrypt --password=... in.pdf out.pdf`).",
    )


def portfolio(names: Sequence[str]) -> Rejected:
    """The refusal of a file that is nothing but a cover of its attachments."""
    return Rejected(
        f"The PDF is a portfolio: its page is a cover, and its content is in attached files ({listed_names(names)}).",
        reason="portfolio",
        remedy=DETACH,
    )


def xfa_form() -> Rejected:
    """The refusal of a form that only Adobe's programs can draw."""
    return Rejected(
        "The PDF is an XFA form: its content is in the form's data, and its page only says so.",
        reason="xfa_form",
        remedy="Open it in Adobe Acrobat or Reader and print it to a PDF file, then retry.",
    )


def is_xfa_placeholder(text: str) -> bool:
    """Whether a page of an XFA form is what Adobe's programs put there for all other viewers."""
    return text.lstrip().startswith("Please wait...")
