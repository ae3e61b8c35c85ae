"""Anchors: cuts that depend only on the text around them, so that an edit moves no more than a few chunks.

A boundary is an anchor if no boundary within `_REACH` of it, before or after, is of a better kind, or of the same kind
with a smaller hash. An edit can add or remove anchors only within that reach; from the next anchor on, the cuts are the
same as before the edit.
"""

import numpy as np
import numpy.typing as npt

from millrace.tasks.chunking.boundaries import Kind, Offsets, TextWindow

_FULL = 1 << 16
"""The unit of length in this module: this many units make a chunk that fills one of its bounds."""
_REACH = _FULL // 2
_MIN_DISTANCE = _FULL * 2 // 5
"""An anchor is at least this far from a section break, so that no tiny chunk is left between them."""


def is_too_short_for_an_anchor(tokens: int, size_bytes: int, *, max_tokens: int, max_bytes: int) -> bool:
    """Whether a section of this size can have no anchor, wherever its boundaries are, and fits a chunk.

    Each stretch between two boundaries is as long as the larger of its shares of the bounds, so all of them together
    are no longer than the sum of both shares.
    """
    return _FULL * (tokens * max_bytes + size_bytes * max_tokens) < 2 * _MIN_DISTANCE * max_tokens * max_bytes


def find_anchors(
    window: TextWindow, section_breaks: Offsets, *, starts_section: bool, max_tokens: int, max_bytes: int
) -> Offsets:
    """The indices of the window's boundaries that are anchors, ascending.

    `section_breaks` are the indices of boundaries where a chunk always begins; boundaries are not compared across one.
    `starts_section` says whether the start of the window is a section break too. There are no anchors near an end of
    the window that is not a section break, because the text beyond it is unknown.
    """
    b = window.boundaries
    count = len(b.kinds)
    tokens = np.diff(b.tokens_before_start, prepend=0) * _FULL // max_tokens
    sizes = np.diff(b.bytes_before_start, prepend=0) * _FULL // max_bytes
    lengths_before = np.cumsum(np.maximum(tokens, sizes))
    indices = np.arange(count)
    section = np.searchsorted(section_breaks, indices)
    before = np.concatenate(([-1], section_breaks))[section]
    after = np.concatenate((section_breaks, [count]))[section]
    since = (
        lengths_before - np.concatenate(([0 if starts_section else -_FULL], lengths_before[section_breaks]))[section]
    )
    until = (
        np.concatenate((lengths_before[section_breaks], [lengths_before[-1] + _FULL if count else 0]))[section]
        - lengths_before
    )
    eligible = (
        (since >= _MIN_DISTANCE)
        & (until >= _MIN_DISTANCE)
        & ((b.kinds >= Kind.LINE) | (_line_lengths(b.kinds, lengths_before) > _FULL))
    )
    ranks = (np.uint64(Kind.HEADING) - b.kinds).astype(np.uint64) << np.uint64(61)
    ranks |= window.hashes(b.starts) >> np.uint64(3)
    ranks[~eligible] = np.iinfo(np.uint64).max
    first = np.maximum(np.searchsorted(lengths_before, lengths_before - _REACH, side="left"), before + 1)
    last = np.minimum(np.searchsorted(lengths_before, lengths_before + _REACH, side="right"), after)
    minimum = _RangeMinimum(ranks, int((last - first).max(initial=1)))
    # Of equal ones the first: a repeated passage has no anchor of its own but the one at its beginning.
    chosen = eligible & (minimum(first, indices) > ranks) & (minimum(indices + 1, last) >= ranks)
    if not starts_section:
        chosen &= (section > 0) | (lengths_before >= _REACH)
    chosen &= (section < len(section_breaks)) | (lengths_before <= (lengths_before[-1] if count else 0) - _REACH)
    return np.flatnonzero(chosen)


def _line_lengths(kinds: npt.NDArray[np.uint8], lengths_before: Offsets) -> Offsets:
    """The length of the line that each boundary is in; a line that fits a chunk gets no anchor inside."""
    ends = np.flatnonzero(kinds >= Kind.LINE)
    edges = np.concatenate(([0], lengths_before[ends], lengths_before[-1:]))
    line = np.searchsorted(ends, np.arange(len(kinds)))
    return edges[line + 1] - edges[line]


class _RangeMinimum:
    """The smallest of `values[first:last]` for many ranges at once, none longer than `longest`."""

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
        """The minimum of each range, in the shape of `first`; the greatest uint64 for an empty range."""
        length = last - first
        empty = length <= 0
        row = np.frexp(np.maximum(length, 1))[1] - 1
        tail = np.where(empty, first, last - (1 << row))
        smallest: npt.NDArray[np.uint64] = np.minimum(self._rows[row, first], self._rows[row, tail])
        smallest[empty] = np.iinfo(np.uint64).max
        return smallest
