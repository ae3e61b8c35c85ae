"""Running heads, feet and page numbers: lines at the edges of pages that come again on the pages around them.

A line is one of them if the same stands at the same edge of two more pages near by, where numbers are the same or grow
with the pages; where the file's pages are so numbered, one more page will do, and none for the bare number of a page.
Of a text that is left out so the first is kept: it may be the title that the others repeat. Nothing is
left out of a file of few pages.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Edge = Literal["top", "bottom"]
NumberedPage = tuple[int, str]
"""A page's number and its text."""

_MIN_PAGES = 4
_LINES_AT_AN_EDGE = 3
_NEAR = 4
_OTHERS = 2
_MAX_LINE_CHARACTERS = 200
_NUMBER = re.compile(r"\d{1,6}")
_ROMAN = re.compile(r"(?<![a-z])[ivxlc]{1,7}(?![a-z])")
_VALUES = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line at an edge of the page at `position` in the file: its text without numbers, and these."""

    position: int
    page: int
    mask: str
    numbers: tuple[int, ...]

    @property
    def offset(self) -> int | None:
        """How far its last number is from the page's own, if it has one."""
        return self.numbers[-1] - self.page if self.numbers else None

    def agrees_with(self, other: "_Line") -> bool:
        """Whether the numbers of both are the same, or as far apart as their pages."""
        apart = other.page - self.page
        return all(b - a in {0, apart} for a, b in zip(self.numbers, other.numbers, strict=True))


def without_running_lines(pages: Sequence[NumberedPage]) -> tuple[list[NumberedPage], int]:
    """The pages without their running lines, and how many lines were left out."""
    if len(pages) < _MIN_PAGES:
        return list(pages), 0
    split = [text.split("\n") for _, text in pages]
    numbers = [number for number, _ in pages]
    left_out = 0
    kept: set[str] = set()
    by_edge = {edge: _repeated(split, numbers, edge) for edge in ("top", "bottom")}
    trimmed: list[NumberedPage] = []
    for position, lines in enumerate(split):
        first, last, first_lines, last_lines = 0, len(lines), 0, 0
        for place in _edge_lines(lines, "top"):
            if not _is_left_out(by_edge["top"].get((position, place)), kept):
                break
            first, first_lines = place + 1, first_lines + 1
        for place in _edge_lines(lines, "bottom"):
            if place < first or not _is_left_out(by_edge["bottom"].get((position, place)), kept):
                break
            last, last_lines = place, last_lines + 1
        rest = "\n".join(lines[first:last]).strip()
        left_out += first_lines + last_lines if rest else 0
        trimmed.append((numbers[position], rest or pages[position][1]))  # a page of nothing else is one of text
    return trimmed, left_out


def _is_left_out(mask: str | None, kept: set[str]) -> bool:
    if mask is None:
        return False
    if not _LETTER.search(mask) or mask in kept:
        return True
    kept.add(mask)  # the first of its kind stays
    return False


def _edge_lines(lines: Sequence[str], edge: Edge) -> list[int]:
    """The places of the lines nearest to an edge, blank ones aside, from the edge on."""
    order = range(len(lines)) if edge == "top" else range(len(lines) - 1, -1, -1)
    places: list[int] = []
    for place in order:
        if lines[place].strip():
            places.append(place)
            if len(places) == _LINES_AT_AN_EDGE:
                break
    return places


def _repeated(split: Sequence[Sequence[str]], numbers: Sequence[int], edge: Edge) -> dict[tuple[int, int], str]:
    """The running lines at this edge, by page and place, each with its text without numbers."""
    by_mask: dict[tuple[str, int], list[tuple[_Line, int]]] = defaultdict(list)
    for position, lines in enumerate(split):
        for place in _edge_lines(lines, edge):
            if len(lines[place]) <= _MAX_LINE_CHARACTERS:
                line = _line_of(lines[place], position, numbers[position])
                by_mask[line.mask, len(line.numbers)].append((line, place))
    agreeing = [
        (line, place, _agreeing(line, same, index))
        for same in by_mask.values()
        for index, (line, place) in enumerate(same)
    ]
    offsets = Counter(line.offset for line, _, others in agreeing if others >= _OTHERS and line.offset is not None)
    numbering = next((offset for offset, count in offsets.most_common(1) if count > _OTHERS), None)
    found: dict[tuple[int, int], str] = {}
    for line, place, others in agreeing:
        is_numbered = numbering is not None and line.offset == numbering
        enough = _OTHERS if not is_numbered else 0 if not _LETTER.search(line.mask) else 1
        if others >= enough:
            found[line.position, place] = line.mask
    return found


def _agreeing(line: _Line, same: Sequence[tuple[_Line, int]], index: int) -> int:
    """On how many pages near by a line that is the same stands, where `line` is the one at `index`."""
    near = same[max(0, index - 2 * _NEAR) : index + 2 * _NEAR + 1]
    return len(
        {
            other.position
            for other, _ in near
            if 0 < abs(other.position - line.position) <= _NEAR and line.agrees_with(other)
        }
    )


def _line_of(text: str, position: int, page: int) -> _Line:
    words = " ".join(text.split()).casefold()
    numbers = [int(number) for number in _NUMBER.findall(words)]
    mask = _NUMBER.sub("#", words)
    if not numbers:
        numbers = [_roman_value(number) for number in _ROMAN.findall(mask)]
        mask = _ROMAN.sub("#", mask)
    return _Line(position, page, mask, tuple(numbers))


def _roman_value(text: str) -> int:
    values = [_VALUES[sign] for sign in text]
    return sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))
