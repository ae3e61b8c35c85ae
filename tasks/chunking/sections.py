"""Where sections begin, which of them are too small for a chunk of their own, and the heading path at each position."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from millrace.tasks.chunking.boundaries import Kind, Offsets, TextWindow, skip_space
from millrace.tasks.records import Heading

_LOWEST_LEVEL = 9
_TINY_SHARE = 8
"""A section is small if it fills less than one part in this many of both bounds."""


@dataclass(frozen=True, slots=True)
class Section:
    """The text from `start` to the next section; several headings without text between them begin one section.

    `outer` is the lowest number (the highest rank) among the levels of its headings, `inner` the level of the last one.
    """

    start: int
    outer: int
    inner: int


def find_sections(text: str, headings: Sequence[Heading]) -> list[Section]:
    """The sections of `text`, ascending; headings that begin at the same character begin one section together."""
    starts_and_levels = sorted(((skip_space(text, h.start), h.level) for h in headings), key=lambda pair: pair[0])
    sections = []
    for start, group in groupby(starts_and_levels, key=lambda pair: pair[0]):
        levels = [level for _, level in group]
        if start < len(text):
            sections.append(Section(start, min(levels), levels[-1]))
    return sections


def find_section_breaks(window: TextWindow, sections: Sequence[Section], *, max_tokens: int, max_bytes: int) -> Offsets:
    """The indices of the window's boundaries at which a new chunk always begins, ascending.

    These are the headings and the end of the text, with two exceptions. A small section is joined to the next one if
    that is of the same or a lower rank, otherwise to the previous one if that is of the same or a higher rank. A
    heading without text is joined to the next section whatever its rank. Only neighbours are compared, so that an edit
    moves no boundary but those of its own section.

    `sections` are those that begin in the window, including at its very start.
    """
    boundaries = window.boundaries
    heads = [int(i) for i in np.flatnonzero(boundaries.kinds == Kind.HEADING)]
    last = len(boundaries.kinds) - 1
    by_start = {section.start: section for section in sections}
    first = by_start.get(window.start, Section(window.start, 0, 0))
    row = [first, *(by_start[int(boundaries.starts[i])] for i in heads)]
    # A section that an end of the window cuts off may be longer than it seems, so it does not count as small.
    small = [
        tokens * _TINY_SHARE < max_tokens and size * _TINY_SHARE < max_bytes for tokens, size in _sizes(window, heads)
    ]
    edges = [*(int(boundaries.ends[i]) for i in heads), window.end]
    heading_only = [window.heading_ends.get(r.start, 0) >= edge for r, edge in zip(row, edges, strict=True)]
    breaks = []
    for k, head in enumerate(heads, start=1):
        with_next = heading_only[k - 1] or (small[k - 1] and row[k].outer >= row[k - 1].inner)
        joins_next = k + 1 < len(row) and (heading_only[k] or row[k + 1].outer >= row[k].inner)
        with_previous = small[k] and not joins_next and row[k].outer >= row[k - 1].inner
        if not (with_next or with_previous):
            breaks.append(head)
    if window.reaches_text_end and (not breaks or breaks[-1] != last):
        breaks.append(last)
    return np.array(breaks, dtype=np.int64)


def find_text_end(window: TextWindow) -> Offsets:
    """The index of the window's boundary at the end of the text, if it reaches so far."""
    last = len(window.boundaries.kinds) - 1
    return np.array([last] if window.reaches_text_end else [], dtype=np.int64)


def rank_headings(window: TextWindow, sections: Sequence[Section]) -> None:
    """Make the window's headings better cuts the higher they rank, and none of the one after a heading without text.

    `sections` are those that begin in the window, including at its very start.
    """
    b = window.boundaries
    ranks = {section.start: Kind.HEADING + _LOWEST_LEVEL - section.outer for section in sections}
    before = window.start
    for head in np.flatnonzero(b.kinds == Kind.HEADING).tolist():
        start = int(b.starts[head])
        follows_heading = window.heading_ends.get(before, 0) >= b.ends[head]
        b.kinds[head] = Kind.HEADING_LINE if follows_heading else ranks[start]
        before = start


def heading_paths(headings: Sequence[Heading]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """For each heading: where it begins, and the titles of the headings that the text after it is under, its own last.

    >>> list(heading_paths([Heading(1, "A", 0), Heading(3, "B", 5), Heading(2, "C", 9)]))
    [(0, ('A',)), (5, ('A', 'B')), (9, ('A', 'C'))]
    """
    open_headings: list[Heading] = []
    for heading in sorted(headings, key=lambda h: h.start):
        while open_headings and open_headings[-1].level >= heading.level:
            open_headings.pop()
        open_headings.append(heading)
        yield heading.start, tuple(h.title for h in open_headings)


def _sizes(window: TextWindow, heads: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Tokens and bytes of each section of the window; the greatest integers where its end is outside."""
    b = window.boundaries
    tokens_from, bytes_from = 0, 0
    for head in heads:
        yield int(b.tokens_before_end[head]) - tokens_from, int(b.bytes_before_end[head]) - bytes_from
        tokens_from, bytes_from = int(b.tokens_before_start[head]), int(b.bytes_before_start[head])
    if window.reaches_text_end:
        yield int(b.tokens_before_end[-1]) - tokens_from, int(b.bytes_before_end[-1]) - bytes_from
    else:
        yield sys.maxsize, sys.maxsize
