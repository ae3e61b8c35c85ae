"""Anchors: cuts that depend only on the text around them, so that an edit moves no more than a few chunks.

A boundary is an anchor if no boundary within reach of it, before or after, is of a better kind, or of the same kind
with a smaller hash. An edit can add or remove anchors only within that reach; from the next anchor on, the cuts are the
same as before the edit. Where sections share chunks a heading is no better kind than a paragraph, but has a smaller
hash more often: else a heading that is inserted would always be an anchor, and its neighbours would be none any more.
"""

import numpy as np
import numpy.typing as npt

from millrace.tasks.chunking.boundaries import Kind, Offsets, TextWindow
from millrace.tasks.chunking.options import ChunkOptions
from millrace.tasks.chunking.rules import RULES

_FULL = 1 << 16
"""The unit of length in this module: this many units make a chunk that fills one of its bounds."""


def is_surely_one_chunk(tokens: int, size_bytes: int, options: ChunkOptions) -> bool:
    """Whether a section of this size fits a chunk, and can have no anchor wherever its boundaries are.

    Each stretch between two boundaries is as long as the larger of its shares of the bounds, so all of them together
    are no longer than the sum of both shares.
    """
    shares = tokens * options.max_bytes + size_bytes * options.max_tokens
    fits = tokens <= options.max_tokens and size_bytes <= options.max_bytes
    distance = int(_FULL * RULES[options.sections].anchor_distance)
    return fits and _FULL * shares < 2 * distance * options.max_tokens * options.max_bytes


def find_anchors(
    window: TextWindow, section_breaks: Offsets, options: ChunkOptions, *, starts_section: bool
) -> Offsets:
    """The indices of the window's boundaries that are anchors, ascending.

    `section_breaks` are the indices of boundaries where a chunk always begins; boundaries are not compared across one.
    `starts_section` says whether the start of the window is a section break too. There are no anchors near an end of
    the window that is not a section break, because the text beyond it is unknown.
    """
    b, rule = window.boundaries, RULES[options.sections]
    reach, distance = int(_FULL * rule.anchor_reach), int(_FULL * rule.anchor_distance)
    count = len(b.kinds)
    lengths_before = _lengths_before(window, options)
    indices = np.arange(count)
    section = np.searchsorted(section_breaks, indices)
    before = np.concatenate(([-1], section_breaks))[section]
    after = np.concatenate((section_breaks, [count]))[section]
    since = (
        lengths_before - np.concatenate(([0 if starts_section else -distance], lengths_before[section_breaks]))[section]
    )
    until = (
        np.concatenate((lengths_before[section_breaks], [lengths_before[-1] + distance if count else 0]))[section]
        - lengths_before
    )
    eligible = (since >= distance) & (until >= distance) & leaves_line_whole(window, options)
    ranks = _ranks(window, rule.heading_weight)
    ranks[~eligible] = np.iinfo(np.uint64).max
    first = np.maximum(np.searchsorted(lengths_before, lengths_before - reach, side="left"), before + 1)
    last = np.minimum(np.searchsorted(lengths_before, lengths_before + reach, side="right"), after)
    minimum = _RangeMinimum(ranks, int((last - first).max(initial=1)))
    # Of equal ones the first: a repeated passage has no anchor of its own but the one at its beginning.
    chosen = eligible & (minimum(first, indices) > ranks) & (minimum(indices + 1, last) >= ranks)
    if not starts_section:
        chosen &= (section > 0) | (lengths_before >= reach)
    chosen &= (section < len(section_breaks)) | (lengths_before <= (lengths_before[-1] if count else 0) - reach)
    return np.flatnonzero(chosen)


def _ranks(window: TextWindow, heading_weight: int) -> npt.NDArray[np.uint64]:
    """A number for each of the window's boundaries, smaller for a better anchor: by kind, then by hash."""
    kinds, hashes = window.boundaries.kinds, window.hashes(window.boundaries.starts) >> np.uint64(3)
    if heading_weight:
        hashes[kinds >= Kind.HEADING] //= np.uint64(heading_weight)
        kinds = np.minimum(kinds, np.uint8(Kind.PARAGRAPH))
    ranks: npt.NDArray[np.uint64] = (np.uint64(Kind.HEADING) - kinds).astype(np.uint64) << np.uint64(61)
    return ranks | hashes


def leaves_line_whole(window: TextWindow, options: ChunkOptions) -> npt.NDArray[np.bool_]:
    """For each of the window's boundaries, whether a cut there cuts no line that fits a chunk."""
    kinds = window.boundaries.kinds
    return (kinds >= Kind.LINE) | (_line_lengths(kinds, _lengths_before(window, options)) > _FULL)


def _lengths_before(window: TextWindow, options: ChunkOptions) -> Offsets:
    """The length of the window's text before each boundary."""
    b = window.boundaries
    tokens = np.diff(b.tokens_before_start, prepend=0) * _FULL // options.max_tokens
    sizes = np.diff(b.bytes_before_start, prepend=0) * _FULL // options.max_bytes
    return np.cumsum(np.maximum(tokens, sizes))


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
