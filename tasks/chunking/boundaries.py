"""Boundaries: where a text may be cut, of which kind each one is, and how many tokens and bytes lie between two.

A boundary is the white space from `end` to `start`, left out between two chunks, or nothing where they are equal.
Boundaries depend only on the text around them, never on their position in the document, so that a passage has the same
boundaries after an edit elsewhere.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from millrace.tasks.chunking.characters import SPACE, WORD, class_table, code_points, line_ends, sure_breaks
from millrace.tasks.chunking.tokenizer import Tokenizer

Offsets = npt.NDArray[np.int64]


class Kind(IntEnum):
    """What a boundary separates, from the worst place for a cut to the best."""

    HEADING_LINE = 0
    """Inside a heading's line, or between the heading and its text."""
    WORD = 1
    CLAUSE = 2
    SENTENCE = 3
    LINE = 4
    FULL_LINE = 5
    """The end of a line and of a sentence, near others of this kind: the better line ends in wrapped prose."""
    PARAGRAPH = 6
    HEADING = 7
    """Where sections share chunks, a heading of a higher rank has a greater number than one of a lower."""


_CLOSERS = r"[\"'”’»›」』】〕）〉》)\]}＂＇*_]*+"
_STOPS = "。！？｡．؟۔։।॥።។༎။‼⁇⁈⁉"
_PAUSES = "，、；：､،؛"
# Each begins with a set of characters, for which `re` searches several times as fast as for anything else.
_MARKS = (
    (Kind.CLAUSE, re.compile(rf"[,;:]{_CLOSERS}(?=\s)")),
    (Kind.CLAUSE, re.compile(rf"[{_PAUSES}][{_PAUSES}]*{_CLOSERS}")),
    (Kind.CLAUSE, re.compile(r"[—…](?:(?<=—)—+|(?<=…)…+)")),
    (
        Kind.SENTENCE,
        re.compile(
            # Only at the start of a run, and all of it: otherwise the time would grow with the square of its length.
            r"[.!?…](?<![.!?…][.!?…])[.!?…]*+"
            # Initials, and the abbreviations that stand before a name or a number, end no sentence.
            r"(?<!\b[A-Z]\.)(?<!\b(?:Mr|Ms|Dr|St|vs|No|cf|pp)\.)(?<!\b(?:Mrs|Fig|Vol|e\.g|i\.e)\.)(?<!\bProf\.)"
            rf"{_CLOSERS}(?=\s|\Z)"
        ),
    ),
    (Kind.SENTENCE, re.compile(rf"[{_STOPS}][{_STOPS}!?…]*{_CLOSERS}")),
)
_NOT_SPACE = re.compile(r"\S")

_HEADING_LINES = re.compile(
    r"(?:[=\-~^\"'*+#.:_]{2,300}[ \t]{0,9}\n)?[^\n]{1,300}(?:\n[=\-~^\"'*+#.:_]{2,300}[ \t]{0,9}(?=\n|\Z))?(?=\n|\Z)"
)
"""A heading's line, with the rules that reStructuredText and Markdown draw above and below it."""

_NEAR_LINES = 8


