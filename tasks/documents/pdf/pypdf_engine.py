"""PDF files through pypdf, the engine that needs nothing else and reads the worst of files.

Whatever pypdf raises over one page, object or outline costs that page, object or outline. pypdf keeps every object that
it has resolved; contents and fonts are freed from time to time (`release_pages`), so memory follows the size of the
file and not the number of its pages. Beside the text of a page (`pypdf_text`), this module finds out how large the
images on it are, and whether anything is drawn on it at all.
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
from pypdf.generic import (
    ArrayObject,
    ContentStream,
    Destination,
    DictionaryObject,
    IndirectObject,
    NameObject,
    PdfObject,
    StreamObject,
)

from millrace.tasks.documents.pdf.engine import (
    SAVE_ANEW,
    OutlineEntry,
    PageDamaged,
    RawPage,
    attached_documents,
    damaged_file,
    is_xfa_placeholder,
    join_surrogates,
    locked_file,
    one_line,
    portfolio,
    xfa_form,
)
from millrace.tasks.documents.pdf.pypdf_annotations import (
    annotation_texts,
    attachment_names,
    is_portfolio,
    xfa_kind,
)
from millrace.tasks.documents.pdf.pypdf_fonts import dictionary, may_show_text, mend_fonts, shown_strings
from millrace.tasks.documents.pdf.pypdf_layers import HiddenLayers
from millrace.tasks.documents.pdf.pypdf_text import page_text
from millrace.tasks.errors import Rejected

_INLINE_IMAGE = re.compile(
    rb"\bBI\s[^\x00]{0,400}?/(?:W|Width)\s+(\d{1,6})\b[^\x00]{0,400}?/(?:H|Height)\s+(\d{1,6})\b"
)
_LETTER_PAGE_AREA = 612.0 * 792.0
_MAX_FORM_DEPTH = 3
_SOFT_HYPHEN = "\u00ad"  # code 173 of WinAnsi; what a page draws is a hyphen that can be seen
_PAINTING = frozenset([b"S", b"s", b"f", b"F", b"f*", b"B", b"B*", b"b", b"b*", b"sh", b"INLINE IMAGE"])
_PAINTER = re.compile(rb"(?:^|[\s\]])(?:S|s|f\*?|F|B\*?|b\*?|sh)(?=\s|$)")
_QUOTING = re.compile(rb"[(<%]|\bBI\b")  # begins a string, a comment or an inline image, which may hold any letters
_SILENT_ANNOTATIONS = frozenset(["/Link", "/Popup"])


def image_pixels(page: pypdf.PageObject) -> int:
    """How many pixels the images have that the page draws, itself or through forms."""
    contents = page.get_contents()
    inline = _INLINE_IMAGE.findall(contents.get_data()) if contents is not None else []
    return _drawn_pixels(page) + sum(int(width) * int(height) for width, height in inline)


def page_area(page: pypdf.PageObject) -> float:
    """The page's size in square points; that of US Letter when the page names none, as viewers take it."""
    try:
        return abs(float(page.mediabox.width) * float(page.mediabox.height))
    except (ValueError, TypeError, AttributeError):
        return _LETTER_PAGE_AREA


def is_unreadable(page: pypdf.PageObject) -> bool:
    """Whether the page has content in the file, of which decompressing leaves nothing."""
    contents = page.get("/Contents")
    found = contents.get_object() if contents is not None else None
    streams = [part.get_object() for part in found] if isinstance(found, ArrayObject) else [found]
    return any(isinstance(s, StreamObject) and not s.get_data() and _stored_bytes(s) > 100 for s in streams)


def is_bare(page: pypdf.PageObject, text: str) -> bool:
    """Whether a page, of which `text` was read, shows nothing that a reader could miss.

    It draws no line, no surface and no image, has no annotation but links, and shows no character but white space. A
    line of text may be drawn as curves, so whatever is drawn counts.
    """
    annotations = page.get("/Annots")
    listed = annotations.get_object() if annotations is not None else None
    if any(dictionary(a).get("/Subtype") not in _SILENT_ANNOTATIONS for a in listed or ()):
        return False
    shown = _Shown(page).bytes_of(page, page.get("/Contents"), 0)
    spaces = sum(c.isspace() and c != "\n" for c in text)
    return shown is not None and shown <= 2 * spaces  # two bytes a character at most


