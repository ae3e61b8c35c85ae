"""What is put before a chunk's text when it is embedded: title and headings above it, and the header row of its table.

A passage often does not name what it is about; its headings do. They are no part of the chunk's content.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal

from millrace.tasks.chunking.tokenizer import Tokenizer
from millrace.tasks.records import Document, embedded_text

Context = Literal["none", "headings"]

_SHARE = 8
_JOIN_TOKENS = 2
"""The blank line between context and text has one token, and one more may come of what meets there."""


def context_bound(max_tokens: int) -> int:
    """How many of a chunk's tokens are set aside for its context: an eighth."""
    return max_tokens // _SHARE


class Contexts:
    """The contexts of a document's chunks."""

    def __init__(self, document: Document, tokenizer: Tokenizer, max_tokens: int) -> None:
        """Contexts such that they and the chunk's text have `max_tokens` tokens at most."""
        self._document = document
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._bound = context_bound(max_tokens) - _JOIN_TOKENS
        self._table_starts = [table.start for table in document.tables]
        self._known: dict[tuple[tuple[str, ...], str], str] = {}

    def of(self, content: str, start: int, path: tuple[str, ...]) -> tuple[str, int]:
        """The context of the chunk that begins at `start`, and the tokens of what is embedded with it."""
        key = path, self._header_row(start)
        if key not in self._known:
            self._known[key] = self._context(*key)
        context = self._known[key]
        tokens = self._tokenizer.count(embedded_text(content, context))
        return (context, tokens) if tokens <= self._max_tokens else ("", self._tokenizer.count(content))

    def _context(self, path: Sequence[str], header: str) -> str:
        """As much of title and path as there is room for, the innermost first; then the header row, if it fits too."""
        names: list[str] = []
        for name in (*reversed(path), *([self._document.title] if self._document.title not in path[:1] else [])):
            if self._tokenizer.count(" > ".join([name, *names])) > self._bound:
                break
            names.insert(0, name)
        headings = " > ".join(names)
        with_header = f"{headings}\n{header}" if headings else header
        return with_header if header and self._tokenizer.count(with_header) <= self._bound else headings

    def _header_row(self, start: int) -> str:
        """The header row of the table in whose body the chunk begins; "" where there is none."""
        place = bisect_right(self._table_starts, start) - 1
        if place < 0:
            return ""
        table = self._document.tables[place]
        if not table.start < table.body <= start < table.end:
            return ""
        return self._document.text[table.start : table.body].split("\n", 1)[0].strip()
