"""What a PDF library must be able to tell of one file, and the two that are known.

`pdf` judges and joins what an engine finds; it does not know which one it is.

What the readers of PDF pages and outlines share: the repair of characters.

Fonts draw some characters through others that look the same, which no search would match: Kangxi and CJK radicals
(U+2E80 to U+2FDF) become the ideographs they stand for, and the Latin ligatures (U+FB00 to U+FB06) their letters.
Surrogate pairs are joined, and control characters other than line breaks and tabs removed.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Protocol

from millrace.tasks.errors import MillraceError, Rejected

_MAX_TITLE_CHARACTERS = 300
_SURROGATE = re.compile("[\ud800-\udfff]")
_REMOVED = dict.fromkeys([*range(9), 11, *range(14, 32), 127, 0xFFFE, 0xFFFF])
_SAME_LOOKS = {
    code: unicodedata.normalize("NFKC", chr(code))
    for block in (range(0x2E80, 0x2FE0), range(0xFB00, 0xFB07))
    for code in block
    if unicodedata.normalize("NFKC", chr(code)) != chr(code)
}


def joined_surrogates(text: str) -> str:
    """The text with its surrogate pairs joined, and U+FFFD for each one that stands alone."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def searchable(text: str) -> str:
    """The text without control characters, and with the characters that people type for those that look the same."""
    return text.translate(_REMOVED).translate(_SAME_LOOKS)


def one_line(title: str) -> str:
    """A title as one line of at most 300 characters."""
    return " ".join(searchable(joined_surrogates(title)).split())[:_MAX_TITLE_CHARACTERS]


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
