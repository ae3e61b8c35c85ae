"""OpenDocument texts and presentations (.odt, .odp) to text; a slide is a page. Sheets are read by `sheets`.

Left out: what was deleted, comments, tables of contents, page headers and footers.

Source: ISO/IEC 26300 (OpenDocument 1.3), part 3, read 2026-12.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS, Extraction, Member
from millrace.tasks.documents.office.package import Element, Package, open_package
from millrace.tasks.documents.table import Table
from millrace.tasks.documents.text_builder import TextBuilder
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Page, Reject

_NAME = "urn:oasis:names:tc:opendocument:xmlns:{}:1.0"
_OFFICE, _TEXT, _TABLE, _DRAW = (f"{{{_NAME.format(name)}}}" for name in ("office", "text", "table", "drawing"))
_PRESENTATION, _MANIFEST = (f"{{{_NAME.format(name)}}}" for name in ("presentation", "manifest"))
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_LEFT_OUT = frozenset(
    [
        *(f"{_TEXT}{name}" for name in ("tracked-changes", "table-of-content", "sequence-decls", "ruby-text")),
        *(f"{_OFFICE}{name}" for name in ("annotation", "annotation-end", "forms")),
        f"{_DRAW}glue-point",
    ]
)
_MAX_DEPTH = 60
_MAX_REPEATED = 100
_MAX_SPACES = 20


def read_odf(
    opened: BinaryIO, name: str, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Extraction | Member | Reject]:
    """The text with headings and tables; of a presentation also its slides as pages.

    Raises:
        Rejected: "encrypted", "damaged", "too_large", "unsupported_format".
    """
    with open_package(opened, "content.xml") as package:
        _check_encryption(package)
        body = package.xml("content.xml").find(f"{_OFFICE}body")
        title = package.xml("meta.xml").find(f".//{_TITLE}") if "meta.xml" in package else None
    at("")
    out = TextBuilder()
    places: list[tuple[int, int, int]] = []
    writer = _Writer()
    for part in body if body is not None else []:
        slides = part.findall(f"{_DRAW}page")
        for number, slide in enumerate(slides, start=1):
            inner = TextBuilder()
            writer.blocks(slide, inner, 0)
            if inner.length:
                start = out.length + (2 if out.length else 0)
                out.append(inner)
                places.append((number, start, out.length))
        if not slides:
            writer.blocks(part, out, 0)
    text, headings, tables = out.finish()
    named = " ".join((title.text or "").split()) if title is not None else ""
    named = named or next((each.title for each in headings if each.level == 1), "")
    pages = tuple(Page(*place) for place in places)
    yield Extraction(text, title=named[:MAX_TITLE_CHARACTERS], headings=headings, pages=pages, tables=tables)


def _check_encryption(package: Package) -> None:
    manifest = "META-INF/manifest.xml"
    if manifest in package and next(package.xml(manifest).iter(f"{_MANIFEST}encryption-data"), None) is not None:
        raise Rejected("The file is encrypted.", reason="encrypted", remedy="Save it without a password, then retry.")


class _Writer:
    """Writes the blocks of a document."""

    def blocks(self, parent: Element, out: TextBuilder, depth: int) -> None:
        """The blocks of an element, one after the other."""
        if depth > _MAX_DEPTH:
            out.add_words(" ".join(parent.itertext()))
            return
        for child in parent:
            tag = child.tag
            if tag in _LEFT_OUT:
                continue
            if tag == f"{_TEXT}h" or (tag == f"{_TEXT}p" and _is_slide_title(parent)):
                level = int(child.get(f"{_TEXT}outline-level", "1") or 1)
                out.structured = True
                out.add_heading(max(1, min(level, 9)), self._inline(child, out, depth), MAX_TITLE_CHARACTERS)
            elif tag == f"{_TEXT}p":
                self._paragraph(child, out, depth)
            elif tag == f"{_TEXT}list":
                self._list(child, out, depth, 0)
            elif tag == f"{_TABLE}table":
                self._table(child, out, depth)
            elif tag == f"{_PRESENTATION}notes":
                self._notes(child, out, depth)
            else:
                self.blocks(child, out, depth + 1)

    def _paragraph(self, element: Element, out: TextBuilder, depth: int, *, lines: int = 2) -> None:
        boxes: list[Element] = []
        words = self._inline(element, out, depth, boxes)
        out.break_line(lines)
        for number, line in enumerate(words.split("\n")):
            if number:
                out.break_line(1)
            out.add_words(line)
        out.break_line(lines)
        for box in boxes:
            self.blocks(box, out, depth + 1)

    def _notes(self, element: Element, out: TextBuilder, depth: int) -> None:
        out.break_line(2)
        out.bullet = "Notes: "
        self.blocks(element, out, depth + 1)
        out.bullet = ""
        out.break_line(2)

    def _list(self, element: Element, out: TextBuilder, depth: int, level: int) -> None:
        if depth > _MAX_DEPTH:
            out.add_words(" ".join(element.itertext()))
            return
        out.break_line(1 if level else 2)
        for item in element:
            for number, block in enumerate(item):
                if block.tag == f"{_TEXT}list":
                    self._list(block, out, depth + 1, level + 1)
                elif block.tag == f"{_TEXT}h":
                    self.blocks(item, out, depth + 1)
                    break
                else:
                    out.break_line(1)
                    out.bullet = f"{'  ' * min(level, 8)}- " if number == 0 else ""
                    self._paragraph(block, out, depth + 1, lines=1)
        out.bullet = ""
        out.break_line(1 if level else 2)

    def _table(self, element: Element, out: TextBuilder, depth: int) -> None:
        out.break_line(2)
        table = Table(out)
        for row in element.iter(f"{_TABLE}table-row"):
            if next(row.iterancestors(f"{_TABLE}table")) is not element:
                continue  # of a table within a cell
            table.rows.append([])
            heads = row.getparent().tag == f"{_TABLE}table-header-rows"
            for cell in row.findall(f"{_TABLE}table-cell"):
                inner = TextBuilder()
                self.blocks(cell, inner, depth + 1)
                columns, rows = (int(cell.get(f"{_TABLE}number-{kind}-spanned", "1")) for kind in ("columns", "rows"))
                repeated = int(cell.get(f"{_TABLE}number-columns-repeated", "1"))
                for _ in range(min(repeated, _MAX_REPEATED)):
                    table.add_cell(inner, columns=columns, rows=rows, heads=heads)
        table.add_to_surrounding()
        out.break_line(2)

    def _inline(self, element: Element, out: TextBuilder, depth: int, boxes: list[Element] | None = None) -> str:
        """The text of a paragraph; text boxes in it are collected."""
        pieces = [element.text or ""]
        for child in element:
            tag = child.tag
            if tag == f"{_TEXT}s":
                pieces.append(" " * min(int(child.get(f"{_TEXT}c", "1")), _MAX_SPACES))
            elif tag == f"{_TEXT}tab":
                pieces.append("\t")
            elif tag == f"{_TEXT}line-break":
                pieces.append("\n")
            elif tag == f"{_TEXT}note":
                note = child.find(f"{_TEXT}note-body")
                pieces.append(f" [{' '.join(' '.join(note.itertext()).split())}]" if note is not None else "")
            elif tag.startswith(_DRAW):
                if boxes is not None:
                    boxes.append(child)
            elif tag not in _LEFT_OUT and depth < _MAX_DEPTH:
                pieces.append(self._inline(child, out, depth + 1, boxes))
            pieces.append(child.tail or "")
        return "".join(pieces)


def _is_slide_title(box: Element) -> bool:
    frame = box.getparent()
    return frame is not None and frame.get(f"{_PRESENTATION}class") == "title"
