"""PDF files through pypdf, the engine that needs nothing else and reads the worst of files.

Whatever pypdf raises over one page, object or outline costs that page, object or outline.

pypdf keeps every object it has resolved; contents and fonts are let go from time to time (`let_go`), so memory follows
the file's size and not the number of its pages.
"""

import io
import logging
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pypdf
from pypdf.errors import DependencyError, PdfStreamError, PyPdfError
from pypdf.generic import Destination, IndirectObject, NameObject, PdfObject, StreamObject

from tasks.documents.pdf_contents import image_pixels, is_bare, is_unreadable, page_area
from tasks.documents.pdf_engine import MEND_FILE, OutlineEntry, PageDamaged, RawPage, damaged, locked
from tasks.documents.pdf_fonts import dictionary, mend_fonts, word_gap_visitor
from tasks.documents.pdf_text import joined_surrogates, one_line
from tasks.errors import Rejected

_FAULTS = (
    PyPdfError, DependencyError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError,
    RuntimeError, OSError, StopIteration, struct.error, zlib.error, re.error,
)  # fmt: skip
"""What pypdf raises over damaged files: "broken PDF files might cause other Exceptions" (pypdf/errors.py), and do.

`RuntimeError` holds RecursionError and NotImplementedError. MemoryError is not among them.
"""

_CATALOG = re.compile(rb"\b(\d{1,8})\s+(\d{1,5})\s+obj\b[^>]{0,500}?/Type\s*/Catalog\b")
_HEADER = re.compile(rb"(?:\s|%[^\r\n]*[\r\n])*(\d{1,10})\s+(\d{1,5})\s")  # with what pypdf passes over before it
_OBJECT = re.compile(rb"(?<=\s)(\d{1,10})\s+(\d{1,5})\s+obj")
_INHERITED = ("/Resources", "/MediaBox", "/CropBox", "/Rotate")

# pypdf tells of each fault that it works around; what matters here becomes a Reject.
logging.getLogger("pypdf").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module=r"(?:pypdf|cryptography)\b")


class PypdfFile:
    """See `OpenPdf`.

    Raises:
        Rejected: "encrypted" or "damaged".
    """

    def __init__(self, data: bytes) -> None:
        try:
            self._reader = _reader_of(data)
            is_locked = self._reader.is_encrypted and not self._reader.decrypt("")
        except _FAULTS as fault:
            raise damaged(_said(fault)) from fault
        if is_locked:
            raise locked()
        self._stays = 0  # how many of the objects that are resolved were looked at, to be let go or not
        self._found: list[pypdf.PageObject | Exception] | None = None  # where pypdf refuses the page tree
        try:
            self._count = len(self._reader.pages)
        except _FAULTS as fault:
            self._found = list(_pages_of_tree(self._reader))
            self._count = len(self._found)
            if all(isinstance(page, Exception) for page in self._found):
                raise damaged(_said(fault)) from fault
        if not self._count:
            raise Rejected("The PDF has no pages.", reason="damaged", remedy=MEND_FILE)

    @property
    def page_count(self) -> int:
        """How many pages there are."""
        return self._count

    def page(self, number: int, *, min_characters: int) -> RawPage:
        """What is on page `number`. Raises `PageDamaged`."""
        try:
            page = self._reader.pages[number - 1] if self._found is None else self._found[number - 1]
            if isinstance(page, Exception):
                raise page
            return _raw_page(page, min_characters)
        except _FAULTS as fault:
            raise PageDamaged(_said(fault)) from fault

    def outline(self) -> list[OutlineEntry]:
        """The bookmarks that lead to a page."""
        try:
            nested = self._reader.outline
        except _FAULTS:
            return []
        entries: list[OutlineEntry] = []
        stack: list[Iterator[Any]] = [iter(nested)]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif isinstance(entry, list):
                stack.append(iter(entry))
            elif isinstance(entry, Destination) and (found := self._entry(entry, min(len(stack), 9))) is not None:
                entries.append(found)
        return entries

    def named_title(self) -> str:
        """The title in the document information."""
        try:
            information = self._reader.metadata
            return str(information.title or "") if information is not None else ""
        except _FAULTS:
            return ""

    def let_go(self) -> None:
        """Forget the contents of pages and fonts; what they are reached by is small and stays."""
        kept = self._reader.resolved_objects
        for key in list(islice(reversed(kept), len(kept) - self._stays)):
            value = kept[key]
            if isinstance(value, StreamObject) and value.get("/Type") != "/ObjStm":
                del kept[key]
        self._stays = len(kept)

    def _entry(self, destination: Destination, level: int) -> OutlineEntry | None:
        try:
            index = self._reader.get_destination_page_number(destination)
            title = one_line(str(destination.title or ""))
        except _FAULTS:
            return None
        return OutlineEntry(level, title, index + 1) if index is not None and title else None


