"""Word documents (.docx) to text, as Word shows them when all changes are accepted.

Kept: headings by style and outline level with their numbers, lists, tables, notes below their paragraph, text boxes
once, the results of fields, formulas as their characters. Left out: what was deleted or moved away, hidden text,
comments, page headers and footers, tables of contents.

Source: ECMA-376 part 1, sections 17.3 (paragraphs), 17.4 (tables), 17.11 (notes), read 2026-12.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS, Extraction, Member
from millrace.tasks.documents.office.numbering import Numbering, W
from millrace.tasks.documents.office.package import Element, Package, open_package, properties_title
from millrace.tasks.documents.office.styles import ParagraphStyle, Styles, is_on
from millrace.tasks.documents.office.word_runs import CONTAINERS, MAX_DEPTH, MC, Runs, chosen
from millrace.tasks.documents.table import Table
from millrace.tasks.documents.text_builder import TextBuilder
from millrace.tasks.records import Reject


def read_docx(
    opened: BinaryIO, name: str, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Extraction | Member | Reject]:
    """The document's text with headings and tables.

    Raises:
        Rejected: "encrypted", "damaged", "too_large", "unsupported_format".
    """
    with open_package(opened, "[Content_Types].xml") as package:
        main = next(iter(package.related("", "officeDocument")), "word/document.xml")
        reader = _Reader(package, main)
        at("")
        reader.read(package.xml(main))
        text, headings, tables = reader.text.finish()
        title = properties_title(package) or reader.title or next((h.title for h in headings if h.level == 1), "")
    yield Extraction(text, title=title[:MAX_TITLE_CHARACTERS], headings=headings, tables=tables)


class _Reader:
    """Walks over a document's blocks, and writes their text."""

    def __init__(self, package: Package, main: str) -> None:
        def part(kind: str) -> Element | None:
            name = next(iter(package.related(main, kind)), None)
            return package.xml(name) if name else None

        self.text = TextBuilder()
        self.title = ""
        self._styles = Styles(part("styles"))
        self._numbering = Numbering(part("numbering"))
        notes = {f"{W}{kind}Reference": _notes(part(f"{kind}s"), kind) for kind in ("footnote", "endnote")}
        self._runs = Runs(notes)

    def read(self, root: Element) -> None:
        body = root.find(f"{W}body")
        self._blocks(root if body is None else body, self.text, 0)

    def _blocks(self, parent: Element, out: TextBuilder, depth: int) -> None:
        if depth > MAX_DEPTH:
            out.add_words(" ".join(each.text or "" for each in parent.iter(f"{W}t")))
            return
        for child in parent:
            if child.tag == f"{W}p":
                self._paragraph(child, out, depth)
            elif child.tag == f"{W}tbl":
                self._table(child, out, depth)
            elif child.tag == f"{W}sdt":
                if not _is_contents(child):
                    self._blocks(child, out, depth + 1)
            elif child.tag == f"{MC}AlternateContent":
                self._blocks(chosen(child), out, depth + 1)
            elif child.tag in CONTAINERS:
                self._blocks(child, out, depth + 1)

    def _paragraph(self, paragraph: Element, out: TextBuilder, depth: int) -> None:
        properties = paragraph.find(f"{W}pPr")
        style = self._style_of(properties)
        words, boxes, notes = self._runs.read(paragraph, depth)
        if style.is_hidden or style.name.startswith(("toc ", "table of figures")):
            words = ""
        label, level = self._label(properties, style) if words.strip() else ("", 0)
        heading = self._heading_level(properties, style)
        if heading and words.strip():
            out.structured = True
            out.add_heading(heading, f"{label} {words}".strip() if label != "-" else words, MAX_TITLE_CHARACTERS)
        elif words.strip():
            if style.name == "title" and not self.title:
                self.title = " ".join(words.split())
            out.break_line(1 if label else 2)
            if label:
                out.bullet = f"{'  ' * min(level, 8)}{label} "
            for number, line in enumerate(words.split("\n")):
                if number:
                    out.break_line(1)
                out.add_words(line)
            out.break_line(1 if label else 2)
        for number, note in notes:
            out.bullet = f"[{number}] "
            self._blocks(note, out, depth + 1)
            out.bullet = ""
        for box in boxes:
            out.break_line(2)
            self._blocks(box, out, depth + 1)
            out.break_line(2)

    def _style_of(self, properties: Element | None) -> ParagraphStyle:
        named = properties.find(f"{W}pStyle") if properties is not None else None
        return self._styles.get(self._styles.default if named is None else named.get(f"{W}val", ""))

    def _heading_level(self, properties: Element | None, style: ParagraphStyle) -> int | None:
        own = properties.find(f"{W}outlineLvl") if properties is not None else None
        if own is not None and own.get(f"{W}val", "").isdecimal():
            level = int(own.get(f"{W}val")) + 1
            return level if level <= 9 else None
        return style.level

    def _label(self, properties: Element | None, style: ParagraphStyle) -> tuple[str, int]:
        """The number or bullet before the paragraph, and how deep its list is."""
        own = properties.find(f"{W}numPr") if properties is not None else None
        identity, level = style.list_id, style.list_level
        if own is not None:
            number, depth = own.find(f"{W}numId"), own.find(f"{W}ilvl")
            identity = identity if number is None else number.get(f"{W}val", "")
            level = level if depth is None else int(depth.get(f"{W}val", "0"))
        if not identity or identity == "0":
            return "", 0
        if level is None:
            named = properties.find(f"{W}pStyle") if properties is not None else None
            level = self._numbering.level_of_style(identity, named.get(f"{W}val", "") if named is not None else "") or 0
        return self._numbering.next_label(identity, level), level

    def _table(self, element: Element, out: TextBuilder, depth: int) -> None:
        rows = [row for row in _rows(element) if row.find(f"{W}trPr/{W}del") is None]
        out.break_line(2)
        table = Table(out)
        spans = _row_spans(rows)
        heads = _has_header(element, rows)
        for number, row in enumerate(rows):
            table.rows.append([])
            for cell, column, columns in _cells(row):
                if (number, column) not in spans:
                    continue  # it continues the cell above
                inner = TextBuilder()
                self._blocks(cell, inner, depth + 1)
                table.add_cell(inner, columns=columns, rows=spans[number, column], heads=heads and number == 0)
        table.add_to_surrounding()
        out.break_line(2)


