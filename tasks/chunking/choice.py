"""Which boundary ends a chunk, between two positions where a chunk always begins.

It depends only on the text from the previous cut to the bound: of the boundaries between `MIN_SHARE` of the bound and
all of it the best kind is taken, and among several of that kind the one whose surrounding text has the smallest hash.
"""

import numpy as np

from millrace.tasks.chunking.boundaries import Kind, Offsets, TextWindow
from millrace.tasks.chunking.options import ChunkOptions

MIN_SHARE = 0.4
"""A chunk fills at least this share of the bound, where there is a choice."""
_MIN_TAIL_SHARE = 0.2
"""The last chunk of a section fills at least this share of the bound, where there is a choice."""


class Choice:
    """Chooses among the boundaries of one window."""

    def __init__(self, window: TextWindow, options: ChunkOptions) -> None:
        self._window = window
        self._boundaries = window.boundaries
        self._options = options

    def boundary(self, begin: int, position: int, first: int, last: int, end: int | None) -> int | None:
        """The index of the best boundary from `first` to `last`; None if it is better to cut a word."""
        b = self._boundaries
        low = self._first_above(MIN_SHARE, position, begin, first)
        if low <= last:
            kinds = b.kinds[low : last + 1]
            best = int(kinds.max())
            line_end = self._line_end_that_keeps_a_line_whole(first, low, last) if best < Kind.LINE else None
            if line_end is not None:
                return line_end
            return self._smallest_hash(np.flatnonzero(kinds == best) + low, end)
        kinds = b.kinds[first : last + 1]
        latest = last - int(np.argmax(kinds[::-1]))
        return latest if kinds[latest - first] >= Kind.LINE or self._fits(last, last + 1) else None

    def _smallest_hash(self, candidates: Offsets, end: int | None) -> int:
        """Of the candidates that leave a good remainder up to `end` that with the smallest hash, the last of equals."""
        if end is not None:
            candidates = self._with_a_good_remainder(candidates, end)
        starts = self._boundaries.starts[candidates]
        return int(candidates[self._window.index_of_smallest_hash(starts)])

    def _line_end_that_keeps_a_line_whole(self, first: int, low: int, last: int) -> int | None:
        """The last line end from `first` to `low`, if the line after it, which ends after `last`, would fit a chunk."""
        b = self._boundaries
        before = np.flatnonzero(b.kinds[first:low] >= Kind.LINE)
        after = np.flatnonzero(b.kinds[last + 1 :] >= Kind.LINE)
        if not len(before) or not len(after):
            return None
        line_start, line_end = first + int(before[-1]), last + 1 + int(after[0])
        return line_start if self._fits(line_start, line_end) else None

    def _fits(self, before: int, after: int) -> bool:
        """Whether the text between two boundaries fits a chunk."""
        b = self._boundaries
        return (
            after < len(b.ends)
            and int(b.tokens_before_end[after] - b.tokens_before_start[before]) <= self._options.max_tokens
            and int(b.bytes_before_end[after] - b.bytes_before_start[before]) <= self._options.max_bytes
        )

    def _first_above(self, share: float, position: int, begin: int, first: int) -> int:
        """The first boundary at which the chunk has this share of new text, of what it can hold beside its overlap."""
        b = self._boundaries
        tokens_from, bytes_from = self._window.tokens_before(position), self._window.bytes_before(position)
        tokens = self._options.max_tokens - (tokens_from - self._window.tokens_before(begin))
        size = self._options.max_bytes - (bytes_from - self._window.bytes_before(begin))
        return max(
            first,
            min(
                int(np.searchsorted(b.tokens_before_end, tokens_from + share * tokens)),
                int(np.searchsorted(b.bytes_before_end, bytes_from + share * size)),
            ),
        )

    def _with_a_good_remainder(self, candidates: Offsets, end: int) -> Offsets:
        """The candidates that leave one chunk of at least `_MIN_TAIL_SHARE` up to `end`.

        If there are none: those that leave at least that share; if there are none of these either, all candidates.
        """
        b, o = self._boundaries, self._options
        tokens = (b.tokens_before_end[end] - b.tokens_before_start[candidates]) / o.max_tokens
        remainders = np.maximum(tokens, (b.bytes_before_end[end] - b.bytes_before_start[candidates]) / o.max_bytes)
        enough = remainders >= _MIN_TAIL_SHARE
        for acceptable in (enough & (remainders <= 1), enough):
            if acceptable.any():
                candidates = candidates[acceptable]
                break
        return candidates
