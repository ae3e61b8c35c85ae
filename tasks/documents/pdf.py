"""PDF to text, page by page, through pypdf.

Each page's text layer is judged (`page_judgement`) and taken or rejected by itself; whatever pypdf raises over one
page, object or outline costs that page, object or outline. Pages are joined by a blank line; hyphens at the ends of
lines stay.

**Characters.** Fonts draw some characters through others that look the same, which no search would match: Kangxi and
CJK radicals (U+2E80 to U+2FDF) become the ideographs they stand for, and the Latin ligatures (U+FB00 to U+FB06) their
letters. Surrogate pairs are joined, control characters other than line breaks and tabs removed, and what a font leaves
unreadable on a page that is readable otherwise stands as one U+FFFD.

**Space.** pypdf keeps every object it has resolved; contents and fonts are let go every `_PAGES_BEFORE_RELEASE` pages,
so memory follows the file's size and not the number of its pages.
"""

import io
import logging
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pypdf
from pypdf.errors import PdfStreamError, PyPdfError
from pypdf.generic import NameObject, StreamObject

from tasks.documents.extraction import Extraction, given_up
from tasks.documents.page_judgement import judge_page
from tasks.documents.pdf_fonts import dictionary, mend_fonts, show_word_gaps
from tasks.documents.pdf_images import image_pixels, is_unreadable, page_area
from tasks.documents.pdf_outline import OutlineEntry, outline_of, placed_headings, title_of
from tasks.documents.pdf_text import PDF_FAULTS, joined_surrogates, searchable
from tasks.errors import Rejected
from tasks.records import Page, Reject

_PAGES_BEFORE_RELEASE = 20
_HEADER_SEARCH_BYTES = 1 << 16
_CATALOG = re.compile(rb"\b(\d{1,8})\s+(\d{1,5})\s+obj\b[^>]{0,500}?/Type\s*/Catalog\b")
_INHERITED = ("/Resources", "/MediaBox", "/CropBox", "/Rotate")

_MEND_FILE = "Open it in a PDF viewer and print or save it anew (or run `qpdf in.pdf out.pdf`), then retry."
_ADD_TEXT_LAYER = "Run it through text recognition (for instance `ocrmypdf --force-ocr in.pdf out.pdf`), then retry."
_UNKNOWN_RUN = re.compile("\ufffd+")

# pypdf tells of each fault that it works around; what matters here becomes a Reject.
logging.getLogger("pypdf").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module=r"(?:pypdf|cryptography)\b")


@dataclass(slots=True)
class _Pages:
    """The pages taken so far, and those refused."""

    texts: list[str] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    length: int = 0

    def take(self, number: int, text: str) -> None:
        start = self.length + (2 if self.pages else 0)
        self.texts.append(text)
        self.length = start + len(text)
        self.pages.append(Page(number, start, self.length))


def read_pdf(
    data: bytes, name: str, *, min_page_characters: int, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Extraction | Reject]:
    """The document's text with its pages, then a Reject for each page (or the outline) that could not be taken.

    Raises:
        Rejected: nothing of it can be taken: "not_a_pdf", "encrypted", "damaged", "no_text_layer", "timeout".
    """
    reader = _opened(data)
    pages = _readable_pages(reader)
    taken = _Pages()
    for number, page in enumerate(pages, start=1):
        item = f"page {number}"
        if item in skip:
            taken.rejects.append(given_up(name, item, skip[item], _MEND_FILE))
            continue
        at(item)
        text = _page_text(page, name, item, min_page_characters)
        if isinstance(text, Reject):
            taken.rejects.append(text)
        else:
            taken.take(number, text)
        if number % _PAGES_BEFORE_RELEASE == 0:
            _let_go(reader)
    if not taken.pages:
        raise _nothing_usable(taken.rejects)
    text = "\n\n".join(taken.texts)
    entries: list[OutlineEntry] = []
    if "outline" in skip:
        taken.rejects.append(given_up(name, "outline", skip["outline"], _MEND_FILE))
    else:
        at("outline")
        entries = outline_of(reader)
    headings = placed_headings(entries, text, taken.pages)
    yield Extraction(text, title=title_of(reader, entries), headings=headings, pages=tuple(taken.pages))
    yield from taken.rejects


def _opened(data: bytes) -> pypdf.PdfReader:
    if b"%PDF-" not in data[:_HEADER_SEARCH_BYTES]:
        raise Rejected(
            f"The file is no PDF: it begins with {data[:16]!r}.",
            reason="not_a_pdf",
            remedy="Give it the suffix of what it is, or fetch it again: servers send error pages under any name.",
        )
    try:
        reader = _reader_of(data)
        locked = reader.is_encrypted and not reader.decrypt("")
    except PDF_FAULTS as fault:
        raise _damaged(fault) from fault
    if locked:
        raise Rejected(
            "The file is encrypted and does not open with an empty password.",
            reason="encrypted",
            remedy="Save a copy without the password (for instance `qpdf --decrypt --password=... in.pdf out.pdf`).",
        )
    return reader


