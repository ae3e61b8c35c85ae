"""The paragraph styles of a Word document: which are headings, of lists, or of a table of contents.

Source: ECMA-376 part 1, section 17.7 (styles), read 2026-12. Built-in styles keep their English names in every
language of Word, and ids that differ ("1" in the Chinese one).
"""

import re
from dataclasses import dataclass

from millrace.tasks.documents.office.numbering import W
from millrace.tasks.documents.office.package import Element

_HEADING = re.compile(r"heading ([1-9])")
_MAX_CHAIN = 20


@dataclass(frozen=True, slots=True)
class ParagraphStyle:
    """What a style says: the `level` of a heading, 1 to 9 or None for text, its list, and whether it is left out."""

    name: str = ""
    level: int | None = None
    list_id: str = ""
    list_level: int | None = None
    is_hidden: bool = False


class Styles:
    """The styles by id, each with what it takes over from those that it is based on."""

    def __init__(self, root: Element | None) -> None:
        """The styles in the part `styles.xml`; none without it."""
        self._elements: dict[str, Element] = {}
        self._resolved: dict[str, ParagraphStyle] = {}
        self.default = ""
        for style in root.iter(f"{W}style") if root is not None else ():
            identity = style.get(f"{W}styleId", "")
            self._elements[identity] = style
            if style.get(f"{W}type") == "paragraph" and style.get(f"{W}default") in {"1", "true", "on"}:
                self.default = identity

    def get(self, identity: str) -> ParagraphStyle:
        """The style of this id."""
        if identity not in self._resolved:
            self._resolved[identity] = self._resolve(identity)
        return self._resolved[identity]

    def _resolve(self, identity: str) -> ParagraphStyle:
        chain: list[Element] = []
        while (element := self._elements.get(identity)) is not None and len(chain) < _MAX_CHAIN:
            chain.append(element)
            based = element.find(f"{W}basedOn")
            identity = "" if based is None else based.get(f"{W}val", "")
        if not chain:
            return ParagraphStyle()
        names = [_value(element.find(f"{W}name")).lower() for element in chain]
        levels = [
            level for name, element in zip(names, chain, strict=True) if (level := _level(name, element)) is not None
        ]
        list_id = next((_value(found) for element in chain if (found := element.find(_path("numId"))) is not None), "")
        list_level = next(
            (_value(found) for element in chain if (found := element.find(_path("ilvl"))) is not None), ""
        )
        return ParagraphStyle(
            name=names[0],
            level=levels[0] if levels and levels[0] <= 9 else None,
            list_id=list_id,
            list_level=int(list_level) if list_level.isdecimal() else None,
            is_hidden=any(is_on(element.find(f"{W}rPr/{W}vanish")) for element in chain),
        )


def _path(name: str) -> str:
    return f"{W}pPr/{W}numPr/{W}{name}"


def _level(name: str, element: Element) -> int | None:
    """The heading level that one style sets by itself; 10 says that it is none."""
    outline = _value(element.find(f"{W}pPr/{W}outlineLvl"))
    if outline.isdecimal():
        return int(outline) + 1
    found = _HEADING.fullmatch(name)
    return int(found[1]) if found else None


def _value(element: Element | None) -> str:
    return "" if element is None else str(element.get(f"{W}val", ""))


def is_on(element: Element | None) -> bool:
    """Whether a property that is on by being there is on."""
    return element is not None and element.get(f"{W}val", "1") not in {"0", "false", "off"}