class _Reader(pypdf.PdfReader):
    """pypdf's reader, which finds objects that are not where the file says in one pass.

    pypdf makes a pass over the file for each of them: minutes for a file of 3,000 pages, and hours for 20,000.
    """

    _places: dict[tuple[int, int], int] | None = None
    _is_open = False

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._data = data
        self._is_open = True

    def get_object(self, indirect_reference: int | IndirectObject) -> PdfObject | None:
        if self._is_open and not isinstance(indirect_reference, int):
            key = indirect_reference.generation, indirect_reference.idnum
            if key not in self.resolved_objects and not self._is_placed(*key):
                place = self._place(*key)
                if place is None:
                    return self.cache_indirect_object(*key, None)  # as pypdf does after its search
                self.xref.setdefault(key[0], {})[key[1]] = place
        return super().get_object(indirect_reference)

    def _is_placed(self, generation: int, number: int) -> bool:
        """Whether the object is where the file says, or there is a reason not to look there."""
        if generation == 0 and number in self.xref_objStm:
            return True
        if self.xref_free_entry.get(generation, {}).get(number, False):
            return True
        place = self.xref.get(generation, {}).get(number)
        header = _HEADER.match(self._data, place) if place is not None else None
        return header is not None and (int(header[2]), int(header[1])) == (generation, number)

    def _place(self, generation: int, number: int) -> int | None:
        if self._places is None:
            self._places = {}
            for header in _OBJECT.finditer(self._data):
                self._places.setdefault((int(header[2]), int(header[1])), header.start())
        return self._places.get((generation, number))


def _reader_of(data: bytes) -> pypdf.PdfReader:
    """A reader; of whatever objects there are when the end of the file, with its table of objects, is missing."""
    try:
        return _Reader(data)
    except PyPdfError:
        catalog = _CATALOG.search(data)
        root = b"trailer\n<< /Root %s %s R >>\n" % (catalog[1], catalog[2]) if catalog is not None else b""
        # With an end that points nowhere, pypdf looks for the objects themselves.
        return _Reader(b"%s\n%sstartxref\n0\n%%%%EOF\n" % (data, root))


def _said(fault: BaseException) -> str:
    """What an exception of pypdf says, in one line."""
    words = " ".join(str(fault).split())[:200].rstrip(".")
    return f"{type(fault).__name__}: {words}" if words else type(fault).__name__


def _pages_of_tree(reader: pypdf.PdfReader) -> Iterator[pypdf.PageObject | Exception]:
    """What can be reached of a page tree that pypdf refuses as a whole: cyclic, too deep, or with a broken branch."""
    seen: set[int] = set()
    try:
        stack: list[tuple[Any, dict[str, Any]]] = [(reader.root_object.get("/Pages"), {})]
    except _FAULTS as fault:
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
        except _FAULTS as fault:
            yield fault
        else:
            yield page


def _raw_page(page: pypdf.PageObject, min_characters: int) -> RawPage:
    mend_fonts(page)
    text = joined_surrogates(page.extract_text(visitor_operand_before=word_gap_visitor(page)))
    characters = sum(map(len, text.split()))
    if characters >= min_characters:
        return RawPage(text)
    pixels = image_pixels(page)
    if not text and not pixels and is_unreadable(page):
        raise PdfStreamError("the page's content cannot be decompressed")
    return RawPage(text, pixels, page_area(page), is_bare=not characters and is_bare(page, text))
