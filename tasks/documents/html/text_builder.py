"""A text under construction: white space, paragraphs and bullets as a browser would place them."""

import re
from dataclasses import dataclass, field

from millrace.tasks.records import Heading

SPACES = re.compile(r"[ \t\n\r\f]+")
_WHITE = " \t\n\r\f"

_WIDE = (
    "\u2e80-\u303f\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
)
_BREAK_BETWEEN_WIDE = re.compile(rf"(?<=[{_WIDE}])[ \t]*[\n\r][ \t\n\r]*(?=[{_WIDE}])")
_IS_WIDE = re.compile(f"[{_WIDE}]")


@dataclass(slots=True)
class TextBuilder:
    """Text under construction.

    Line breaks and spaces are written only when more text follows, so that none begins or ends the result.
    """

    parts: list[str] = field(default_factory=list)
    length: int = 0
    headings: list[Heading] = field(default_factory=list)
    pending_lines: int = 0
    pending_space: str = ""
    """A space, or a line feed when the white space held one."""
    bullet: str = ""
    paragraphs: int = 0
    structured: bool = False
    """Whether the text holds headings, tables or code, which do not fit into one line of a table."""

    def text(self) -> str:
        """The text so far."""
        return "".join(self.parts)

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
        """Add a finished text with its headings as paragraphs of its own."""
        text = other.text()
        self.break_line(2)
        self._write_pending(text)
        self.headings.extend(Heading(h.level, h.title, h.start + self.length) for h in other.headings)
        self._write(text)
        self.break_line(2)

    def _write_pending(self, upcoming: str) -> None:
        if self.length and self.pending_lines:
            self._write("\n" * self.pending_lines)
            self.paragraphs += self.pending_lines > 1
        elif self.length and self.pending_space and not self.parts[-1].endswith("\n"):
            between_wide = (
                self.pending_space == "\n" and _IS_WIDE.match(self.parts[-1][-1]) and _IS_WIDE.match(upcoming)
            )
            if not between_wide:
                self._write(" ")
        if self.bullet:
            self._write(self.bullet)
        self.pending_lines, self.pending_space, self.bullet = 0, "", ""

    def _write(self, text: str) -> None:
        self.parts.append(text)
        self.length += len(text)