def _notes(root: Element | None, kind: str) -> dict[str, Element]:
    """The notes by id, without those that are lines between text and notes."""
    return {
        each.get(f"{W}id", ""): each
        for each in (root.iter(f"{W}{kind}") if root is not None else ())
        if each.get(f"{W}type") in {None, "normal"}
    }


def _is_contents(block: Element) -> bool:
    gallery = block.find(f"{W}sdtPr/{W}docPartObj/{W}docPartGallery")
    return gallery is not None and gallery.get(f"{W}val") == "Table of Contents"


def _rows(table: Element) -> Iterator[Element]:
    for child in table:
        if child.tag == f"{W}tr":
            yield child
        elif child.tag in CONTAINERS:
            yield from _rows(child)


def _cells(row: Element) -> Iterator[tuple[Element, int, int]]:
    """The cells of a row, each with its column from 0 and how many columns it spans."""
    before = row.find(f"{W}trPr/{W}gridBefore")
    column = int(before.get(f"{W}val", "0")) if before is not None else 0
    waiting = list(reversed(list(row)))
    while waiting:
        child = waiting.pop()
        if child.tag == f"{W}tc":
            span = child.find(f"{W}tcPr/{W}gridSpan")
            columns = max(1, int(span.get(f"{W}val", "1"))) if span is not None else 1
            yield child, column, columns
            column += columns
        elif child.tag in CONTAINERS:
            waiting += reversed(list(child))


def _row_spans(rows: list[Element]) -> dict[tuple[int, int], int]:
    """How many rows each cell spans, by row and column; a cell that continues one above is not among them."""
    spans: dict[tuple[int, int], int] = {}
    begun: dict[int, tuple[int, int]] = {}
    for number, row in enumerate(rows):
        for cell, column, _ in _cells(row):
            merge = cell.find(f"{W}tcPr/{W}vMerge")
            if merge is not None and merge.get(f"{W}val", "continue") == "continue" and column in begun:
                spans[begun[column]] += 1
                continue
            spans[number, column] = 1
            begun.pop(column, None)
            if merge is not None:
                begun[column] = number, column
    return spans


def _has_header(table: Element, rows: list[Element]) -> bool:
    """Whether the first row heads the columns: it is repeated on each page, or is set off by the table's style."""
    if len(rows) < 2:
        return False
    if is_on(rows[0].find(f"{W}trPr/{W}tblHeader")):
        return True
    look = table.find(f"{W}tblPr/{W}tblLook")
    if look is None:
        return False
    first = look.get(f"{W}firstRow")
    if first is not None:
        return first in {"1", "true", "on"}
    bits = look.get(f"{W}val", "0")
    return bool(int(bits, 16) & 0x20) if all(digit in "0123456789abcdefABCDEF" for digit in bits) else False
