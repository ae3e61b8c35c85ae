"""What differs between sections that share chunks and sections that are apart: how far a cut looks around itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Sections = Literal["pack", "apart"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Where anchors are, and how much text the splitter must see to find them.

    Lengths are in full chunks, by the larger of the shares of the two bounds. No boundary within `anchor_reach` of an
    anchor is a better place, and it is at least `anchor_distance` from a section break. The text at a boundary is
    hashed from `hashed_chars[0]` before it to `hashed_chars[1]` after it. The hash of a heading is divided by
    `heading_weight`, so that it is so many times as likely the smallest as that of a paragraph; 0 is a heading that is
    always better than a paragraph. A cut depends on the text of `lookahead_chunks` (by bytes) after it and on
    `earlier_chunks` (as cut) before it; `window_chunks` (by bytes) are looked at together.
    """

    anchor_reach: float
    anchor_distance: float
    hashed_chars: tuple[int, int]
    heading_weight: int
    lookahead_chunks: int
    earlier_chunks: int
    window_chunks: int


RULES: Mapping[Sections, Rule] = {
    "apart": Rule(0.5, 0.4, (16, 48), 0, lookahead_chunks=3, earlier_chunks=4, window_chunks=16),
    "pack": Rule(1.8, 1.5, (0, 32), 4, lookahead_chunks=9, earlier_chunks=8, window_chunks=24),
}
