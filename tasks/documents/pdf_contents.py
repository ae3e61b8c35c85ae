"""What is on a PDF page besides text, through pypdf: how large its images are, and whether there is anything at all."""

import io
import re

import pypdf
from pypdf.generic import ArrayObject, ContentStream, DictionaryObject, StreamObject

from tasks.documents.pdf_fonts import dictionary, shown_strings

_INLINE_IMAGE = re.compile(
    rb"\bBI\s[^\x00]{0,400}?/(?:W|Width)\s+(\d{1,6})\b[^\x00]{0,400}?/(?:H|Height)\s+(\d{1,6})\b"
)
_LETTER_PAGE_AREA = 612.0 * 792.0
_MAX_FORM_DEPTH = 3
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
    """Whether a content paints, told without parsing it, which takes seconds for a map; False if only that would tell.

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
        held = [dictionary(dictionary(owner.get("/Resources")).get("/XObject")) for owner in level]
        level = []
        for drawn in (dictionary(reference) for objects in held for reference in objects.values()):
            if id(drawn) in seen:
                continue
            seen[id(drawn)] = drawn
            if drawn.get("/Subtype") == "/Image":
                pixels += int(drawn.get("/Width", 0)) * int(drawn.get("/Height", 0))
            elif drawn.get("/Subtype") == "/Form":
                level.append(drawn)
    return pixels
