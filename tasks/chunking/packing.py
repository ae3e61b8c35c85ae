"""Which boundary ends a chunk where sections share chunks: chunks are made so full that there are few of them.

From one anchor to the next the text needs a least number of chunks, cut at boundaries that leave lines whole. Every
boundary after which the rest still needs no more than that number will do; among them kind and hash decide, as they do
where sections are apart.
"""

import numpy as np

from millrace.tasks.chunking.anchors import leaves_line_whole
from millrace.tasks.chunking.boundaries import Kind, Offsets, TextWindow
from millrace.tasks.chunking.choice import MIN_SHARE, Choice
from millrace.tasks.chunking.options import ChunkOptions

_HORIZON_CHUNKS = 6
"""An anchor that is farther away decides nothing, so that it takes no more text than that to find a cut."""
_OPEN_SHARE = 0.8
"""A chunk fills at least this share of the bound where no anchor is within the horizon."""
_SHARE_FOR_A_BETTER_KIND = 0.05
"""A chunk has so much less of the bound if it can then end with a sentence rather than within one."""


class PackingChoice(Choice):
    """Chooses the cuts by which the text up to the next anchor has the fewest chunks."""

    def __init__(self, window: TextWindow, options: ChunkOptions) -> None:
        super().__init__(window, options)
        self._whole_lines = np.flatnonzero(leaves_line_whole(window, options))
        self._starts_before: dict[int, list[int]] = {}

    def boundary(self, begin: int, position: int, first: int, last: int, end: int | None) -> int | None:
        """The index of the best boundary from `first` to `last`; None if it is better to cut a word."""
        kinds = self._boundaries.kinds
        low = self._first_with_fewest_chunks_after(begin, position, first, end)
        candidates = self._whole_lines_from(low, last)
        best = int(kinds[candidates].max(initial=Kind.HEADING_LINE))
        if best <= Kind.LINE:
            earlier = max(self._a_little_before(low), self._first_above(MIN_SHARE, position, begin, first))
            more = self._whole_lines_from(earlier, last)
            better = int(kinds[more].max(initial=Kind.HEADING_LINE))
            if better > best:
                candidates, best = more, better
        if not len(candidates):
            return super().boundary(begin, position, first, last, end)
        return self._smallest_hash(candidates[kinds[candidates] == best], end)

    def _whole_lines_from(self, low: int, last: int) -> Offsets:
        """The boundaries from `low` to `last` that leave lines whole."""
        return self._whole_lines[slice(*np.searchsorted(self._whole_lines, (low, last + 1)))]

    def _first_with_fewest_chunks_after(self, begin: int, position: int, first: int, end: int | None) -> int:
        """The first boundary that a chunk may end at, so that the text up to `end` has as few chunks as it can."""
        starts = self._latest_starts(end) if end is not None else []
        offsets = self._boundaries.starts
        within = next((k for k, start in enumerate(starts) if offsets[start] <= position), 0)
        if not within:
            return self._first_above(_OPEN_SHARE, position, begin, first)
        return max(starts[within - 1], self._first_above(MIN_SHARE, position, begin, first))

    def _latest_starts(self, end: int) -> list[int]:
        """The first boundary from which the text up to `end` fits one chunk, the first from which it fits two, ..."""
        if end not in self._starts_before:
            starts = self._starts_before[end] = []
            before = self._first_that_fits(end)
            while before is not None and len(starts) < _HORIZON_CHUNKS:
                starts.append(before)
                before = self._first_that_fits(before)
        return self._starts_before[end]

    def _first_that_fits(self, end: int) -> int | None:
        """The first boundary that leaves lines whole and from which the text up to `end` fits beside an overlap."""
        b, o = self._boundaries, self._options
        room = 1 - o.overlap_tokens / o.max_tokens
        tokens, size = int(room * o.max_tokens), int(room * o.max_bytes)
        index = self._first_from(int(b.tokens_before_end[end]) - tokens, int(b.bytes_before_end[end]) - size)
        fitting = self._whole_lines_from(index, end - 1)
        return int(fitting[0]) if len(fitting) else None

    def _first_from(self, tokens: int, size_bytes: int) -> int:
        """The first boundary that has at least so many tokens and bytes before it."""
        b = self._boundaries
        return max(
            int(np.searchsorted(b.tokens_before_start, tokens)), int(np.searchsorted(b.bytes_before_start, size_bytes))
        )

    def _a_little_before(self, low: int) -> int:
        """The first boundary that is at most `_SHARE_FOR_A_BETTER_KIND` of a chunk before the boundary `low`."""
        b, o = self._boundaries, self._options
        low = min(low, len(b.starts) - 1)
        return self._first_from(
            int(b.tokens_before_start[low]) - int(_SHARE_FOR_A_BETTER_KIND * o.max_tokens),
            int(b.bytes_before_start[low]) - int(_SHARE_FOR_A_BETTER_KIND * o.max_bytes),
        )
