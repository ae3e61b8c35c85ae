"""The runs of a Word paragraph: its text as it stands once all changes are accepted, its notes and text boxes.

Source: ECMA-376 part 1, sections 17.3.3 (run content), 17.13 (changes), 17.16 (fields), read 2026-12.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from millrace.tasks.documents.office.numbering import W
from millrace.tasks.documents.office.package import Element
from millrace.tasks.documents.office.styles import is_on

MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
MAX_DEPTH = 40  # of what lies in one another: tables in cells, boxes in boxes
CONTAINERS = frozenset(
    f"{W}{name}"
    for name in ("ins", "moveTo", "hyperlink", "smartTag", "sdt", "sdtContent", "fldSimple", "customXml", "dir", "bdo")
)
"""What holds the same as its parent does."""

_SIGNS = {f"{W}br": "\n", f"{W}cr": "\n", f"{W}tab": "\t", f"{W}noBreakHyphen": "\u2011"}
_BOXES = frozenset([f"{W}drawing", f"{W}pict", f"{W}object"])
_PICTURE_FONTS = 0xF000


@dataclass(slots=True)
class Runs:
    """The runs of paragraphs one after the other; fields may begin in one and end in another.

    `notes` are the document's, by the element that refers to them and by id.
    """

    notes: Mapping[str, Mapping[str, Element]]
    pieces: list[str] = field(default_factory=list)
    boxes: list[Element] = field(default_factory=list)
    referred: list[tuple[int, Element]] = field(default_factory=list)
    note_number: int = 0
    _fields: list[bool] = field(default_factory=list)  # of each open field, whether its result has begun

    def read(self, paragraph: Element, depth: int) -> tuple[str, list[Element], list[tuple[int, Element]]]:
        """A paragraph's text, the text boxes in it, and the notes that it refers to, with their numbers."""
        self.pieces, self.boxes, self.referred = [], [], []
        self._walk(paragraph, depth)
        return "".join(self.pieces), self.boxes, self.referred

    def _walk(self, parent: Element, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.pieces.append("".join(each.text or "" for each in parent.iter(f"{W}t")))
            return
        for child in parent:
            tag = child.tag
            if tag == f"{W}r":
                if not is_on(child.find(f"{W}rPr/{W}vanish")):
                    self._walk(child, depth + 1)
            elif tag == f"{W}fldChar":
                self._step(child.get(f"{W}fldCharType"))
            elif tag in CONTAINERS:
                self._walk(child, depth + 1)
            elif tag == f"{MC}AlternateContent":
                self._walk(chosen(child), depth + 1)
            elif tag == f"{W}ruby":
                self._walk(child.find(f"{W}rubyBase") if child.find(f"{W}rubyBase") is not None else [], depth + 1)
            elif all(self._fields):  # else it is the code of a field, not its result
                self._add(child, tag)

    def _add(self, element: Element, tag: str) -> None:
        if tag == f"{W}t":
            self.pieces.append(element.text or "")
        elif tag in _SIGNS:
            self.pieces.append(_SIGNS[tag])
        elif tag == f"{W}sym":
            self.pieces.append(_symbol(element))
        elif tag in self.notes:
            note = self.notes[tag].get(element.get(f"{W}id", ""))
            if note is not None:
                self.note_number += 1
                self.pieces.append(f"[{self.note_number}]")
                self.referred.append((self.note_number, note))
        elif tag in _BOXES:
            self.boxes += _outermost_boxes(element)
        elif tag.startswith(_M):
            self.pieces.append("".join(each.text or "" for each in element.iter(f"{_M}t")))

    def _step(self, kind: str | None) -> None:
        if kind == "begin":
            self._fields.append(False)
        elif kind == "separate" and self._fields:
            self._fields[-1] = True
        elif kind == "end" and self._fields:
            self._fields.pop()


def chosen(alternate: Element) -> Element:
    """The first of several forms of the same content: what a present Word shows."""
    choice = alternate.find(f"{MC}Choice")
    other = alternate.find(f"{MC}Fallback")
    return choice if choice is not None else other if other is not None else []


def _outermost_boxes(drawing: Element) -> list[Element]:
    """The text boxes of a drawing, without those within them, and without a second form of the same drawing."""
    found: list[Element] = []
    waiting = [drawing]
    while waiting:
        element = waiting.pop()
        if element.tag == f"{W}txbxContent":
            found.append(element)
        else:
            waiting += reversed(list(chosen(element) if element.tag == f"{MC}AlternateContent" else element))
    return found


def _symbol(element: Element) -> str:
    """The character of a symbol; "" of fonts that are tables of pictures, where only the place is told."""
    try:
        code = int(element.get(f"{W}char", ""), 16)
    except ValueError:
        return ""
    return chr(code) if 0 < code < _PICTURE_FONTS and not 0xD800 <= code < 0xE000 else ""