def _reader_of(data: bytes) -> pypdf.PdfReader:
    """A reader; of whatever objects there are when the end of the file, with its table of objects, is missing."""
    try:
        return pypdf.PdfReader(io.BytesIO(data))
    except PyPdfError:
        catalog = _CATALOG.search(data)
        root = b"trailer\n<< /Root %s %s R >>\n" % (catalog[1], catalog[2]) if catalog is not None else b""
        # With an end that points nowhere, pypdf looks for the objects themselves.
        return pypdf.PdfReader(io.BytesIO(b"%s\n%sstartxref\n0\n%%%%EOF\n" % (data, root)))


def _damaged(fault: Exception) -> Rejected:
    return Rejected(f"The PDF cannot be read: {_said(fault)}.", reason="damaged", remedy=_MEND_FILE)


def _said(fault: BaseException) -> str:
    """What an exception of pypdf says, in one line."""
    words = " ".join(str(fault).split())[:200].rstrip(".")
    return f"{type(fault).__name__}: {words}" if words else type(fault).__name__


def _readable_pages(reader: pypdf.PdfReader) -> Iterator[pypdf.PageObject | Exception]:
    """The pages in order; in the place of one that cannot be reached, why.

    Raises:
        Rejected: there is no page.
    """
    try:
        count = len(reader.pages)
        pages = _each_page(reader, count)
    except PDF_FAULTS as fault:
        found = list(_pages_of_tree(reader))
        if all(isinstance(page, Exception) for page in found):
            raise _damaged(fault) from fault
        return iter(found)
    if not count:
        raise Rejected("The PDF has no pages.", reason="damaged", remedy=_MEND_FILE)
    return pages


def _each_page(reader: pypdf.PdfReader, count: int) -> Iterator[pypdf.PageObject | Exception]:
    for index in range(count):
        try:
            yield reader.pages[index]
        except PDF_FAULTS as fault:
            yield fault


def _pages_of_tree(reader: pypdf.PdfReader) -> Iterator[pypdf.PageObject | Exception]:
    """What can be reached of a page tree that pypdf refuses as a whole: cyclic, too deep, or with a broken branch."""
    seen: set[int] = set()
    try:
        stack: list[tuple[Any, dict[str, Any]]] = [(reader.root_object.get("/Pages"), {})]
    except PDF_FAULTS as fault:
        yield fault
        return
    while stack:
        reference, inherited = stack.pop()
        try:
            node = dictionary(reference)
            if id(node) in seen or not node:
                continue
            seen.add(id(node))
            inherited = inherited | {key: node[key] for key in _INHERITED if key in node}
            kids = node.get("/Kids")
            if kids is not None:
                stack.extend((kid, inherited) for kid in reversed(kids.get_object()))
                continue
            page = pypdf.PageObject(reader, reference)
            page.update({NameObject(key): value for key, value in (inherited | dict(node)).items()})
        except PDF_FAULTS as fault:
            yield fault
        else:
            yield page


def _page_text(page: pypdf.PageObject | Exception, name: str, item: str, min_characters: int) -> str | Reject:
    """The page's text, cleaned and stripped, or why it has none."""
    try:
        if isinstance(page, Exception):
            raise page
        mend_fonts(page)
        raw = joined_surrogates(page.extract_text(visitor_operand_before=show_word_gaps))
        sparse = sum(map(len, raw.split())) < min_characters
        pixels, area = (image_pixels(page), page_area(page)) if sparse else (0, 0.0)
        if not raw and not pixels and is_unreadable(page):
            raise PdfStreamError("the page's content cannot be decompressed")
    except PDF_FAULTS as fault:
        return Reject("read", name, item, "page_damaged", f"The page cannot be read: {_said(fault)}.", _MEND_FILE)
    except MemoryError:
        return Reject("read", name, item, "memory", "The page needs more memory than it may have.", _MEND_FILE)
    verdict = judge_page(raw, image_pixels=pixels, page_area=area, min_characters=min_characters)
    if verdict is not None:
        return Reject("read", name, item, verdict.reason, verdict.message, _ADD_TEXT_LAYER)
    return _UNKNOWN_RUN.sub("\ufffd", searchable(raw)).strip()


def _let_go(reader: pypdf.PdfReader) -> None:
    """Forget the contents of pages and fonts that pypdf keeps; what they are reached by is small and stays."""
    kept = reader.resolved_objects
    for key in [k for k, v in kept.items() if isinstance(v, StreamObject) and v.get("/Type") != "/ObjStm"]:
        del kept[key]


def _nothing_usable(rejects: list[Reject]) -> Rejected:
    seen = Counter(r.reason for r in rejects)
    first = rejects[0]
    if set(seen) <= {first.reason} & {"timeout", "reader_died", "memory", "page_damaged"}:
        reason = {"page_damaged": "damaged"}.get(first.reason, first.reason)
        return Rejected(
            f"None of {len(rejects)} pages can be read. {first.message}", reason=reason, remedy=first.remedy
        )
    counts = ", ".join(f"{count} {reason}" for reason, count in seen.most_common())
    return Rejected(
        f"None of {len(rejects)} pages has a usable text layer ({counts}). {first.message}",
        reason="no_text_layer",
        remedy=_ADD_TEXT_LAYER,
    )
