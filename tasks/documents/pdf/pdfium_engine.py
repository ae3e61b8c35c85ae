"""PDF files through pdfium (pypdfium2), the fast engine: an extra that `documents.pdf_engine = "pdfium"` asks for.

pypdf reads what pdfium cannot, or not as a person would see it.

A whole file: one that pdfium does not open, or whose pages it counts wrong; one with layers that are switched off,
which pdfium reads like the others; one with attached files, which pdfium does not tell from a portfolio.

A page: one on which pdfium finds nothing at all, which may be blank or have content that it gave up without a word; one
that shows text of which pdfium returns no character, because it leaves out a string of one character whose glyph has
no outline (glyphless fonts of OCR programs, and fonts that are neither embedded nor installed here); one with text
outside its crop box; one set in columns of Japanese; and one with many characters that their fonts do not name. There
the number of a glyph may be the character all the same, as in old fonts of TeX, or any other: pypdf can tell one kind
of font from the other.
"""

import ctypes
import logging
import re
from itertools import compress, islice, pairwise, repeat

import pypdfium2
import pypdfium2.raw as pdfium

from millrace.tasks.documents.pdf.engine import (
    OpenPdf,
    OutlineEntry,
    PageDamaged,
    RawPage,
    is_xfa_placeholder,
    join_surrogates,
    one_line,
    xfa_form,
)
from millrace.tasks.documents.pdf.pypdf_engine import PypdfFile, has_hidden_layers
from millrace.tasks.errors import Rejected

_MAX_OUTLINE_DEPTH = 40
_MAX_FORM_DEPTH = 4
_LINE_HYPHEN = "\ufffe"  # what pdfium puts for a hyphen and the line end after it, when a word goes on there
_UNREAD = re.compile("[\x00-\x08\x0b\x0e-\x1f\ufffd]")
_PAGE_OBJECT = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_LAYERS, _PACKED_OBJECTS = b"/OCProperties", b"/ObjStm"
_FORM_TYPE_XFA_DYNAMIC, _FORM_TYPE_XFA_STATIC = 2, 3  # fpdf_formfill.h
_ANNOTATIONS_WITH_TEXT = frozenset([pdfium.FPDF_ANNOT_WIDGET, pdfium.FPDF_ANNOT_FREETEXT])
_CROPPED = 1.0  # points that a crop box must cut off to be looked at
_AFTER_WORD = re.compile(r"(?<=[^\W_])\d|(?<=[)\]])\d")
_MIN_RISE, _MAX_RISE, _MAX_RAISED_SIZE = 0.15, 0.75, 0.86  # of the size of the character before
_IDEOGRAPHS = re.compile("[\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff]{2}")
_SAMPLED_PAIRS = 24
_SAMPLED_TEXTS = 16
_NOTHING = 0.01  # points; pdfium leaves out a string that is less wide

logging.getLogger("pypdfium2").setLevel(logging.CRITICAL + 1)


def open_with_pdfium(data: bytes) -> OpenPdf:
    """The file, open in pdfium; in pypdf where that reads it better.

    Raises:
        Rejected: "encrypted", "damaged", "portfolio" or "xfa_form".
    """
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError:
        return PypdfFile(data)  # which may open it even where pdfium asks for a password
    if pdfium.FPDF_GetFormType(document) == _FORM_TYPE_XFA_DYNAMIC:
        raise xfa_form()
    count = len(document)
    if not count or not _has_page(document, count - 1) or pdfium.FPDFDoc_GetAttachmentCount(document):
        return PypdfFile(data)
    if (_LAYERS in data or _PACKED_OBJECTS in data) and has_hidden_layers(data):
        return PypdfFile(data)
    if sum(1 for _ in _PAGE_OBJECT.finditer(data)) > count:  # or there are earlier versions of pages
        try:
            other = PypdfFile(data)
        except Rejected:
            return PdfiumFile(document, data)
        return other if other.page_count > count else PdfiumFile(document, data, other)
    return PdfiumFile(document, data)


def _has_page(document: pypdfium2.PdfDocument, index: int) -> bool:
    """Whether a page can be found; its content is not parsed, which might take longer than opening may."""
    try:
        document.get_page_size(index)
    except pypdfium2.PdfiumError:
        return False
    return True


