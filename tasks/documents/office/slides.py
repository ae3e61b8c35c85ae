"""PowerPoint presentations (.pptx) to text: a slide is a page, under its title, with tables, charts and notes.

Shapes come in the order in which the program reads them aloud. Hidden slides are kept: they are only skipped in the
show. Numbers, dates and footers of slides are left out.

Source: ECMA-376 part 1, chapters 19 (PresentationML) and 21 (DrawingML), read 2026-12.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS, Extraction, Member, abandoned_unit
from millrace.tasks.documents.office.package import SAVE_AGAIN, Element, Package, open_package, properties_title
from millrace.tasks.documents.table import Table
from millrace.tasks.documents.text_builder import TextBuilder
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Page, Reject

_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_DGM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_TITLES = frozenset(["title", "ctrTitle"])
_FURNITURE = frozenset(["sldNum", "dt", "ftr", "hdr", "sldImg"])
_MAX_DEPTH = 40
_MAX_POINTS = 10_000


def read_slides(
    opened: BinaryIO, name: str, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Extraction | Member | Reject]:
    """The slides as pages, and a Reject for each that could not be read.

    Raises:
        Rejected: "encrypted", "damaged", "too_large", "unsupported_format".
    """
    rejects: list[Reject] = []
    out = TextBuilder()
    places: list[tuple[int, int, int]] = []
    with open_package(opened, "[Content_Types].xml") as package:
        main = next(iter(package.related("", "officeDocument")), "ppt/presentation.xml")
        for number, slide in enumerate(_slides(package, main), start=1):
            item = f"page {number}"
            if item in skip:
                rejects.append(abandoned_unit(name, item, skip[item], "Save the slide again, then retry."))
                continue
            at(item)
            try:
                written = _Slide(package, slide).read()
            except Rejected as refused:
                rejects.append(Reject("read", name, item, "page_damaged", str(refused), SAVE_AGAIN))
                continue
            if written.length:
                start = out.length + (2 if out.length else 0)
                out.append(written)
                places.append((number, start, out.length))
        title = properties_title(package)
    text, headings, tables = out.finish()
    pages = tuple(Page(number, start, end) for number, start, end in places)
    title = title or (headings[0].title if headings else "")
    if text or not rejects:
        yield Extraction(text, title=title[:MAX_TITLE_CHARACTERS], headings=headings, pages=pages, tables=tables)
    yield from rejects


def _slides(package: Package, main: str) -> list[str]:
    """The parts of the slides, in the order of the show."""
    parts = {identity: target for identity, _, target in package.relationships(main)}
    listed = package.xml(main).iter(f"{_P}sldId")
    return [parts[identity] for each in listed if (identity := each.get(f"{_R}id")) in parts]


class _Slide:
    """One slide as it is read."""

    def __init__(self, package: Package, part: str) -> None:
        self._package = package
        self._part = part
        self._parts = {identity: target for identity, _, target in package.relationships(part)}
        self._out = TextBuilder()

    def read(self) -> TextBuilder:
        """The text of the slide, its title first and its notes last."""
        tree = self._package.xml(self._part).find(f"{_P}cSld/{_P}spTree")
        shapes = list(_shapes(tree, 0)) if tree is not None else []
        titles = [shape for shape in shapes if _placeholder(shape) in _TITLES]
        for shape in titles:
            self._out.structured = True
            self._out.add_heading(1, " ".join(_lines(shape)), MAX_TITLE_CHARACTERS)
        for shape in shapes:
            if shape not in titles and _placeholder(shape) not in _FURNITURE:
                self._add(shape)
        self._add_notes()
        return self._out

    def _add(self, shape: Element) -> None:
        if shape.tag == f"{_P}graphicFrame":
            for table in shape.iter(f"{_A}tbl"):
                self._add_table(table)
            for chart in shape.iter(f"{_C}chart"):
                if target := self._parts.get(chart.get(f"{_R}id", "")):
                    _add_chart(self._out, self._package.xml(target))
            for diagram in shape.iter(f"{_DGM}relIds"):
                if target := self._parts.get(diagram.get(f"{_R}dm", "")):
                    points = self._package.xml(target).iter(f"{_DGM}pt")
                    self._add_lines([text for point in points for text in _lines(point)])
            return
        self._add_lines(_lines(shape))

    def _add_lines(self, lines: list[str]) -> None:
        self._out.break_line(2)
        for line in lines:
            self._out.break_line(1)
            self._out.add_words(line)
        self._out.break_line(2)

    def _add_table(self, element: Element) -> None:
        properties = element.find(f"{_A}tblPr")
        heads = properties is not None and properties.get("firstRow") in {"1", "true"}
        self._out.break_line(2)
        table = Table(self._out)
        for number, row in enumerate(element.iter(f"{_A}tr")):
            table.rows.append([])
            for cell in row.iter(f"{_A}tc"):
                if cell.get("hMerge") or cell.get("vMerge"):
                    continue
                inner = TextBuilder()
                inner.add_words(" ".join(_lines(cell)))
                columns, rows = (_number(cell.get(name)) for name in ("gridSpan", "rowSpan"))
                table.add_cell(inner, columns=columns, rows=rows, heads=heads and number == 0)
        table.add_to_surrounding()
        self._out.break_line(2)

    def _add_notes(self) -> None:
        for target in self._package.related(self._part, "notesSlide"):
            tree = self._package.xml(target).find(f"{_P}cSld/{_P}spTree")
            bodies = [shape for shape in _shapes(tree, 0) if _placeholder(shape) == "body"] if tree is not None else []
            lines = [line for body in bodies for line in _lines(body) if line.strip()]
            if lines:
                self._add_lines(["Notes: " + lines[0], *lines[1:]])


def _shapes(parent: Element, depth: int) -> Iterator[Element]:
    """The shapes in a group and in the groups within it, in order."""
    for child in parent:
        if child.tag in {f"{_P}sp", f"{_P}graphicFrame", f"{_P}cxnSp"}:
            yield child
        elif depth < _MAX_DEPTH and child.tag == f"{_P}grpSp":
            yield from _shapes(child, depth + 1)
        elif depth < _MAX_DEPTH and child.tag == f"{_MC}AlternateContent":
            choice = child.find(f"{_MC}Choice")
            yield from _shapes(choice if choice is not None else child.find(f"{_MC}Fallback") or [], depth + 1)


def _placeholder(shape: Element) -> str:
    """What the shape is a placeholder of, "" for none."""
    found = next(shape.iter(f"{_P}ph"), None)
    return "" if found is None else str(found.get("type", "body"))


def _lines(element: Element) -> list[str]:
    """The paragraphs of an element, those of a lower level as items of a list."""
    lines = []
    for paragraph in element.iter(f"{_A}p"):
        pieces = ["\n" if each.tag == f"{_A}br" else each.text or "" for each in paragraph.iter(f"{_A}t", f"{_A}br")]
        properties = paragraph.find(f"{_A}pPr")
        level = _number(properties.get("lvl"), 0) if properties is not None else 0
        text = " ".join("".join(pieces).split())
        if text:
            lines.append(f"{'  ' * min(level - 1, 8)}- {text}" if level else text)
    return lines


def _add_chart(out: TextBuilder, root: Element) -> None:
    """A chart as its title and a table: a row for each category, a column for each series."""
    title = root.find(f"{_C}chart/{_C}title")
    if title is not None:
        out.break_line(2)
        out.add_words(" ".join(_lines(title)))
    series = list(root.iter(f"{_C}ser"))
    categories: dict[int, str] = {}
    columns: list[dict[int, str]] = []
    for one in series:
        for kind in ("cat", "xVal"):
            categories = categories or _points(one.find(f"{_C}{kind}"))
        columns.append(_points(one.find(f"{_C}val")) or _points(one.find(f"{_C}yVal")))
    names = [" ".join(_points(one.find(f"{_C}tx")).values()) for one in series]
    places = sorted({*categories, *(place for column in columns for place in column)})[:_MAX_POINTS]
    rows = [[categories.get(place, ""), *(column.get(place, "") for column in columns)] for place in places]
    out.add_table([["", *names], *rows], header=True)


def _points(element: Element | None) -> dict[int, str]:
    """The values that a chart keeps of the cells that it shows, by place."""
    if element is None:
        return {}
    points = ((point.get("idx", "0"), point.find(f"{_C}v")) for point in element.iter(f"{_C}pt"))
    return {_number(place, 0): value.text or "" for place, value in points if value is not None}


def _number(text: str | None, default: int = 1) -> int:
    return int(text) if text and text.isdecimal() else default
