"""Classes of characters for the splitter: grapheme class, white space, letter or digit, end of a line.

The grapheme rules are those of Unicode's UAX #29, as far as two neighbouring characters decide them. The three rules
that look further (flags, joined emoji, Indic conjuncts) count as "perhaps not a boundary"; there the library `regex`,
which implements all of them, decides.
"""

import functools
import sys
from typing import Final

import numpy as np
import numpy.typing as npt
import regex  # type: ignore[import-untyped]

CLUSTER: Final = 0x0F
"""The bits of a character's class that hold its grapheme class, an index into `_CLUSTER_CLASSES`."""
SPACE: Final = 0x10
"""Set for what `str.isspace` calls white space."""
WORD: Final = 0x20
"""Set for what `str.isalnum` calls a letter or digit."""
NEWLINE: Final = 0x40
"""Set for what ends a line, as `str.splitlines` sees it."""

_GRAPHEME = regex.compile(r"\X")

_CLUSTER_CLASSES = {
    "Other": "",
    "CR": r"\r",
    "LF": r"\n",
    "Control": r"\p{GCB=Control}",
    "Extend": r"\p{GCB=Extend}",
    "ZWJ": r"\p{GCB=ZWJ}",
    "Regional_Indicator": r"\p{GCB=Regional_Indicator}",
    "Prepend": r"\p{GCB=Prepend}",
    "SpacingMark": r"\p{GCB=SpacingMark}",
    "L": r"\p{GCB=L}",
    "V": r"\p{GCB=V}",
    "T": r"\p{GCB=T}",
    "LV": r"\p{GCB=LV}",
    "LVT": r"\p{GCB=LVT}",
    "Pictograph": r"\p{Extended_Pictographic}",
    "Conjunct": r"\p{InCB=Consonant}",
}
_NUMBER = {name: number for number, name in enumerate(_CLUSTER_CLASSES)}

# Beyond these planes there are only ideographs, private characters and the unassigned: no marks, no white space.
_LOW_PLANES_END = 0x20000
_TAGS = range(0xE0000, 0xE1000)
_IDEOGRAPHS = slice(0x20000, 0x40000)
_SURROGATES = range(0xD800, 0xE000)


@functools.cache
def class_table() -> npt.NDArray[np.uint8]:
    """The class of every code point: uint8, shape (0x110000,)."""
    table = np.zeros(sys.maxunicode + 1, dtype=np.uint8)
    points = np.array([p for p in (*range(_LOW_PLANES_END), *_TAGS) if p not in _SURROGATES])
    characters = "".join(map(chr, points))
    for name, pattern in _CLUSTER_CLASSES.items():
        if pattern:
            for run in regex.finditer(f"{pattern}+", characters):
                table[points[run.start() : run.end()]] = _NUMBER[name]
    flags = [SPACE * c.isspace() | WORD * c.isalnum() | NEWLINE * (len(f"a{c}a".splitlines()) == 2) for c in characters]
    table[points] |= np.array(flags, dtype=np.uint8)
    table[_IDEOGRAPHS] |= WORD
    return table


@functools.cache
def _pair_table() -> npt.NDArray[np.bool_]:
    """For two neighbouring cluster classes: is there surely a grapheme boundary between them? Shape (16, 16)."""
    surely = np.ones((16, 16), dtype=np.bool_)

    def joined(before: list[str], after: list[str]) -> None:
        surely[np.ix_([_NUMBER[n] for n in before], [_NUMBER[n] for n in after])] = False

    everything = list(_CLUSTER_CLASSES)
    joined(["L"], ["L", "V", "LV", "LVT"])
    joined(["LV", "V"], ["V", "T"])
    joined(["LVT", "T"], ["T"])
    joined(everything, ["Extend", "ZWJ", "SpacingMark"])
    joined(["Prepend"], everything)
    joined(["ZWJ"], ["Pictograph"])
    joined(["Regional_Indicator"], ["Regional_Indicator"])
    joined(["Extend", "ZWJ"], ["Conjunct"])
    controls = [_NUMBER[name] for name in ("CR", "LF", "Control")]
    surely[controls, :] = True
    surely[:, controls] = True
    surely[_NUMBER["CR"], _NUMBER["LF"]] = False
    return surely


def sure_breaks(classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Where a grapheme surely ends: shape (n + 1,); entry i is the position before character i, both ends are True."""
    clusters = classes & CLUSTER
    breaks = np.ones(len(classes) + 1, dtype=np.bool_)
    breaks[1:-1] = _pair_table()[clusters[:-1], clusters[1:]]
    return breaks


def line_ends(classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Which characters end a line; of a carriage return followed by a line feed, only the line feed."""
    ends = (classes & NEWLINE) > 0
    clusters = classes & CLUSTER
    ends[:-1] &= (clusters[:-1] != _NUMBER["CR"]) | (clusters[1:] != _NUMBER["LF"])
    return ends


def grapheme_end(text: str, position: int) -> int:
    """Where the grapheme that begins at `position` ends."""
    return int(_GRAPHEME.match(text, position).end())


def grapheme_ends(text: str, first: int, last: int) -> list[int]:
    """Where graphemes end from `first`, which is such an end itself, to `last`; ascending.

    The text between is cut out first, because `regex` looks back over all flags before a flag.
    """
    piece = text[first : last + 1]
    ends = [first + m.end() for m in _GRAPHEME.finditer(piece)]
    return [end for end in ends if end <= last]


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """The code points of `text`, shape (len(text),)."""
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