class _Shown:
    """Counts the bytes of text that a page shows, itself or through forms; each form is looked at once a level."""

    def __init__(self, page: pypdf.PageObject) -> None:
        self._page = page
        self._forms: dict[tuple[int, int], int | None] = {}

    def bytes_of(self, owner: DictionaryObject, contents: object, depth: int) -> int | None:
        """How many bytes of text the contents of a page or form show; None when they draw anything else."""
        found = getattr(contents, "get_object", lambda: None)()
        if not isinstance(found, StreamObject | ArrayObject):
            return 0
        stream = ContentStream(found, self._page.pdf, "bytes")
        if _surely_paints(stream.get_data()):
            return None
        drawn = dictionary(dictionary(owner.get("/Resources")).get("/XObject"))
        shown = 0
        for operands, operator in stream.operations:
            if operator in _PAINTING:
                return None
            shown += sum(map(len, shown_strings(operands, operator)))
            if operator == b"Do":
                inner = self._bytes_of_form(dictionary(drawn.get(operands[0]) if operands else None), depth + 1)
                if inner is None:
                    return None
                shown += inner
        return shown

    def _bytes_of_form(self, form: DictionaryObject, depth: int) -> int | None:
        if form.get("/Subtype") != "/Form" or depth > _MAX_FORM_DEPTH:
            return None
        key = (id(form), depth)
        if key not in self._forms:
            self._forms[key] = self.bytes_of(form, form, depth)
        return self._forms[key]


def _surely_paints(content: bytes) -> bool:
    """Whether content surely paints, found without parsing it, which takes seconds for a map; False if unsure.

    >>> _surely_paints(b"0 0 9 9 re f"), _surely_paints(b"0 0 9 9 re n"), _surely_paints(b"( f )")
    (True, False, False)
    """
    return not _QUOTING.search(content) and _PAINTER.search(content) is not None


def _stored_bytes(stream: StreamObject) -> int:
    """The size of a stream as it is in the file, its dictionary included; that of an empty one is about 60 bytes."""
    stored = io.BytesIO()
    stream.write_to_stream(stored)
    return len(stored.getvalue())


def _drawn_pixels(page: DictionaryObject) -> int:
    """The pixels of the images that the page's resources, or those of forms in them, hold; each image once."""
    seen: dict[int, DictionaryObject] = {}
    level, pixels = [page], 0
    for _ in range(_MAX_FORM_DEPTH + 1):
        resources = [dictionary(dictionary(owner.get("/Resources")).get("/XObject")) for owner in level]
        level = []
        for drawn in (dictionary(reference) for objects in resources for reference in objects.values()):
            if id(drawn) in seen:
                continue
            seen[id(drawn)] = drawn
            if drawn.get("/Subtype") == "/Image":
                pixels += int(drawn.get("/Width", 0)) * int(drawn.get("/Height", 0))
            elif drawn.get("/Subtype") == "/Form":
                level.append(drawn)
    return pixels


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

