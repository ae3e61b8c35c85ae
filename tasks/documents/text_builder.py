"""A text under construction: white space, paragraphs and bullets as a browser would place them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from millrace.tasks.records import Heading, Table

SPACES = re.compile(r"[ \t\n\r\f]+")
_WHITE = " \t\n\r\f"

_WIDE = (
    "\u2e80-\u303f\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
)
_BREAK_BETWEEN_WIDE = re.compile(rf"(?<=[{_WIDE}])[ \t]*[\n\r][ \t\n\r]*(?=[{_WIDE}])")
_IS_WIDE = re.compile(f"[{_WIDE}]")


@dataclass(frozen=True, slots=True)
class _HeadingMark:
    """Says that a heading begins `lead` characters further on."""

    level: int
    title: str
    lead: int


@dataclass(frozen=True, slots=True)
class _TableMark:
    """Says that the next `length` characters are a table, of which `header` are its header row with its line end."""

    header: int
    length: int


@dataclass(slots=True)
class TextBuilder:
    """Text under construction.

    Line breaks and spaces are written only when more text follows, so that none begins or ends the result. A finished
    text that is appended becomes a part without being copied: the time does not grow with the depth of the nesting.
    """

    parts: list["str | _HeadingMark | _TableMark | TextBuilder"] = field(default_factory=list)
    length: int = 0
    last: str = ""
    """The last character so far."""
    pending_lines: int = 0
    pending_space: str = ""
    """A space, or a line feed when the white space held one."""
    bullet: str = ""
    paragraphs: int = 0
    structured: bool = False
    """Whether the text holds headings, tables or code, which do not fit into one line of a table."""

    def finish(self) -> tuple[str, tuple[Heading, ...], tuple[Table, ...]]:
        """The text, and the headings and tables in it."""
        texts: list[str] = []
        headings: list[Heading] = []
        tables: list[Table] = []
        offset = 0
        open_parts: list[Iterator[str | _HeadingMark | _TableMark | TextBuilder]] = [iter(self.parts)]
        while open_parts:
            part = next(open_parts[-1], None)
            if part is None:
                open_parts.pop()
            elif isinstance(part, str):
                texts.append(part)
                offset += len(part)
            elif isinstance(part, _HeadingMark):
                headings.append(Heading(part.level, part.title, offset + part.lead))
            elif isinstance(part, _TableMark):
                tables.append(Table(offset, offset + part.header, offset + part.length))
            else:
                open_parts.append(iter(part.parts))
        return "".join(texts), tuple(headings), tuple(tables)

    def break_line(self, lines: int) -> None:
        """Begin a new line (1) or a new paragraph (2) before the next word."""
        self.pending_lines = max(self.pending_lines, lines)
        self.pending_space = ""

    def add_words(self, raw: str) -> None:
        """Add text whose white space collapses."""
        stripped = raw.strip(_WHITE)
        leading = raw[: len(raw) - len(raw.lstrip(_WHITE))]
        if leading and self.pending_space != " ":
            self.pending_space = "\n" if "\n" in leading else " "
        if stripped:
            text = SPACES.sub(" ", _BREAK_BETWEEN_WIDE.sub("", stripped))
            self._write_pending(text)
            self._write(text)
            trailing = raw[len(raw.rstrip(_WHITE)) :]
            self.pending_space = ("\n" if "\n" in trailing else " ") if trailing else ""

    def add_verbatim(self, text: str) -> None:
        """Add text unchanged."""
        self._write_pending(text)
        self._write(text)

    def add_table(self, rows: Sequence[Sequence[str]], *, header: bool, lines: int = 2) -> None:
        """Add rows of cells, one line a row, with ` | ` between cells; white space in a cell collapses.

        `header` says that the first row names the columns. `lines` is what `break_line` is given before and after.
        """
        written = [" | ".join(SPACES.sub(" ", cell).strip(_WHITE) for cell in row) for row in rows]
        if not written:
            return
        self.break_line(lines)
        self._write_pending("")
        table = "\n".join(written)
        self.parts.append(_TableMark(min(len(written[0]) + 1, len(table)) if header else 0, len(table)))
        self._write(table)
        self.break_line(lines)

    def add_heading(self, level: int, title: str, max_characters: int) -> None:
        """Add a heading as a paragraph of its own; nothing of a blank one."""
        if not title.strip():
            return
        self.break_line(2)
        self._write_pending(title)
        part = len(self.parts)
        self._write(SPACES.sub(" ", title).strip(_WHITE))
        self.mark_heading(level, part, max_characters)
        self.break_line(2)

    def append(self, other: "TextBuilder") -> None:
        """Add a finished text as paragraphs of its own."""
        if not other.length:
            return
        self.break_line(2)
        self._write_pending("")
        self.parts.append(other)
        self.length += other.length
        self.last = other.last
        self.break_line(2)

    def mark_heading(self, level: int, part: int, max_characters: int) -> None:
        """Make the text from part number `part` on a heading, unless it is blank."""
        written = "".join(text for text in self.parts[part:] if isinstance(text, str))
        title = written.strip()
        if title:
            lead = len(written) - len(written.lstrip())
            self.parts.insert(part, _HeadingMark(level, title[:max_characters], lead))

    def _write_pending(self, upcoming: str) -> None:
        if self.length and self.pending_lines:
            self._write("\n" * self.pending_lines)
            self.paragraphs += self.pending_lines > 1
        elif self.length and self.pending_space and self.last != "\n":
            is_line_break = self.pending_space == "\n"
            if not (is_line_break and _IS_WIDE.match(self.last) and _IS_WIDE.match(upcoming)):
                self._write(" ")
        if self.bullet:
            self._write(self.bullet)
        self.pending_lines, self.pending_space, self.bullet = 0, "", ""

    def _write(self, text: str) -> None:
        if text:
            self.parts.append(text)
            self.length += len(text)
            self.last = text[-1]
