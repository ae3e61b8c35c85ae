"""Cuts a text into spans that fit both bounds, at places that the text itself chooses.

Where a chunk begins in any case, `sections` and `anchors` say. Between two such places each cut is decided by the text
from the cut before it to the bound. Of the boundaries between `_LEAST_SHARE` of the bound and all of it, the highest
kind is taken; of several of that kind the one whose surroundings hash least. Two chains of cuts that got out of step,
as after an edit, look at mostly the same boundaries and soon choose the same one, at the next anchor at the latest.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from millrace.tasks.chunking.anchors import find_anchors
from millrace.tasks.chunking.boundaries import Kind, Offsets, Stretch, skip_space
from millrace.tasks.chunking.characters import grapheme_end, grapheme_ends
from millrace.tasks.chunking.options import ChunkOptions
from millrace.tasks.chunking.sections import find_sections, fresh_starts
from millrace.tasks.chunking.tokenizer import Tokenizer
from millrace.tasks.records import Heading

_LEAST_SHARE = 0.4
"""A cut comes no sooner than this share of the bound, where there is a choice."""
_LEAST_TAIL_SHARE = 0.2
"""What is left over at the end of a section is no less than this share, where there is a choice."""
_STRETCH_CHUNKS = 16
"""How many full chunks (by bytes) are looked at in one go."""
_LOOKAHEAD_CHUNKS = 3
_EARLIER_CHUNKS = 4


@dataclass(frozen=True, slots=True)
class Span:
    """A chunk is `text[start:end]`, of exactly so many `tokens`."""

    start: int
    end: int
    tokens: int


def split(text: str, headings: Sequence[Heading], tokenizer: Tokenizer, options: ChunkOptions) -> Iterator[Span]:
    """The spans of `text`, in order, that hold all of it but white space; none for a blank text.

    No span begins or ends with white space; each fits both bounds. One code point that alone passes a bound, which
    takes a bound of a dozen tokens or less, is a span of its own.
    """
    return _Splitter(text, headings, tokenizer, options).spans()


@dataclass(frozen=True, slots=True)
class _Cut:
    """The chunk ends at `end`; the text goes on at `resume`."""

    end: int
    resume: int


class _Splitter:
    """One document on its way through.

    `begin` is everywhere the place where a chunk begins, `position` the place where its new text does; they differ by
    the overlap. `_fixed` are the boundaries where a chunk begins in any case: walls between sections, and anchors.
    """

    def __init__(self, text: str, headings: Sequence[Heading], tokenizer: Tokenizer, options: ChunkOptions) -> None:
        self._text = text
        self._tokenizer = tokenizer
        self._options = options
        self._sections = find_sections(text, headings)
        self._section_starts = [s.start for s in self._sections]
        self._torn_until = 0
        self._recent: deque[int] = deque(maxlen=_EARLIER_CHUNKS)
        self._walled = True

    def spans(self) -> Iterator[Span]:
        """See `split`."""
        position = begin = skip_space(self._text, 0)
        self._remember(begin, walled=True)
        while position < len(self._text):
            self._read(begin)
            while position < len(self._text) and self._sees_enough(begin, position):
                begin, cut, tokens = self._next(begin, position)
                yield Span(begin, cut.end, tokens)
                position, begin = cut.resume, self._overlapped(begin, cut)
                self._remember(begin, walled=position in self._wall_starts)

    def _remember(self, begin: int, *, walled: bool) -> None:
        """Keeps the last places where chunks began: a stretch begins some chunks early, to find the same anchors."""
        if walled:
            self._recent.clear()
        self._walled = walled or (self._walled and len(self._recent) < _EARLIER_CHUNKS)
        self._recent.append(begin)

    def _read(self, begin: int) -> None:
        """Looks at the next stretch."""
        o = self._options
        max_chars = max(_STRETCH_CHUNKS * o.max_bytes, 1 << 16)
        if begin - self._recent[0] > max_chars // 4:
            self._recent.clear()
            self._remember(begin, walled=False)
        start = self._recent[0]
        inside = slice(bisect_left(self._section_starts, start), bisect_left(self._section_starts, start + max_chars))
        stretch = Stretch(self._text, start, max_chars, self._section_starts[inside], self._tokenizer)
        walls = fresh_starts(stretch, self._sections[inside], max_tokens=o.max_tokens, max_bytes=o.max_bytes)
        anchors = find_anchors(stretch, walls, walled=self._walled, max_tokens=o.max_tokens, max_bytes=o.max_bytes)
        self._stretch = stretch
        self._wall_starts = frozenset(stretch.boundaries.starts[walls].tolist())
        self._fixed = np.union1d(walls, anchors)

    def _sees_enough(self, begin: int, position: int) -> bool:
        """Whether the stretch reaches far enough for a cut that a longer one would not change."""
        stretch = self._stretch
        return position < stretch.end and (
            stretch.reaches_text_end or begin + _LOOKAHEAD_CHUNKS * self._options.max_bytes <= stretch.limit
        )

    def _next(self, begin: int, position: int) -> tuple[int, _Cut, int]:
        """Where the chunk really begins, its cut and its exact token count."""
        allowance = self._options.max_tokens
        step = 1
        while True:
            cut = self._propose(begin, position, allowance)
            if cut is None:
                begin, allowance, step = position, self._options.max_tokens, 1
                continue
            tokens = self._tokenizer.count(self._text[begin : cut.end])
            if tokens <= self._options.max_tokens or (begin == position and cut.end == position + 1):
                return begin, cut, tokens
            # The counts of the stretch are off by a little; the exact one decides.
            allowance -= max(step, tokens - self._options.max_tokens)
            step *= 2

    def _propose(self, begin: int, position: int, allowance: int) -> _Cut | None:
        """A cut that fits as far as the stretch's counts can tell; None if the overlap leaves no room for one."""
        b = self._stretch.boundaries
        tokens_from, bytes_from = self._stretch.tokens_before(begin), self._stretch.bytes_before(begin)
        first = int(np.searchsorted(b.ends, position, side="right"))
        last = (
            min(
                int(np.searchsorted(b.tokens_before_end, tokens_from + allowance, side="right")),
                int(np.searchsorted(b.bytes_before_end, bytes_from + self._options.max_bytes, side="right")),
            )
            - 1
        )
        if position < self._torn_until:
            return self._torn(position, allowance)
        where = int(np.searchsorted(self._fixed, first))
        end = int(self._fixed[where]) if where < len(self._fixed) else None
        if end is not None and end <= last:
            return self._at(end)
        chosen = self._choose(begin, position, first, last, end) if first <= last else None
        if chosen is not None:
            return self._at(chosen)
        if begin < position:
            return None
        return self._inside_word(position, allowance)

    def _choose(self, begin: int, position: int, first: int, last: int, end: int | None) -> int | None:
        """The index of the best boundary from `first` to `last`; None if it is better to cut a word."""
        b = self._stretch.boundaries
        low = self._from_share(position, begin, first)
        if low <= last:
            window = b.kinds[low : last + 1]
            best = int(window.max())
            kept = self._keeping_a_line_whole(first, low, last) if best < Kind.LINE else None
            if kept is not None:
                return kept
            candidates = np.flatnonzero(window == best) + low
            if end is not None:
                candidates = self._leaving_a_good_rest(candidates, end)
            return int(candidates[self._stretch.least(b.starts[candidates])])
        kinds = b.kinds[first : last + 1]
        latest = last - int(np.argmax(kinds[::-1]))
        return latest if kinds[latest - first] >= Kind.LINE or self._fits(last, last + 1) else None

    def _keeping_a_line_whole(self, first: int, low: int, last: int) -> int | None:
        """The last line end before the window, if the line after it, which the window cuts, would fit as a whole."""
        b = self._stretch.boundaries
        before = np.flatnonzero(b.kinds[first:low] >= Kind.LINE)
        after = np.flatnonzero(b.kinds[last + 1 :] >= Kind.LINE)
        if not len(before) or not len(after):
            return None
        line_start, line_end = first + int(before[-1]), last + 1 + int(after[0])
        return line_start if self._fits(line_start, line_end) else None

    def _fits(self, before: int, after: int) -> bool:
        """Whether the text between two boundaries fits a chunk."""
        b = self._stretch.boundaries
        return (
            after < len(b.ends)
            and int(b.tokens_before_end[after] - b.tokens_before_start[before]) <= self._options.max_tokens
            and int(b.bytes_before_end[after] - b.bytes_before_start[before]) <= self._options.max_bytes
        )

    def _from_share(self, position: int, begin: int, first: int) -> int:
        """The first boundary that gives the chunk its least share of new text."""
        b = self._stretch.boundaries
        tokens_from, bytes_from = self._stretch.tokens_before(position), self._stretch.bytes_before(position)
        tokens = self._options.max_tokens - (tokens_from - self._stretch.tokens_before(begin))
        size = self._options.max_bytes - (bytes_from - self._stretch.bytes_before(begin))
        return max(
            first,
            min(
                int(np.searchsorted(b.tokens_before_end, tokens_from + _LEAST_SHARE * tokens)),
                int(np.searchsorted(b.bytes_before_end, bytes_from + _LEAST_SHARE * size)),
            ),
        )

    def _leaving_a_good_rest(self, candidates: Offsets, end: int) -> Offsets:
        """Those candidates after which the rest up to `end` is one chunk and no crumb, or at least no crumb, or all."""
        b, o = self._stretch.boundaries, self._options
        tokens = (b.tokens_before_end[end] - b.tokens_before_start[candidates]) / o.max_tokens
        rests = np.maximum(tokens, (b.bytes_before_end[end] - b.bytes_before_start[candidates]) / o.max_bytes)
        enough = rests >= _LEAST_TAIL_SHARE
        for wish in (enough & (rests <= 1), enough):
            if wish.any():
                candidates = candidates[wish]
                break
        return candidates

    def _inside_word(self, position: int, allowance: int) -> _Cut:
        """A cut between graphemes where there is no boundary; inside one only if it alone passes a bound."""
        stretch = self._stretch
        tokens_from, bytes_from = stretch.tokens_before(position), stretch.bytes_before(position)
        high = stretch.reach(tokens_from + allowance, bytes_from + self._options.max_bytes)
        low = max(
            position + 1,
            stretch.reach(
                tokens_from + int(_LEAST_SHARE * allowance), bytes_from + int(_LEAST_SHARE * self._options.max_bytes)
            ),
        )
        if high > position:
            for start in (low, position + 1):
                places = stretch.grapheme_breaks(start, high)
                if len(places):
                    return self._before(int(places[stretch.least(places)] if start == low else places[-1]), position)
            ends = grapheme_ends(self._text, position, high)
            if ends:
                return self._before(ends[-1], position)
        return self._torn(position, allowance)

    def _torn(self, position: int, allowance: int) -> _Cut:
        """A cut after one grapheme, or inside it where it alone passes a bound."""
        if position >= self._torn_until:
            end = grapheme_end(self._text, position)
            whole = self._text[position:end]
            fits = len(whole.encode()) <= self._options.max_bytes
            if fits and self._tokenizer.count(whole) <= self._options.max_tokens:
                return self._before(end, position)
            self._torn_until = end
        stretch = self._stretch
        high = stretch.reach(
            stretch.tokens_before(position) + allowance, stretch.bytes_before(position) + self._options.max_bytes
        )
        return self._before(max(position + 1, min(high, self._torn_until)), position)

    def _overlapped(self, begin: int, cut: _Cut) -> int:
        """Where the chunk after `cut` begins: at the best boundary within the overlap before it, or at the cut."""
        position = cut.resume
        if not self._options.overlap_tokens:
            return position
        b = self._stretch.boundaries
        here = int(np.searchsorted(b.starts, position))
        tokens = self._stretch.tokens_before(cut.end)
        first = max(
            int(np.searchsorted(b.starts, begin, side="right")),
            int(np.searchsorted(b.tokens_before_start, tokens - self._options.overlap_tokens)),
        )
        headings = np.flatnonzero(b.kinds[first : here + 1] == Kind.HEADING)
        if len(headings):
            first += int(headings[-1])
        order = np.argsort(-b.kinds[first:here].astype(np.int64), kind="stable") + first
        for start in b.starts[order].tolist():
            if self._tokenizer.count(self._text[start : cut.end]) <= self._options.overlap_tokens:
                return int(start)
        return position

    def _at(self, index: int) -> _Cut:
        b = self._stretch.boundaries
        return _Cut(int(b.ends[index]), int(b.starts[index]))

    def _before(self, place: int, position: int) -> _Cut:
        """The cut at `place`, without the white space on either side of it."""
        end = position + len(self._text[position:place].rstrip())
        return _Cut(end, skip_space(self._text, place))
