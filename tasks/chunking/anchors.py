"""Cuts that depend on their surroundings alone: what keeps an edit from moving more than a few chunks.

A boundary is an anchor if none within `_REACH` of it, before or after, is of a higher kind, or of the same kind with a
lesser hash. An edit makes or unmakes only anchors within that reach; cuts that got out of step are in step again at the
next anchor, whatever happened before it.
"""

import numpy as np
import numpy.typing as npt

from millrace.tasks.chunking.boundaries import Kind, Offsets, Stretch

_FULL = 1 << 16
"""The unit of length here: a chunk that fills one of its bounds."""
_REACH = _FULL // 2
_LEAST = _FULL * 2 // 5
"""An anchor keeps this distance from the walls, so as to leave no crumbs beside them."""


def find_anchors(stretch: Stretch, walls: Offsets, *, walled: bool, max_tokens: int, max_bytes: int) -> Offsets:
    """The indices of the stretch's boundaries that are anchors, ascending.

    `walls` are the indices of boundaries where a chunk begins in any case; nothing is compared across one. `walled`
    says that the start of the stretch is a wall too. Near an open end nothing can be told, so no anchor is there.
    """
    b = stretch.boundaries
    count = len(b.kinds)
    tokens = np.diff(b.tokens_before_start, prepend=0) * _FULL // max_tokens
    sizes = np.diff(b.bytes_before_start, prepend=0) * _FULL // max_bytes
    places = np.cumsum(np.maximum(tokens, sizes))
    everything = np.arange(count)
    section = np.searchsorted(walls, everything)
    before = np.concatenate(([-1], walls))[section]
    after = np.concatenate((walls, [count]))[section]
    since = places - np.concatenate(([0 if walled else -_FULL], places[walls]))[section]
    until = np.concatenate((places[walls], [places[-1] + _FULL if count else 0]))[section] - places
    eligible = (
        (since >= _LEAST) & (until >= _LEAST) & ((b.kinds >= Kind.LINE) | (_line_lengths(b.kinds, places) > _FULL))
    )
    ranks = (np.uint64(Kind.HEADING) - b.kinds).astype(np.uint64) << np.uint64(61)
    ranks |= stretch.hashes(b.starts) >> np.uint64(3)
    ranks[~eligible] = np.iinfo(np.uint64).max
    first = np.maximum(np.searchsorted(places, places - _REACH, side="left"), before + 1)
    last = np.minimum(np.searchsorted(places, places + _REACH, side="right"), after)
    least = _RangeMinimum(ranks, int((last - first).max(initial=1)))
    # Of equal ones the first: a repeated passage has no anchor of its own but the one at its head.
    chosen = eligible & (least(first, everything) > ranks) & (least(everything + 1, last) >= ranks)
    if not walled:
        chosen &= (section > 0) | (places >= _REACH)
    chosen &= (section < len(walls)) | (places <= (places[-1] if count else 0) - _REACH)
    return np.flatnonzero(chosen)


def _line_lengths(kinds: npt.NDArray[np.uint8], places: Offsets) -> Offsets:
    """The length of the line that each boundary is in: what fits a chunk is not to be cut inside."""
    ends = np.flatnonzero(kinds >= Kind.LINE)
    edges = np.concatenate(([0], places[ends], places[-1:]))
    line = np.searchsorted(ends, np.arange(len(kinds)))
    return edges[line + 1] - edges[line]


class _RangeMinimum:
    """The least of `values[first:last]` for many ranges at once, none longer than `longest`."""

    def __init__(self, values: npt.NDArray[np.uint64], longest: int) -> None:
        most = np.iinfo(np.uint64).max
        rows = [np.append(values, most)]
        span = 1
        while 2 * span <= longest:
            shifted = np.full_like(rows[-1], most)
            shifted[:-span] = rows[-1][span:]
            rows.append(np.minimum(rows[-1], shifted))
            span *= 2
        self._rows = np.stack(rows)

    def __call__(self, first: Offsets, last: Offsets) -> npt.NDArray[np.uint64]:
        """Shape of `first`; the greatest number there is for an empty range."""
        length = last - first
        empty = length <= 0
        row = np.frexp(np.maximum(length, 1))[1] - 1
        tail = np.where(empty, first, last - (1 << row))
        least: npt.NDArray[np.uint64] = np.minimum(self._rows[row, first], self._rows[row, tail])
        least[empty] = np.iinfo(np.uint64).max
        return least