# pypdf logs each fault that it works around; the faults that matter here become a Reject.
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
            raise damaged_file(_message_of(fault)) from fault
        if is_locked:
            raise locked_file()
        self._retained = 0  # how many of the resolved objects were looked at by `release_pages` and stay
        self._found: list[pypdf.PageObject | Exception] | None = None  # where pypdf refuses the page tree
        try:
            self._count = len(self._reader.pages)
        except _FAULTS as fault:
            self._found = list(_pages_of_tree(self._reader))
            self._count = len(self._found)
            if all(isinstance(page, Exception) for page in self._found):
                raise damaged_file(_message_of(fault)) from fault
        if not self._count:
            raise Rejected("The PDF has no pages.", reason="damaged", remedy=SAVE_ANEW)
        try:
            self._layers = HiddenLayers(self._reader)
            self._xfa = xfa_kind(self._reader)
            is_cover = self._found is None and is_portfolio(self._reader)
        except _FAULTS as fault:
            raise damaged_file(_message_of(fault)) from fault
        if is_cover and (attached := self.attachments()):
            raise portfolio(attached)
        if self._xfa == "dynamic":
            raise xfa_form()

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
            found = _raw_page(page, self._layers, min_characters)
        except _FAULTS as fault:
            raise PageDamaged(_message_of(fault)) from fault
        if self._xfa and is_xfa_placeholder(found.text):
            raise xfa_form()
        return found

    def annotation_texts(self, number: int) -> list[str]:
        """What the annotations of page `number` show; none where they cannot be read."""
        try:
            return [join_surrogates(text) for text in annotation_texts(self._reader.pages[number - 1], self._layers)]
        except _FAULTS:
            return []

    def attachments(self) -> list[str]:
        """The names of the files that are attached."""
        try:
            return attached_documents(attachment_names(self._reader))
        except _FAULTS:
            return []

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

    def metadata_title(self) -> str:
        """The title in the document information."""
        try:
            information = self._reader.metadata
            return str(information.title or "") if information is not None else ""
        except _FAULTS:
            return ""

    def release_pages(self) -> None:
        """Free the contents of pages and fonts; the objects that lead to them are small and stay."""
        resolved = self._reader.resolved_objects
        for key in list(islice(reversed(resolved), len(resolved) - self._retained)):
            value = resolved[key]
            if isinstance(value, StreamObject) and value.get("/Type") != "/ObjStm":
                del resolved[key]
        self._retained = len(resolved)

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

    _offsets: dict[tuple[int, int], int] | None = None
    _is_open = False

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._data = data
        self._is_open = True

    def get_object(self, indirect_reference: int | IndirectObject) -> PdfObject | None:
        if self._is_open and not isinstance(indirect_reference, int):
            key = indirect_reference.generation, indirect_reference.idnum
            if key not in self.resolved_objects and not self._is_at_its_offset(*key):
                offset = self._offset_of(*key)
                if offset is None:
                    return self.cache_indirect_object(*key, None)  # as pypdf does after its search
                self.xref.setdefault(key[0], {})[key[1]] = offset
        return super().get_object(indirect_reference)

    def _is_at_its_offset(self, generation: int, number: int) -> bool:
        """Whether the object is where the file says, or there is a reason not to look there."""
        if generation == 0 and number in self.xref_objStm:
            return True
        if self.xref_free_entry.get(generation, {}).get(number, False):
            return True
        offset = self.xref.get(generation, {}).get(number)
        header = _HEADER.match(self._data, offset) if offset is not None else None
        return header is not None and (int(header[2]), int(header[1])) == (generation, number)

    def _offset_of(self, generation: int, number: int) -> int | None:
        if self._offsets is None:
            self._offsets = {}
            for header in _OBJECT.finditer(self._data):
                self._offsets.setdefault((int(header[2]), int(header[1])), header.start())
        return self._offsets.get((generation, number))


def _reader_of(data: bytes) -> pypdf.PdfReader:
    """A reader; of whatever objects there are when the end of the file, with its table of objects, is missing."""
    try:
        return _Reader(data)
    except PyPdfError:
        catalog = _CATALOG.search(data)
        root = b"trailer\n<< /Root %s %s R >>\n" % (catalog[1], catalog[2]) if catalog is not None else b""
        # With an end that points nowhere, pypdf looks for the objects themselves.
        return _Reader(b"%s\n%sstartxref\n0\n%%%%EOF\n" % (data, root))


def has_hidden_layers(data: bytes) -> bool:
    """Whether a file has layers that are off; without a look at its pages, which takes long if there are thousands."""
    try:
        reader = _reader_of(data)
        return not (reader.is_encrypted and not reader.decrypt("")) and HiddenLayers(reader).any_are_off
    except _FAULTS:
        return False


def _message_of(fault: BaseException) -> str:
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


def _raw_page(page: pypdf.PageObject, layers: HiddenLayers, min_characters: int) -> RawPage:
    mend_fonts(page)
    content = page_text(page, layers).replace(_SOFT_HYPHEN, "-") if may_show_text(page) else ""
    text = join_surrogates("\n".join([*filter(None, [content]), *annotation_texts(page, layers)]))
    characters = sum(map(len, text.split()))
    if characters >= min_characters:
        return RawPage(text)
    pixels = image_pixels(page)
    if not text and not pixels and is_unreadable(page):
        raise PdfStreamError("the page's content cannot be decompressed")
    return RawPage(text, pixels, page_area(page), is_bare=not characters and is_bare(page, text))