def skip_space(text: str, position: int) -> int:
    """The first position from `position` on that is not white space; the end of `text` if there is none."""
    found = _NOT_SPACE.search(text, position)
    return found.start() if found else len(text)


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Boundaries in ascending order; all arrays have the same length.

    `ends` and `starts` are character offsets, `kinds` are values of `Kind`. From the start of boundary i to the end of
    boundary j there are about `tokens_before_end[j] - tokens_before_start[i]` tokens and exactly
    `bytes_before_end[j] - bytes_before_start[i]` bytes.
    """

    ends: Offsets
    starts: Offsets
    kinds: npt.NDArray[np.uint8]
    tokens_before_end: Offsets
    tokens_before_start: Offsets
    bytes_before_end: Offsets
    bytes_before_start: Offsets


class TextWindow:
    """The boundaries of `text[start:end]`, and the measures needed to cut between them.

    Token counts are taken over the whole window, and so are off by a token or two for a part of it.
    """

    def __init__(
        self,
        text: str,
        start: int,
        max_chars: int,
        headings: Sequence[int],
        tokenizer: Tokenizer,
        *,
        hashed_chars: tuple[int, int] = (16, 48),
    ) -> None:
        """`text[start]` is not white space; `headings` are the positions of the window's headings, ascending.

        Hashes are of so many characters before and after a position.
        """
        self.start = start
        self.limit = min(start + max_chars, len(text))
        piece = text[start : self.limit].rstrip()
        self.end = start + len(piece)
        self._resume = skip_space(text, self.end)
        self.reaches_text_end = self._resume == len(text)
        points = code_points(piece)
        self._classes = class_table()[points]
        self._breaks = sure_breaks(self._classes)
        widths = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
        self._bytes_before = np.concatenate(([0], np.cumsum(widths)))
        self._token_ends = tokenizer.token_ends(piece)
        chars_before, chars_after = hashed_chars
        context_start = max(0, start - chars_before)
        points = code_points(text[context_start : self.end + chars_after])
        self._contexts = _ContextHash(points, context_start, hashed_chars)
        self.heading_ends: dict[int, int] = {}
        """Where the line of each heading ends, keyed by where it begins."""
        self.boundaries = self._find(text, piece, headings)

    def tokens_before(self, position: int) -> int:
        """How many tokens of the window end at or before `position`."""
        return int(self._tokens_ended(self._bytes_before[position - self.start]))

    def bytes_before(self, position: int) -> int:
        """How many bytes of the window are before `position`."""
        return int(self._bytes_before[position - self.start])

    def reach(self, tokens: int, size_bytes: int) -> int:
        """The last position before which the window has at most `tokens` tokens and `size_bytes` bytes."""
        if tokens < len(self._token_ends):
            size_bytes = min(size_bytes, int(self._token_ends[tokens - 1]) if tokens > 0 else 0)
        return self.start + int(np.searchsorted(self._bytes_before, size_bytes, side="right")) - 1

    def grapheme_breaks(self, first: int, last: int) -> Offsets:
        """Where from `first` to `last` a grapheme surely ends; beside punctuation only, if there is any."""
        low, high = first - self.start, last - self.start
        breaks = np.flatnonzero(self._breaks[low : high + 1]) + low
        words = (self._classes & WORD) > 0
        inner = breaks[(breaks > 0) & (breaks < len(words))]
        beside_punctuation = inner[~(words[inner - 1] & words[inner])]
        return (beside_punctuation if len(beside_punctuation) else breaks) + self.start

    def hashes(self, positions: Offsets) -> npt.NDArray[np.uint64]:
        """A hash of the characters around each position."""
        return self._contexts.at(positions)

    def index_of_smallest_hash(self, positions: Offsets) -> int:
        """The index of the position whose surrounding text has the smallest hash; the last one of equals."""
        hashes = self._contexts.at(positions)
        return len(hashes) - 1 - int(np.argmin(hashes[::-1]))

    def _find(self, text: str, piece: str, headings: Sequence[int]) -> Boundaries:
        spaces = (self._classes & SPACE) > 0
        heading_starts = np.array([h - self.start for h in headings if self.start < h < self.end], dtype=np.int64)
        marks = np.zeros(len(piece) + 1, dtype=np.uint8)
        for kind, pattern in _MARKS:
            marks[[m.end() for m in pattern.finditer(piece)]] = kind
        gap_ends, gap_starts, gap_kinds = self._gaps(spaces, marks)
        gap_kinds[np.isin(gap_starts, heading_starts)] = Kind.HEADING
        marks[heading_starts[~spaces[heading_starts - 1]]] = Kind.HEADING
        gapless = np.flatnonzero(marks[1:-1]) + 1
        gapless = gapless[~spaces[gapless] & ~spaces[gapless - 1] & self._breaks[gapless]]
        ends = np.concatenate((gap_ends, gapless))
        order = np.argsort(ends, kind="stable")
        ends = ends[order]
        starts = np.concatenate((gap_starts, gapless))[order]
        kinds = np.concatenate((gap_kinds, marks[gapless]))[order]
        if self._resume > self.end or self.reaches_text_end:
            ends, starts = np.append(ends, len(piece)), np.append(starts, len(piece))
            kinds = np.append(kinds, _gap_kind(text[self.end : self._resume], int(marks[-1])))
        _demote_stray_full_lines(kinds)
        for heading in headings:
            if (lines := _HEADING_LINES.match(text, heading)) is not None:
                self.heading_ends[heading] = lines.end()
                inside = slice(*np.searchsorted(ends + self.start, (heading, lines.end()), side="right"))
                kinds[inside][kinds[inside] < Kind.HEADING] = Kind.HEADING_LINE
        return self._measured(ends, starts, kinds)

    def _gaps(
        self, spaces: npt.NDArray[np.bool_], marks: npt.NDArray[np.uint8]
    ) -> tuple[Offsets, Offsets, npt.NDArray[np.uint8]]:
        """The runs of white space, as ends, starts and kinds, except those that are part of a grapheme."""
        edges = np.diff(spaces.astype(np.int8))
        ends = np.flatnonzero(edges == 1) + 1
        starts = np.flatnonzero(edges == -1) + 1
        whole = self._breaks[ends] & self._breaks[starts]
        ends, starts = ends[whole], starts[whole]
        lines_before = np.concatenate(([0], np.cumsum(line_ends(self._classes))))
        return ends, starts, _kinds(lines_before[starts] - lines_before[ends], marks[ends])

    def _measured(self, ends: Offsets, starts: Offsets, kinds: npt.NDArray[np.uint8]) -> Boundaries:
        bytes_before_end, bytes_before_start = self._bytes_before[ends], self._bytes_before[starts]
        starts = starts + self.start
        if len(ends) and ends[-1] == self.end - self.start:
            starts[-1] = self._resume
        return Boundaries(
            ends=ends + self.start,
            starts=starts,
            kinds=kinds,
            tokens_before_end=self._tokens_begun(bytes_before_end),
            tokens_before_start=self._tokens_ended(bytes_before_start),
            bytes_before_end=bytes_before_end,
            bytes_before_start=bytes_before_start,
        )

    def _tokens_ended(self, bytes_before: Offsets) -> Offsets:
        return np.searchsorted(self._token_ends, bytes_before, side="right")

    def _tokens_begun(self, bytes_before: Offsets) -> Offsets:
        return np.searchsorted(self._token_ends, bytes_before, side="left") + 1


def _kinds(lines: Offsets, marks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The kinds of runs of white space, from the number of their line ends and the kinds of the marks before them."""
    kinds = np.maximum(marks, Kind.WORD)
    kinds[lines == 1] = Kind.LINE
    kinds[(lines == 1) & (marks == Kind.SENTENCE)] = Kind.FULL_LINE
    kinds[lines > 1] = Kind.PARAGRAPH
    return kinds