class PdfiumFile:
    """See `OpenPdf`; `data` is what `document` was opened from, `other` the same in pypdf if it is open already."""

    def __init__(self, document: pypdfium2.PdfDocument, data: bytes, other: PypdfFile | None = None) -> None:
        self._document = document
        self._data = data
        self._other: PypdfFile | Rejected | None = other
        self._is_xfa = pdfium.FPDF_GetFormType(document) == _FORM_TYPE_XFA_STATIC

    @property
    def page_count(self) -> int:
        """How many pages there are."""
        return len(self._document)

    def page(self, number: int, *, min_characters: int) -> RawPage:
        """What is on page `number`. Raises `PageDamaged`, and `Rejected` for an XFA form."""
        try:
            page = self._document[number - 1]
        except pypdfium2.PdfiumError as error:
            return self._page_of_pypdf(number, min_characters, str(error))
        try:
            found = _raw_page(page, min_characters)
            has_more = _has_annotations_with_text(page)
        except (pypdfium2.PdfiumError, ValueError) as error:
            return self._page_of_pypdf(number, min_characters, str(error))
        finally:
            page.close()
        if found is None or _is_doubtful(found.text):
            return self._page_of_pypdf(number, min_characters, "", found)
        if self._is_xfa and is_xfa_placeholder(found.text):
            raise xfa_form()
        if has_more and (other := self._pypdf()) is not None:
            text = "\n".join([*filter(None, [found.text]), *other.annotation_texts(number)])
            return RawPage(text, found.image_pixels, found.area, is_bare=False)
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

    def metadata_title(self) -> str:
        """The title in the document information."""
        try:
            return str(self._document.get_metadata_value("Title"))
        except (pypdfium2.PdfiumError, ValueError):
            return ""

    def attachments(self) -> list[str]:
        """None: pypdf reads a file that has some."""
        return []

    def release_pages(self) -> None:
        """Free what pypdf keeps of pages that it was asked about; pdfium frees a page when it is closed."""
        if isinstance(self._other, PypdfFile):
            self._other.release_pages()

    def _pypdf(self) -> PypdfFile | None:
        """The file in pypdf; None where pypdf does not open it, or counts other pages."""
        if self._other is None:
            try:
                self._other = PypdfFile(self._data)
            except Rejected as refused:
                self._other = refused
        same_pages = isinstance(self._other, PypdfFile) and self._other.page_count == self.page_count
        return self._other if isinstance(self._other, PypdfFile) and same_pages else None

    def _page_of_pypdf(self, number: int, min_characters: int, fault: str, found: RawPage | None = None) -> RawPage:
        """What pypdf finds on a page; where pypdf cannot be asked, what pdfium found, or nothing for sure."""
        if (other := self._pypdf()) is not None:
            return other.page(number, min_characters=min_characters)
        if fault:
            raise PageDamaged(fault)
        return found or RawPage("")


def _is_doubtful(text: str) -> bool:
    """Whether so many characters are unknown, or no characters, that the page would not be taken."""
    letters = sum(map(len, text.split()))
    return len(_UNREAD.findall(text)) * 10 >= letters > 0


def _raw_page(page: pypdfium2.PdfPage, min_characters: int) -> RawPage | None:
    """What is on the page; None where pypdf has to be asked."""
    textpage = page.get_textpage()
    try:
        text = _text(textpage)
        if _has_text_outside(page, textpage, text) or _is_set_in_columns(textpage, text):
            return None
        if _lacks_characters(page, textpage):
            return None
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
    if len(text) == count:  # else indices in the text are not those of pdfium
        text = _with_raised_figures(textpage, text)
    return join_surrogates(text.replace(_LINE_HYPHEN, "-\n").replace("\r\n", "\n"))


def _with_raised_figures(textpage: pypdfium2.PdfTextPage, text: str) -> str:
    """The text with a `^` before figures that are raised, without which 10 to the 6th would be 106."""
    raised = [found.start() for found in _AFTER_WORD.finditer(text) if _is_raised(textpage, found.start())]
    bounds = [0, *raised, len(text)]
    return "^".join(text[start:end] for start, end in pairwise(bounds))


