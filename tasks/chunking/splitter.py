"""Cut a text into spans that fit both bounds (tokens and bytes), at positions that the text itself determines.

`sections` and `anchors` give the positions where a chunk always begins; between two of them `choice` or `packing` takes
a boundary. After an edit the old and the new cuts see mostly the same boundaries and so agree again soon, at the next
anchor at the latest.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from millrace.tasks.chunking.anchors import find_anchors, is_surely_one_chunk
from millrace.tasks.chunking.boundaries import Kind, TextWindow, skip_space
from millrace.tasks.chunking.characters import grapheme_end, grapheme_ends
from millrace.tasks.chunking.choice import MIN_SHARE, Choice
from millrace.tasks.chunking.options import ChunkOptions
from millrace.tasks.chunking.packing import PackingChoice
from millrace.tasks.chunking.rules import RULES
from millrace.tasks.chunking.sections import find_section_breaks, find_sections, find_text_end, rank_headings
from millrace.tasks.chunking.tokenizer import Tokenizer
from millrace.tasks.records import Heading

_BYTES_WORTH_COUNTING = 6
"""A text of more bytes to a token of the bound has hardly ever few enough tokens: it is not counted to find out."""


@dataclass(frozen=True, slots=True)
class Span:
    """A chunk: `text[start:end]`, which has exactly `tokens` tokens."""

    start: int
    end: int
    tokens: int


def split(text: str, headings: Sequence[Heading], tokenizer: Tokenizer, options: ChunkOptions) -> Iterator[Span]:
    """The spans of `text`, in order; together they hold everything but white space. A blank text has none.

    No span begins or ends with white space, and each fits both bounds. The exception is a single code point that alone
    exceeds a bound (possible only with a bound of a dozen tokens or less): it is a span of its own.
    """
    whole = _only_span(text, headings, tokenizer, options)
    return iter([whole]) if whole is not None else split_at_boundaries(text, headings, tokenizer, options)


def split_at_boundaries(
    text: str, headings: Sequence[Heading], tokenizer: Tokenizer, options: ChunkOptions
) -> Iterator[Span]:
    """What `split` returns, found the long way also for a short text."""
    return _Splitter(text, headings, tokenizer, options).spans()


def _only_span(text: str, headings: Sequence[Heading], tokenizer: Tokenizer, options: ChunkOptions) -> Span | None:
    """The span of a text that surely has one alone: too short for an anchor, and no section begins inside it.

    Most documents are short, and finding boundaries takes ten times as long as counting. None where only the splitter
    can tell, which gives the same span.
    """
    if len(text) > options.max_bytes:
        return None
    start = skip_space(text, 0)
    content = text[start:].rstrip()
    size_bytes = len(content.encode())
    if not content or size_bytes > _BYTES_WORTH_COUNTING * options.max_tokens:
        return None
    end = start + len(content)
    if options.sections == "apart" and any(start < skip_space(text, heading.start) < end for heading in headings):
        return None
    tokens = tokenizer.count(content)
    if not is_surely_one_chunk(tokens, size_bytes, options):
        return None
    return Span(start, end, tokens)


@dataclass(frozen=True, slots=True)
class _Cut:
    """The chunk ends at `end`; the text goes on at `resume`."""

    end: int
    resume: int


class _Splitter:
    """Splits one document.

    In every method `begin` is where a chunk begins and `position` where its new text begins; they differ by the
    overlap. `_fixed` holds the boundaries where a chunk always begins: section breaks and anchors.
    """

    def __init__(self, text: str, headings: Sequence[Heading], tokenizer: Tokenizer, options: ChunkOptions) -> None:
        self._text = text
        self._tokenizer = tokenizer
        self._options = options
        self._rule = RULES[options.sections]
        self._sections = find_sections(text, headings)
        self._section_starts = [s.start for s in self._sections]
        self._split_grapheme_end = 0
        self._recent: deque[int] = deque(maxlen=self._rule.earlier_chunks)
        self._starts_section = True

    def spans(self) -> Iterator[Span]:
        """The spans that `split` returns."""
        position = begin = skip_space(self._text, 0)
        self._remember(begin, starts_section=True)
        while position < len(self._text):
            self._load_window(begin)
            while position < len(self._text) and self._window_suffices(begin, position):
                begin, cut, tokens = self._next_chunk(begin, position)
                yield Span(begin, cut.end, tokens)
                position, begin = cut.resume, self._overlap_start(begin, cut)
                self._remember(begin, starts_section=position in self._section_break_starts)

    def _remember(self, begin: int, *, starts_section: bool) -> None:
        """Keep where the last chunks began: the next window begins some chunks early, to find the same anchors."""
        if starts_section:
            self._recent.clear()
        self._starts_section = starts_section or (
            self._starts_section and len(self._recent) < self._rule.earlier_chunks
        )
        self._recent.append(begin)

    def _load_window(self, begin: int) -> None:
        """Find the boundaries of the window that holds the chunk beginning at `begin`."""
        o = self._options
        max_chars = max(self._rule.window_chunks * o.max_bytes, 1 << 16)
        if begin - self._recent[0] > max_chars // 4:
            self._recent.clear()
            self._remember(begin, starts_section=False)
        start = self._recent[0]
        inside = slice(bisect_left(self._section_starts, start), bisect_left(self._section_starts, start + max_chars))
        heads, hashed_chars = self._section_starts[inside], self._rule.hashed_chars
        window = TextWindow(self._text, start, max_chars, heads, self._tokenizer, hashed_chars=hashed_chars)
        if o.sections == "pack":
            rank_headings(window, self._sections[inside])
            section_breaks = find_text_end(window)
        else:
            section_breaks = find_section_breaks(
                window, self._sections[inside], max_tokens=o.max_tokens, max_bytes=o.max_bytes
            )
        anchors = find_anchors(window, section_breaks, o, starts_section=self._starts_section)
        self._window = window
        self._choice = PackingChoice(window, o) if o.sections == "pack" else Choice(window, o)
        self._section_break_starts = frozenset(window.boundaries.starts[section_breaks].tolist())
        self._fixed = np.union1d(section_breaks, anchors)

    def _window_suffices(self, begin: int, position: int) -> bool:
        """Whether the window is long enough that a longer one would give the same cut."""
        window = self._window
        return position < window.end and (
            window.reaches_text_end or begin + self._rule.lookahead_chunks * self._options.max_bytes <= window.limit
        )

    def _next_chunk(self, begin: int, position: int) -> tuple[int, _Cut, int]:
        """Where the chunk begins (later than `begin` if the overlap leaves no room), its cut, its exact token count."""
        allowance = self._options.max_tokens
        step = 1
        while True:
            cut = self._propose_cut(begin, position, allowance)
            if cut is None:
                begin, allowance, step = position, self._options.max_tokens, 1
                continue
            tokens = self._tokenizer.count(self._text[begin : cut.end])
            if tokens <= self._options.max_tokens or (begin == position and cut.end == position + 1):
                return begin, cut, tokens
            # A count taken over the whole window can be off by a little for a part of it; the exact count decides.
            allowance -= max(step, tokens - self._options.max_tokens)
            step *= 2

    def _propose_cut(self, begin: int, position: int, allowance: int) -> _Cut | None:
        """A cut that fits by the window's approximate counts; None if the overlap leaves no room for one."""
        b = self._window.boundaries
        tokens_from, bytes_from = self._window.tokens_before(begin), self._window.bytes_before(begin)
        first = int(np.searchsorted(b.ends, position, side="right"))
        last = (
            min(
                int(np.searchsorted(b.tokens_before_end, tokens_from + allowance, side="right")),
                int(np.searchsorted(b.bytes_before_end, bytes_from + self._options.max_bytes, side="right")),
            )
            - 1
        )
        if position < self._split_grapheme_end:
            return self._cut_grapheme(position, allowance)
        next_fixed = int(np.searchsorted(self._fixed, first))
        end = int(self._fixed[next_fixed]) if next_fixed < len(self._fixed) else None
        if end is not None and end <= last:
            return self._cut_at(end)
        chosen = self._choice.boundary(begin, position, first, last, end) if first <= last else None
        if chosen is not None:
            return self._cut_at(chosen)
        if begin < position:
            return None
        return self._cut_word(position, allowance)

    def _cut_word(self, position: int, allowance: int) -> _Cut:
        """A cut between graphemes, where there is no boundary; inside a grapheme only if it alone exceeds a bound."""
        window = self._window
        tokens_from, bytes_from = window.tokens_before(position), window.bytes_before(position)
        high = window.reach(tokens_from + allowance, bytes_from + self._options.max_bytes)
        low = max(
            position + 1,
            window.reach(
                tokens_from + int(MIN_SHARE * allowance), bytes_from + int(MIN_SHARE * self._options.max_bytes)
            ),
        )
        if high > position:
            for start in (low, position + 1):
                breaks = window.grapheme_breaks(start, high)
                if len(breaks):
                    index = window.index_of_smallest_hash(breaks) if start == low else -1
                    return self._cut_before(int(breaks[index]), position)
            ends = grapheme_ends(self._text, position, high)
            if ends:
                return self._cut_before(ends[-1], position)
        return self._cut_grapheme(position, allowance)

    def _cut_grapheme(self, position: int, allowance: int) -> _Cut:
        """A cut after one grapheme, or inside it if it alone exceeds a bound."""
        if position >= self._split_grapheme_end:
            end = grapheme_end(self._text, position)
            whole = self._text[position:end]
            fits = len(whole.encode()) <= self._options.max_bytes
            if fits and self._tokenizer.count(whole) <= self._options.max_tokens:
                return self._cut_before(end, position)
            self._split_grapheme_end = end
        window = self._window
        high = window.reach(
            window.tokens_before(position) + allowance, window.bytes_before(position) + self._options.max_bytes
        )
        return self._cut_before(max(position + 1, min(high, self._split_grapheme_end)), position)

    def _overlap_start(self, begin: int, cut: _Cut) -> int:
        """Where the chunk after `cut` begins: at the best boundary within the overlap before it, else at the cut."""
        position = cut.resume
        if not self._options.overlap_tokens:
            return position
        b = self._window.boundaries
        here = int(np.searchsorted(b.starts, position))
        tokens = self._window.tokens_before(cut.end)
        first = max(
            int(np.searchsorted(b.starts, begin, side="right")),
            int(np.searchsorted(b.tokens_before_start, tokens - self._options.overlap_tokens)),
        )
        headings = np.flatnonzero(b.kinds[first : here + 1] >= Kind.HEADING)
        if len(headings):
            first += int(headings[-1])
        order = np.argsort(-b.kinds[first:here].astype(np.int64), kind="stable") + first
        for start in b.starts[order].tolist():
            if self._tokenizer.count(self._text[start : cut.end]) <= self._options.overlap_tokens:
                return int(start)
        return position

    def _cut_at(self, index: int) -> _Cut:
        b = self._window.boundaries
        return _Cut(int(b.ends[index]), int(b.starts[index]))

    def _cut_before(self, cut: int, position: int) -> _Cut:
        """The cut at the offset `cut`, without the white space on either side of it."""
        end = position + len(self._text[position:cut].rstrip())
        return _Cut(end, skip_space(self._text, cut))
