"""The numbers that Word puts before headings and list items, counted as Word counts them.

Source: ECMA-376 part 1, section 17.9 (numbering), read 2026-12.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from millrace.tasks.documents.office.package import Element

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEVELS = 9
_PLACE = re.compile(r"%([1-9])")
_CHINESE = "零一二三四五六七八九"
_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
          (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip
_MAX_NUMBER = 30_000
_HEAVENLY_STEMS = "甲乙丙丁戊己庚辛壬癸"


@dataclass(frozen=True, slots=True)
class _Level:
    kind: str
    text: str
    start: int
    restarts_after: int
    is_legal: bool
    style: str


class Numbering:
    """Definitions of numbered lists, and how far each has been counted."""

    def __init__(self, root: Element | None) -> None:
        """The definitions in the part `numbering.xml`; none without it."""
        self._abstract_of: dict[str, str] = {}
        self._levels: dict[str, dict[int, _Level]] = {}
        self._starts: dict[tuple[str, int], int] = {}
        self._counts: dict[str, list[int | None]] = defaultdict(lambda: [None] * _LEVELS)
        self._begun: set[tuple[str, int]] = set()
        if root is None:
            return
        for abstract in root.iter(f"{W}abstractNum"):
            levels = {_number(each.get(f"{W}ilvl")): _level_of(each) for each in abstract.iter(f"{W}lvl")}
            self._levels[abstract.get(f"{W}abstractNumId")] = levels
        for number in root.iter(f"{W}num"):
            identity, abstract = number.get(f"{W}numId"), number.find(f"{W}abstractNumId")
            if abstract is not None:
                self._abstract_of[identity] = abstract.get(f"{W}val")
            for override in number.iter(f"{W}lvlOverride"):
                start = override.find(f"{W}startOverride")
                if start is not None:
                    self._starts[identity, _number(override.get(f"{W}ilvl"))] = _number(start.get(f"{W}val"))

    def level_of_style(self, identity: str, style: str) -> int | None:
        """The level of the list that a paragraph style stands for, if any."""
        levels = self._levels.get(self._abstract_of.get(identity, ""), {})
        return next((number for number, level in levels.items() if level.style == style), None)

    def next_label(self, identity: str, level: int) -> str:
        """What stands before the next paragraph at `level` of the list `identity`: "2.1", "-" for a bullet, or ""."""
        abstract = self._abstract_of.get(identity, "")
        levels = self._levels.get(abstract, {})
        known = levels.get(level)
        if known is None or not 0 <= level < _LEVELS:
            return ""
        counts = self._counts[abstract]
        start = self._starts.get((identity, level))
        if start is not None and (identity, level) not in self._begun:
            self._begun.add((identity, level))
            counts[level] = start
        else:
            before = counts[level]
            counts[level] = known.start if before is None else before + 1
        for deeper in range(level + 1, _LEVELS):
            after = levels[deeper].restarts_after if deeper in levels else deeper
            if level < after:
                counts[deeper] = None
        if known.kind == "bullet":
            return "-"
        if known.kind == "none":
            return known.text if "%" not in known.text else ""

        def place(found: re.Match[str]) -> str:
            number = int(found[1]) - 1
            own = levels.get(number)
            count = counts[number]
            value = count if count is not None else own.start if own else 1
            kind = "decimal" if known.is_legal else own.kind if own else "decimal"
            return _written(value, kind)

        return _PLACE.sub(place, known.text).strip()


def _level_of(element: Element) -> _Level:
    def value(name: str, default: str) -> str:
        found = element.find(f"{W}{name}")
        return default if found is None else str(found.get(f"{W}val", default))

    number = _number(element.get(f"{W}ilvl"))
    restart = element.find(f"{W}lvlRestart")
    return _Level(
        kind=value("numFmt", "decimal"),
        text=value("lvlText", ""),
        start=_number(value("start", "0")),
        restarts_after=number if restart is None else _number(restart.get(f"{W}val")),
        is_legal=element.find(f"{W}isLgl") is not None,
        style=value("pStyle", ""),
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.lstrip("-").isdecimal() else 0


def _written(value: int, kind: str) -> str:
    """A number in the format that Word calls `kind`; in digits, if that is none of the usual ones.

    >>> _written(4, "upperRoman"), _written(28, "lowerLetter"), _written(12, "chineseCountingThousand")
    ('IV', 'bb', '十二')
    """
    writer = _WRITERS.get(kind)
    return writer(value) if writer is not None and 0 < value < _MAX_NUMBER else str(value)


def _roman(value: int) -> str:
    roman = ""
    for amount, sign in _ROMAN:
        roman += sign * (value // amount)
        value %= amount
    return roman


def _letter(value: int) -> str:
    return chr(ord("a") + (value - 1) % 26) * ((value - 1) // 26 + 1)


def _chinese(value: int) -> str:
    """A number below 10,000 in Chinese, else in digits.

    >>> [_chinese(n) for n in (3, 10, 14, 20, 105, 1010)]
    ['三', '十', '十四', '二十', '一百零五', '一千零一十']
    """
    if value >= 10_000:
        return str(value)
    written, skipped = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = value // unit % 10
        if digit:
            written += ("零" if skipped else "") + _CHINESE[digit] + name
            skipped = False
        elif written:
            skipped = value % unit > 0
    return written.removeprefix("一") if 10 <= value < 20 else written


def _circled(value: int) -> str:
    return chr(0x245F + value) if value <= 20 else str(value)


_WRITERS: dict[str, Callable[[int], str]] = {
    "lowerRoman": _roman,
    "upperRoman": lambda value: _roman(value).upper(),
    "lowerLetter": _letter,
    "upperLetter": lambda value: _letter(value).upper(),
    "decimalZero": lambda value: f"{value:02}",
    "ideographTraditional": lambda value: _HEAVENLY_STEMS[(value - 1) % 10],
    **dict.fromkeys(("decimalEnclosedCircle", "decimalEnclosedCircleChinese"), _circled),
    **dict.fromkeys(
        (
            *("chineseCounting", "chineseCountingThousand", "taiwaneseCounting", "taiwaneseCountingThousand"),
            *("japaneseCounting", "ideographDigital"),
        ),
        _chinese,
    ),
}
