"""Where sections begin, which of them are too small to stand alone, and the path of headings over each place."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from millrace.tasks.chunking.boundaries import Kind, Offsets, Stretch, skip_space
from millrace.tasks.records import Heading

_TINY_SHARE = 8
"""A section that fills less than one part in so many of either bound is tiny."""


@dataclass(frozen=True, slots=True)
class Section:
    """The text from `start` to the next section.

    `outer` is the highest of the levels that begin there, `inner` the last.
    """

    start: int
    outer: int
    inner: int


def find_sections(text: str, headings: Sequence[Heading]) -> list[Section]:
    """The sections of `text`, ascending; headings with nothing but white space between them begin one together."""
    placed = sorted(((skip_space(text, h.start), h.level) for h in headings), key=lambda pair: pair[0])
    sections = []
    for start, group in groupby(placed, key=lambda pair: pair[0]):
        levels = [level for _, level in group]
        if start < len(text):
            sections.append(Section(start, min(levels), levels[-1]))
    return sections


def fresh_starts(stretch: Stretch, sections: Sequence[Section], *, max_tokens: int, max_bytes: int) -> Offsets:
    """The indices of the stretch's boundaries at which a new chunk begins in any case, ascending.

    These are the headings, but that a tiny section goes with the next one if that is not of a higher level, or else
    with the one before it if that is not of a lower one; and a heading without text goes with the next whatever it is.
    All this is decided between neighbours, so that an edit moves no boundary but its own section's. The end of the text
    is one of them too.

    `sections` are those that begin in the stretch, at its very start too.
    """
    boundaries = stretch.boundaries
    heads = [int(i) for i in np.flatnonzero(boundaries.kinds == Kind.HEADING)]
    last = len(boundaries.kinds) - 1
    known = {section.start: section for section in sections}
    first = known.get(stretch.start, Section(stretch.start, 0, 0))
    row = [first, *(known[int(boundaries.starts[i])] for i in heads)]
    # What is cut off by either end of the stretch is not known to be tiny, so it is not.
    tiny = [
        tokens * _TINY_SHARE < max_tokens and size * _TINY_SHARE < max_bytes for tokens, size in _sizes(stretch, heads)
    ]
    edges = [*(int(boundaries.ends[i]) for i in heads), stretch.end]
    bare = [stretch.heading_ends.get(r.start, 0) >= edge for r, edge in zip(row, edges, strict=True)]
    fresh = []
    for k, head in enumerate(heads, start=1):
        with_next = bare[k - 1] or (tiny[k - 1] and row[k].outer >= row[k - 1].inner)
        goes_on = k + 1 < len(row) and (bare[k] or row[k + 1].outer >= row[k].inner)
        with_previous = tiny[k] and not goes_on and row[k].outer >= row[k - 1].inner
        if not (with_next or with_previous):
            fresh.append(head)
    if stretch.reaches_text_end and (not fresh or fresh[-1] != last):
        fresh.append(last)
    return np.array(fresh, dtype=np.int64)


def heading_paths(headings: Sequence[Heading]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """For each heading, where it begins and the titles of the headings that enclose what follows it, itself the last.

    >>> list(heading_paths([Heading(1, "A", 0), Heading(3, "B", 5), Heading(2, "C", 9)]))
    [(0, ('A',)), (5, ('A', 'B')), (9, ('A', 'C'))]
    """
    open_headings: list[Heading] = []
    for heading in sorted(headings, key=lambda h: h.start):
        while open_headings and open_headings[-1].level >= heading.level:
            open_headings.pop()
        open_headings.append(heading)
        yield heading.start, tuple(h.title for h in open_headings)


def _sizes(stretch: Stretch, heads: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Tokens and bytes of each section of the stretch."""
    b = stretch.boundaries
    tokens_from, bytes_from = 0, 0
    for head in heads:
        yield int(b.tokens_before_end[head]) - tokens_from, int(b.bytes_before_end[head]) - bytes_from
        tokens_from, bytes_from = int(b.tokens_before_start[head]), int(b.bytes_before_start[head])
    if stretch.reaches_text_end:
        yield int(b.tokens_before_end[-1]) - tokens_from, int(b.bytes_before_end[-1]) - bytes_from
    else:
        yield sys.maxsize, sys.maxsize
