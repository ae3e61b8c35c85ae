"""A text under construction: white space, paragraphs and bullets as a browser would place them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from millrace.tasks.records import Heading

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


@dataclass(slots=True)
class TextBuilder:
    """Text under construction.

    Line breaks and spaces are written only when more text follows, so that none begins or ends the result. A finished
    text that is appended becomes a part without being copied: the time does not grow with the depth of the nesting.
    """

    parts: list["str | _HeadingMark | TextBuilder"] = field(default_factory=list)
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

    def finish(self) -> tuple[str, tuple[Heading, ...]]:
        """The text, and the headings in it."""
        texts: list[str] = []
        headings: list[Heading] = []
        offset = 0
        open_parts: list[Iterator[str | _HeadingMark | TextBuilder]] = [iter(self.parts)]
        while open_parts:
            part = next(open_parts[-1], None)
            if part is None:
                open_parts.pop()
            elif isinstance(part, str):
                texts.append(part)
                offset += len(part)
            elif isinstance(part, _HeadingMark):
                headings.append(Heading(part.level, part.title, offset + part.lead))
            else:
                open_parts.append(iter(part.parts))
        return "".join(texts), tuple(headings)

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
