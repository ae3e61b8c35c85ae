"""PDF files written by hand: the smallest bytes that show one behaviour each."""

import textwrap
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.flows.prose import chinese, english

PROSE = "The sluice is opened at dawn and closed when the wheel has turned for nine hours."
HELVETICA = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"


@dataclass
class PdfFile:
    """A PDF file under construction; every page has the same fonts, images and forms.

    Forms may draw each other, and themselves.
    """

    pages: list[bytes] = field(default_factory=list)
    fonts: dict[str, bytes] = field(default_factory=lambda: {"F1": HELVETICA})
    images: dict[str, tuple[int, int]] = field(default_factory=dict)
    forms: dict[str, bytes] = field(default_factory=dict)
    info: bytes = b""
    bookmarks: Sequence[tuple[str, int]] = ()
    """Titles, and the page number from 1 that each leads to."""
    broken_pages: frozenset[int] = frozenset()
    """Numbers of pages whose content does not decompress."""
    is_compressed: bool = False
    catalog: bytes = b""
    """More entries of the catalog."""
    page_entries: bytes = b""
    """More entries of each page."""
    resources: bytes = b""
    """More entries of the resources."""
    extras: list[bytes] = field(default_factory=list)
    """More objects, numbered from 4."""
    count: int | None = None
    """How many pages the page tree says that it has; None is the truth."""

    def add_page(self, *lines: str) -> "PdfFile":
        """One more page with a line of Helvetica for each of `lines`."""
        shown = b"\n".join(b"(%s) Tj T*" % line.encode("cp1252") for line in lines)
        self.pages.append(b"BT /F1 12 Tf 14 TL 72 760 Td\n%s\nET" % shown)
        return self

    def to_bytes(self) -> bytes:
        """The file, with a table of objects that is right."""
        objects = [b"<< /Type /Catalog /Pages 2 0 R /Outlines 3 0 R %s >>" % self.catalog, b"", b"", *self.extras]
        resources = self._resources(objects)
        kids = [self._page(objects, number, content, resources) for number, content in enumerate(self.pages, start=1)]
        objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (
            len(kids) if self.count is None else self.count,
            _references(kids),
        )
        objects[2] = self._outlines(objects, kids)
        objects.append(b"<< %s >>" % self.info)
        return _file(objects)

    def _resources(self, objects: list[bytes]) -> bytes:
        fonts = b" ".join(b"/%s %s" % (name.encode(), font) for name, font in self.fonts.items())
        images = []
        for name, (width, height) in self.images.items():
            row = b"\0" * width
            head = b"/Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray /BitsPerComponent 8"
            objects.append(_stream(row * height, head % (width, height)))
            images.append(b"/%s %d 0 R" % (name.encode(), len(objects)))
        first = len(objects) + 2  # forms come after the resources, which they share
        forms = [b"/%s %d 0 R" % (name.encode(), first + i) for i, name in enumerate(self.forms)]
        objects.append(
            b"<< /Font << %s >> /XObject << %s >> %s >>" % (fonts, b" ".join([*images, *forms]), self.resources)
        )
        resources = b"%d 0 R" % len(objects)
        head = b"/Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources %s" % resources
        objects += [_stream(content, head) for content in self.forms.values()]
        return resources

    def _page(self, objects: list[bytes], number: int, content: bytes, resources: bytes) -> int:
        if number in self.broken_pages:
            objects.append(_stream(b"\xff" * 400, b"/Filter /FlateDecode"))
        elif self.is_compressed:
            objects.append(_stream(zlib.compress(content), b"/Filter /FlateDecode"))
        else:
            objects.append(_stream(content))
        page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources %s /Contents %d 0 R %s >>"
        objects.append(page % (resources, len(objects), self.page_entries))
        return len(objects)

    def _outlines(self, objects: list[bytes], kids: list[int]) -> bytes:
        if not self.bookmarks:
            return b"<< /Type /Outlines /Count 0 >>"
        first = len(objects) + 1
        last = len(objects) + len(self.bookmarks)
        for index, (title, page) in enumerate(self.bookmarks):
            onward = b"/Next %d 0 R" % (first + index + 1) if first + index < last else b""
            spelled = b"\xfe\xff".hex().encode() + title.encode("utf-16-be").hex().encode()
            entry = b"<< /Title <%s> /Parent 3 0 R /Dest [%d 0 R /Fit] %s >>"
            objects.append(entry % (spelled, kids[page - 1], onward))
        return b"<< /Type /Outlines /Count %d /First %d 0 R /Last %d 0 R >>" % (len(self.bookmarks), first, last)


def book(pages: int, *, sentences: int = 36) -> PdfFile:
    """A book of English prose, every tenth page Chinese, with a bookmark every 25 pages; each page says its number.

    Of 36 sentences a page is full. They are set as typesetting programs do: line by line, with gaps in place of spaces, and kerning inside of words.
    """
    fonts = {"F1": HELVETICA, "F2": composite_font(b"STSong-Light", b"UniGB-UCS2-H", b"GB1")}
    bookmarks = [(f"Chapter {number // 25 + 1}", number) for number in range(1, pages + 1, 25)]
    file = PdfFile(fonts=fonts, bookmarks=bookmarks, info=b"/Title (The mill)", is_compressed=True)
    for number in range(1, pages + 1):
        if number % 10 == 0:
            lines = [
                f"第{number}页",
                *(chinese(1, seed=number * 100 + line)[:40] for line in range(min(sentences, 30))),
            ]
            shows = [
                b"[%s] TJ" % b" 12 ".join(b"<%s>" % c.encode("utf-16-be").hex().encode() for c in s) for s in lines
            ]
            font = b"F2"
        else:
            chapter = [f"Chapter {number // 25 + 1}"] if number % 25 == 1 else []
            lines = [*chapter, f"Page {number} of {pages}.", *textwrap.wrap(english(sentences, seed=number), 80)]
            shows = [b"[%s] TJ" % b" -278 ".join(map(_kerned, line.split())) for line in lines]
            font = b"F1"
        file.pages.append(b"BT /%s 12 Tf 72 760 Td\n%s\nET" % (font, b"\n0 -14 Td\n".join(shows)))
    return file


def _kerned(word: str) -> bytes:
    return b"20".join(b"(%s)" % word[i : i + 3].encode() for i in range(0, len(word), 3))


def composite_font(name: bytes, encoding: bytes, ordering: bytes, extra: bytes = b"") -> bytes:
    """A font of two-byte codes whose characters are numbered as in Adobe's collection `ordering`."""
    return (
        b"<< /Type /Font /Subtype /Type0 /BaseFont /%s /Encoding /%s %s /DescendantFonts [<< /Type /Font"
        b" /Subtype /CIDFontType0 /BaseFont /%s /DW 1000"
        b" /CIDSystemInfo << /Registry (Adobe) /Ordering (%s) /Supplement 2 >> >>] >>"
    ) % (name, encoding, extra, name, ordering)


def shown(codes: bytes, font: str = "F1") -> bytes:
    """A page's content that shows one string of codes."""
    return b"BT /%s 12 Tf 72 700 Td <%s> Tj ET" % (font.encode(), codes.hex().encode())


def _stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), entries, data)


def _references(numbers: list[int]) -> bytes:
    return b" ".join(b"%d 0 R" % number for number in numbers)


def _file(objects: list[bytes]) -> bytes:
    """The objects, numbered from 1, the last being the document information."""
    out = bytearray(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\n" % (len(objects) + 1, len(objects))
    out += b"startxref\n%d\n%%%%EOF\n" % table
    return bytes(out)
