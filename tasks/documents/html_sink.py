"""Text under construction: white space, paragraphs and bullets as a browser would place them."""

import re
from dataclasses import dataclass, field

from tasks.records import Heading

SPACES = re.compile(r"[ \t\n\r\f]+")
_WHITE = " \t\n\r\f"

_WIDE = (
    "\u2e80-\u303f\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
)
_BREAK_BETWEEN_WIDE = re.compile(rf"(?<=[{_WIDE}])[ \t]*[\n\r][ \t\n\r]*(?=[{_WIDE}])")
_IS_WIDE = re.compile(f"[{_WIDE}]")


@dataclass(slots=True)
class Sink:
    """Text under construction: breaks and spaces are owed until the next word comes, so none begins or ends it."""

    parts: list[str] = field(default_factory=list)
    length: int = 0
    headings: list[Heading] = field(default_factory=list)
    owed_lines: int = 0
    owed_space: str = ""  # " ", or "\n" when the white space held a line break
    bullet: str = ""
    paragraphs: int = 0
    structured: bool = False
    """Holds what does not go into one line of a table."""

    def text(self) -> str:
        """What has been written so far."""
        return "".join(self.parts)

    def break_line(self, lines: int) -> None:
        """Begin a new line (1) or a new paragraph (2) before the next word."""
        self.owed_lines = max(self.owed_lines, lines)
        self.owed_space = ""

    def words(self, raw: str) -> None:
        """Add text whose white space collapses."""
        bare = raw.strip(_WHITE)
        leading = raw[: len(raw) - len(raw.lstrip(_WHITE))]
        if leading and self.owed_space != " ":
            self.owed_space = "\n" if "\n" in leading else " "
        if bare:
            text = SPACES.sub(" ", _BREAK_BETWEEN_WIDE.sub("", bare))
            self._begin(text)
            self._add(text)
            trailing = raw[len(raw.rstrip(_WHITE)) :]
            self.owed_space = ("\n" if "\n" in trailing else " ") if trailing else ""

    def verbatim(self, text: str) -> None:
        """Add text as it is."""
        self._begin(text)
        self._add(text)

    def append(self, other: "Sink") -> None:
        """Add a finished text with its headings as blocks of its own."""
        text = other.text()
        self.break_line(2)
        self._begin(text)
        self.headings.extend(Heading(h.level, h.title, h.start + self.length) for h in other.headings)
        self._add(text)
        self.break_line(2)

    def _begin(self, upcoming: str) -> None:
        if self.length and self.owed_lines:
            self._add("\n" * self.owed_lines)
            self.paragraphs += self.owed_lines > 1
        elif self.length and self.owed_space and not self.parts[-1].endswith("\n"):
            between_wide = self.owed_space == "\n" and _IS_WIDE.match(self.parts[-1][-1]) and _IS_WIDE.match(upcoming)
            if not between_wide:
                self._add(" ")
        if self.bullet:
            self._add(self.bullet)
        self.owed_lines, self.owed_space, self.bullet = 0, "", ""

    def _add(self, text: str) -> None:
        self.parts.append(text)
        self.length += len(text)
