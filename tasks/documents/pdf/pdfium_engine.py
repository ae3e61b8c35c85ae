"""PDF files through pdfium (pypdfium2), the fast engine: an extra that `documents.pdf_engine = "pdfium"` asks for.

pypdf is asked where pdfium has no answer: for a file that pdfium cannot open; for a page on which it finds nothing at
all, which may be blank or have content that pdfium gave up without a word; for a page that shows text of which pdfium
returns no character, because it leaves out a string of one character whose glyph has no outline (glyphless fonts of OCR
programs, and fonts that are neither embedded nor installed here); and for a page with many characters that their fonts
do not name. There the number of a glyph may be the character all the same, as in old fonts of TeX, or any other: pypdf
can tell one kind of font from the other.
"""

import ctypes
import logging
import re
from itertools import compress, repeat

import pypdfium2
import pypdfium2.raw as pdfium

from millrace.tasks.documents.pdf.engine import OpenPdf, OutlineEntry, PageDamaged, RawPage, joined_surrogates, one_line
from millrace.tasks.documents.pdf.pypdf_engine import PypdfFile
from millrace.tasks.errors import Rejected

_MAX_OUTLINE_DEPTH = 40
_MAX_FORM_DEPTH = 4
_LINE_HYPHEN = "\ufffe"  # what pdfium puts for a hyphen and the line end after it, when a word goes on there
_UNREAD = re.compile("[\x00-\x08\x0b\x0e-\x1f\ufffd]")

logging.getLogger("pypdfium2").setLevel(logging.CRITICAL + 1)


def open_with_pdfium(data: bytes) -> OpenPdf:
    """The file, open in pdfium; in pypdf where pdfium does not open it.

    Raises:
        Rejected: "encrypted" or "damaged".
    """
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError:
        return PypdfFile(data)  # which may open it even where pdfium asks for a password
    return PdfiumFile(document, data) if len(document) else PypdfFile(data)


class PdfiumFile:
    """See `OpenPdf`; `data` is what `document` was opened from."""

    def __init__(self, document: pypdfium2.PdfDocument, data: bytes) -> None:
        self._document = document
        self._data = data
        self._other: PypdfFile | Rejected | None = None

    @property
    def page_count(self) -> int:
        """How many pages there are."""
        return len(self._document)

    def page(self, number: int, *, min_characters: int) -> RawPage:
        """What is on page `number`. Raises `PageDamaged`."""
        try:
            page = self._document[number - 1]
        except pypdfium2.PdfiumError as error:
            return self._second_opinion(number, min_characters, str(error))
        try:
            found = _raw_page(page, min_characters)
        except (pypdfium2.PdfiumError, ValueError) as error:
            return self._second_opinion(number, min_characters, str(error))
        finally:
            page.close()
        if found is None or _is_doubtful(found.text):
            return self._second_opinion(number, min_characters, "", found)
        return found

    def outline(self) -> list[OutlineEntry]:
        """The bookmarks that lead to a page."""
        entries = []
        try:
            for bookmark in self._document.get_toc(max_depth=_MAX_OUTLINE_DEPTH):
                destination = bookmark.get_dest()
                index = destination.get_index() if destination is not None else None
                title = one_line(bookmark.get_title())
                if index is not None and title:
                    entries.append(OutlineEntry(min(bookmark.level + 1, 9), title, index + 1))
        except (pypdfium2.PdfiumError, ValueError, RecursionError):
            return []
        return entries

    def named_title(self) -> str:
        """The title in the document information."""
        try:
            return str(self._document.get_metadata_value("Title"))
        except (pypdfium2.PdfiumError, ValueError):
            return ""

    def let_go(self) -> None:
        """Forget what pypdf keeps of pages that it was asked about; pdfium forgets a page when it is closed."""
        if isinstance(self._other, PypdfFile):
            self._other.let_go()

    def _second_opinion(self, number: int, min_characters: int, fault: str, found: RawPage | None = None) -> RawPage:
        """What pypdf finds on a page; where it knows no such page, what pdfium found, or nothing for sure."""
        if self._other is None:
            try:
                self._other = PypdfFile(self._data)
            except Rejected as refused:
                self._other = refused
        if isinstance(self._other, PypdfFile) and self._other.page_count == self.page_count:
            return self._other.page(number, min_characters=min_characters)
        if fault:
            raise PageDamaged(fault)
        return found or RawPage("")


def _is_doubtful(text: str) -> bool:
    """Whether so many characters are unknown, or no characters, that the page would not be taken."""
    letters = sum(map(len, text.split()))
    return len(_UNREAD.findall(text)) * 10 >= letters > 0


def _raw_page(page: pypdfium2.PdfPage, min_characters: int) -> RawPage | None:
    """What is on the page; None when pdfium finds nothing there, or shown text without one character."""
    textpage = page.get_textpage()
    try:
        text = _text(textpage)
    finally:
        textpage.close()
    characters = sum(map(len, text.split()))
    if characters >= min_characters:
        return RawPage(text)
    kinds, pixels = _drawn(page)
    if not characters and (not kinds or pdfium.FPDF_PAGEOBJ_TEXT in kinds):
        return None
    left, bottom, right, top = page.get_mediabox()
    return RawPage(text, pixels, abs((right - left) * (top - bottom)))


def _text(textpage: pypdfium2.PdfTextPage) -> str:
    """The page's text; U+FFFD for each character of which pdfium says that its font has no mapping for it.

    It would else stand as the character whose number the glyph happens to have.
    """
    handle, count = textpage.raw, textpage.count_chars()
    unknown = set(compress(range(count), map(pdfium.FPDFText_HasUnicodeMapError, repeat(handle), range(count))))
    if unknown:
        code_of = pdfium.FPDFText_GetUnicode
        text = "".join("\ufffd" if i in unknown else chr(code_of(handle, i)) for i in range(count))
    else:
        buffer = (ctypes.c_ushort * (count + 1))()
        written = pdfium.FPDFText_GetText(handle, 0, count, buffer)
        text = bytes(memoryview(buffer)[: max(written - 1, 0)]).decode("utf-16-le", "surrogatepass")
    return joined_surrogates(text.replace(_LINE_HYPHEN, "-\n").replace("\r\n", "\n"))


def _drawn(page: pypdfium2.PdfPage) -> tuple[set[int], int]:
    """The kinds of objects on the page, and how many pixels its images have."""
    kinds: set[int] = set()
    pixels = 0
    width, height = ctypes.c_uint(), ctypes.c_uint()
    for drawn in page.get_objects(max_depth=_MAX_FORM_DEPTH):
        if drawn.type == pdfium.FPDF_PAGEOBJ_FORM:
            continue
        kinds.add(drawn.type)
        if drawn.type == pdfium.FPDF_PAGEOBJ_IMAGE and pdfium.FPDFImageObj_GetImagePixelSize(drawn, width, height):
            pixels += width.value * height.value
    return kinds, pixels