def _demote_stray_full_lines(kinds: npt.NDArray[np.uint8]) -> None:
    """Demote full lines without another nearby: a single sentence in a log or a table should not attract the cuts."""
    lines = np.flatnonzero((kinds >= Kind.LINE) & (kinds <= Kind.PARAGRAPH))
    is_full = kinds[lines] == Kind.FULL_LINE
    before = np.concatenate(([0], np.cumsum(is_full)))
    full = np.flatnonzero(is_full)
    nearby = before[np.minimum(full + 1 + _NEAR_LINES, len(lines))] - before[np.maximum(full - _NEAR_LINES, 0)]
    kinds[lines[full[nearby < 2]]] = Kind.LINE


def _gap_kind(gap: str, mark: int) -> int:
    """The kind of one run of white space."""
    lines = int(line_ends(class_table()[code_points(gap)]).sum())
    return int(_kinds(np.array([lines]), np.array([mark], dtype=np.uint8))[0])


@functools.lru_cache(maxsize=32)
def _powers(count: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The first `count` powers of an odd number and of its inverse, modulo 2**64."""
    base = 0x9E3779B97F4A7C15
    ascending = np.full(count, base, dtype=np.uint64)
    descending = np.full(count, pow(base, -1, 2**64), dtype=np.uint64)
    ascending[0] = descending[0] = 1
    return np.cumprod(ascending, dtype=np.uint64), np.cumprod(descending, dtype=np.uint64)


class _ContextHash:
    """Hashes of the characters around positions: equal surroundings have equal hashes, wherever they are."""

    def __init__(self, points: npt.NDArray[np.uint32], origin: int, hashed_chars: tuple[int, int]) -> None:
        self._chars_before, self._chars_after = hashed_chars
        size = 1 << len(points).bit_length()
        powers, self._inverses = _powers(size)
        self._sums = np.zeros(len(points) + 1, dtype=np.uint64)
        np.cumsum((points.astype(np.uint64) + 1) * powers[: len(points)], out=self._sums[1:])
        self._origin = origin

    def at(self, positions: Offsets) -> npt.NDArray[np.uint64]:
        """One hash a position, dtype uint64."""
        relative = positions - self._origin
        first = np.clip(relative - self._chars_before, 0, len(self._sums) - 1)
        last = np.minimum(relative + self._chars_after, len(self._sums) - 1)
        mixed = (self._sums[last] - self._sums[first]) * self._inverses[first]
        # The low bits of a sum of products are weak; these are the last steps of splitmix64.
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
