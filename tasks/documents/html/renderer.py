"""Walk over the elements of an HTML body and write their text."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS
from millrace.tasks.documents.html.elements import (
    BLOCKS,
    CELLS,
    DROPPED,
    LINE_NUMBERS,
    LINES,
    LISTS,
    PERMALINKS,
    SECTIONS,
    VERBATIM,
    heading_level,
    is_boilerplate,
)
from millrace.tasks.documents.html.text_builder import SPACES, TextBuilder
from millrace.tasks.records import Heading

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode


@dataclass(slots=True)
class _Row:
    """A table row whose cells are being read: the text before it, and its finished cells."""

    surrounding: TextBuilder
    cells: list[TextBuilder] = field(default_factory=list)

    def add_to_surrounding(self) -> TextBuilder:
        """The surrounding text with the row added: a line if it holds data, paragraphs if it lays out the page."""
        filled = [cell for cell in self.cells if cell.length]
        if len(self.cells) == 1 or any(c.structured or c.paragraphs > 3 or c.length > 1000 for c in filled):
            for cell in filled:
                self.surrounding.append(cell)
        elif filled:
            self.surrounding.break_line(1)
            self.surrounding.add_verbatim(" | ".join(SPACES.sub(" ", cell.text()) for cell in self.cells))
            self.surrounding.break_line(1)
        return self.surrounding


@dataclass(slots=True)
class Renderer:
    """Walks a body once, without recursion, because pages nest deeper than Python's recursion limit."""

    builder: TextBuilder = field(default_factory=TextBuilder)
    _rows: list["_Row"] = field(default_factory=list)
    """The open table rows, outermost first."""
    _sections: int = 0
    _lists: int = 0
    _verbatim: list[str] | None = None
    _verbatim_depth: int = 0
    _heading: tuple[int, int, int] | None = None
    """The open heading: its level, and the builder's number of parts and length when it opened."""

    def render(self, body: "LexborNode") -> None:
        """Add all of the body's content to `builder`."""
        node, depth = body, 0
        while True:
            tag = node.tag or ""
            entered = self._open(node, tag)
            child = node.first_child if entered else None
            if child is not None:
                node, depth = child, depth + 1
                continue
            if entered:
                self._close(tag, node)
            while depth and (sibling := node.next) is None:
                parent = node.parent
                assert parent is not None
                node, depth = parent, depth - 1
                self._close(node.tag or "", node)
            if not depth:
                return
            assert sibling is not None
            node = sibling

    def _open(self, node: "LexborNode", tag: str) -> bool:
        """Account for the beginning of an element; whether to go into it."""
        if tag == "-text":
            self._text(node.text_content or "")
            return False
        if tag.startswith("-") or tag in DROPPED or (tag != "body" and self._is_boilerplate(node, tag)):
            return False
        if tag == "br":
            self._line_break()
            return False
        if self._verbatim is not None:
            self._verbatim_depth += 1
            if tag in BLOCKS and self._verbatim and not self._verbatim[-1].endswith("\n"):
                self._verbatim.append("\n")
            return True
        if tag in SECTIONS:
            self._sections += 1
        if self._heading is not None:
            if tag in BLOCKS or tag in LINES:
                self.builder.add_words(" ")
            return True
        self._open_block(node, tag)
        return True

    def _open_block(self, node: "LexborNode", tag: str) -> None:
        level = heading_level(node, tag)
        if tag in LISTS:
            self.builder.break_line(1 if self._lists else 2)
            self._lists += 1
        elif tag in BLOCKS or level:
            self.builder.break_line(2)
        elif tag in LINES:
            self.builder.break_line(1)
        if level:
            self.builder.structured = True
            self._heading = (level, len(self.builder.parts), self.builder.length)
        elif tag in VERBATIM:
            self._verbatim, self._verbatim_depth = [], 0
        elif tag == "li":
            self.builder.bullet = "  " * max(self._lists - 1, 0) + "- "
        elif tag == "table":
            self.builder.structured = True
        elif tag == "tr":
            self._rows.append(_Row(self.builder))
        elif tag in CELLS and self._rows:
            self.builder = TextBuilder()

    def _close(self, tag: str, node: "LexborNode") -> None:
        if self._verbatim is not None:
            self._close_in_verbatim(tag)
            return
        if tag in SECTIONS:
            self._sections -= 1
        if self._heading is None:
            self._close_block(tag)
        elif heading_level(node, tag):
            self._close_heading()
        elif tag in BLOCKS or tag in LINES:
            self.builder.add_words(" ")

    def _close_block(self, tag: str) -> None:
        if tag in CELLS and self._rows:
            row = self._rows[-1]
            row.cells.append(self.builder)
            self.builder = row.surrounding
        elif tag == "tr":
            self.builder = self._rows.pop().add_to_surrounding()
        if tag in LISTS:
            self._lists -= 1
            self.builder.break_line(1 if self._lists else 2)
        elif tag in BLOCKS:
            self.builder.break_line(2)
        elif tag in LINES:
            self.builder.bullet = ""
            self.builder.break_line(1)

    def _close_in_verbatim(self, tag: str) -> None:
        assert self._verbatim is not None
        if self._verbatim_depth:
            self._verbatim_depth -= 1
            if tag in BLOCKS and self._verbatim and not self._verbatim[-1].endswith("\n"):
                self._verbatim.append("\n")
            return
        text = "".join(self._verbatim).strip("\n")
        self._verbatim = None
        # Listings put their line numbers into a block of their own.
        if text.strip() and not (self._rows and LINE_NUMBERS.fullmatch(text)):
            self.builder.structured = True
            self.builder.add_verbatim(text)
        self.builder.break_line(2)

    def _close_heading(self) -> None:
        assert self._heading is not None
        level, parts, start = self._heading
        self._heading = None
        written = "".join(self.builder.parts[parts:])
        title = written.strip()
        if title:
            start += len(written) - len(written.lstrip())
            self.builder.headings.append(Heading(level, title[:MAX_TITLE_CHARACTERS], start))
        self.builder.break_line(2)

    def _text(self, raw: str) -> None:
        if self._verbatim is not None:
            self._verbatim.append(raw)
        elif not (self._heading is not None and raw.strip() in PERMALINKS):
            self.builder.add_words(raw)

    def _line_break(self) -> None:
        if self._verbatim is not None:
            self._verbatim.append("\n")
        elif self._heading is not None:
            self.builder.add_words(" ")
        else:
            self.builder.break_line(1 if not self.builder.pending_lines else 2)

    def _is_boilerplate(self, node: "LexborNode", tag: str) -> bool:
        return is_boilerplate(node, tag, in_section=bool(self._sections), in_heading=self._heading is not None)