def _is_raised(textpage: pypdfium2.PdfTextPage, index: int) -> bool:
    base, figure = _base_and_size(textpage, index - 1), _base_and_size(textpage, index)
    if base is None or figure is None or base[1] <= 0:
        return False
    return _MIN_RISE < (figure[0] - base[0]) / base[1] < _MAX_RISE and figure[1] < _MAX_RAISED_SIZE * base[1]


def _base_and_size(textpage: pypdfium2.PdfTextPage, index: int) -> tuple[float, float] | None:
    """The baseline of a character, and the height of its font, in points; None where pdfium does not know."""
    x, y, box = ctypes.c_double(), ctypes.c_double(), pdfium.FS_RECTF()
    is_known = pdfium.FPDFText_GetCharOrigin(textpage, index, x, y) and pdfium.FPDFText_GetLooseCharBox(
        textpage, index, box
    )
    return (y.value, abs(box.top - box.bottom)) if is_known else None


def _has_text_outside(page: pypdfium2.PdfPage, textpage: pypdfium2.PdfTextPage, text: str) -> bool:
    """Whether some of the text lies outside of the crop box, where nobody sees it."""
    crop, media = page.get_cropbox(), page.get_mediabox()
    inset = (crop[0] - media[0], crop[1] - media[1], media[2] - crop[2], media[3] - crop[3])
    if max(inset) < _CROPPED:
        return False
    inside = textpage.get_text_bounded(*crop)
    return sum(map(len, inside.split())) < sum(map(len, text.split()))


def _lacks_characters(page: pypdfium2.PdfPage, textpage: pypdfium2.PdfTextPage) -> bool:
    """Whether pdfium may have left out strings of one character, beside longer ones in a font without outlines.

    Such a font shows in the first strings of a page, which have a width and no height; a space never has a height.
    """
    texts = page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_TEXT], max_depth=_MAX_FORM_DEPTH)
    if not any(_has_no_outlines(text, textpage) for text in islice(texts, _SAMPLED_TEXTS)):
        return False
    every_text = page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_TEXT], max_depth=_MAX_FORM_DEPTH)
    return any(_extent(text) == (False, False) for text in every_text)


def _has_no_outlines(text: pypdfium2.PdfObject, textpage: pypdfium2.PdfTextPage) -> bool:
    """Whether a string shows characters in a font without outlines."""
    if _extent(text) != (True, False):
        return False
    size = pdfium.FPDFTextObj_GetText(text, textpage, None, 0)
    buffer = (ctypes.c_ushort * max(size // 2, 1))()
    pdfium.FPDFTextObj_GetText(text, textpage, buffer, size)
    return not bytes(buffer).decode("utf-16-le", "replace").strip("\0").isspace()


def _extent(drawn: pypdfium2.PdfObject) -> tuple[bool, bool]:
    """Whether an object has a width and a height."""
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    if not pdfium.FPDFPageObj_GetBounds(drawn, left, bottom, right, top):
        return True, True
    return abs(right.value - left.value) > _NOTHING, abs(top.value - bottom.value) > _NOTHING


def _is_set_in_columns(textpage: pypdfium2.PdfTextPage, text: str) -> bool:
    """Whether Chinese or Japanese is set from top to bottom: pdfium then reads the columns from left to right."""
    pairs = [found.start() for found in _IDEOGRAPHS.finditer(text)][:_SAMPLED_PAIRS]
    down = 0
    x, y, below_x, below_y = (ctypes.c_double() for _ in range(4))
    for index in pairs:
        pdfium.FPDFText_GetCharOrigin(textpage, index, x, y)
        pdfium.FPDFText_GetCharOrigin(textpage, index + 1, below_x, below_y)
        fall = y.value - below_y.value
        down += fall > 0 and abs(x.value - below_x.value) < fall / 2
    return len(pairs) > 1 and down * 2 > len(pairs)


def _has_annotations_with_text(page: pypdfium2.PdfPage) -> bool:
    """Whether the page has form fields or typed-in text."""
    for index in range(pdfium.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        if annotation:
            kind = pdfium.FPDFAnnot_GetSubtype(annotation)
            pdfium.FPDFPage_CloseAnnot(annotation)
            if kind in _ANNOTATIONS_WITH_TEXT:
                return True
    return False


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
