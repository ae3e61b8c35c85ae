"""The text of a page through pypdf, as a person sees it who looks at the page.

pypdf returns every string that the content shows, in the order of the content. Its visitors let this module

- leave out what nobody sees: layers that are switched off, text outside the crop box, and the second drawing of a
  string at nearly the same place (fake bold, shadows, an invisible layer of recognized text over real text);
- put in what the page says otherwise: `/ActualText` for the glyphs that it stands for, and a `^` before raised figures,
  without which 10 to the 6th would be 106;
- set right what a reader would read in another order: numbers within Arabic and Hebrew, Japanese set in columns;
- write a space at each gap between words (see `pypdf_fonts`).

Positions are those of the page, in points. A form is drawn with a matrix of its own, so matrices are tracked here.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import pypdf
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, TextStringObject

from millrace.tasks.documents.pdf.pypdf_fonts import dictionary, shown_strings, widen_word_gaps
from millrace.tasks.documents.pdf.pypdf_layers import HiddenLayers

Matrix = Sequence[float]

_IDENTITY: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
_SAME_PLACE = 0.1  # of the font's size: farther apart, equal letters may stand beside each other, as in "ll"
_SAME_PLACE_OF_TEXT = 3.0  # points, for a text of at least so many letters, which may be in another font and size
_MIN_LETTERS = 3
_INVISIBLE = 3  # text rendering mode
_RAISED_FIGURE = re.compile(r"[-+\u2212]?\d{1,3}\s?")
_RAISED_BYTES = re.compile(rb"[-+]?\d{1,3}")
_MIN_RISE, _MAX_RISE, _MAX_RAISED_SIZE = 0.15, 0.75, 0.86  # of the size of the text before
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]")
_IDEOGRAPH = re.compile("[\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff\uff01-\uff60]")
_MIN_COLUMN_CHARACTERS = 4
_MIN_USUAL_BOX = 10.0  # points; a smaller crop box is a mistake


def page_text(page: pypdf.PageObject, layers: HiddenLayers) -> str:
    """The text of the page."""
    visitor = _PageVisitor(page, layers, _visible_box(page))
    text = visitor.extract()
    if not text.strip() and visitor.has_text_outside:  # then the box is wrong, and not the text
        text = _PageVisitor(page, layers, None).extract()
    return text


def _visible_box(page: pypdf.PageObject) -> tuple[float, float, float, float] | None:
    """The left, bottom, right and top edge of what is shown of the page; None where the file is not to be believed."""
    try:
        box, outer = page.cropbox, page.mediabox
        left, bottom = max(float(box.left), float(outer.left)), max(float(box.bottom), float(outer.bottom))
        right, top = min(float(box.right), float(outer.right)), min(float(box.top), float(outer.top))
    except (ValueError, TypeError, AttributeError):
        return None
    is_usual = right - left > _MIN_USUAL_BOX and top - bottom > _MIN_USUAL_BOX
    return (left, bottom, right, top) if is_usual else None


def product(first: Matrix, second: Matrix) -> Matrix:
    """The matrix that applies `first`, then `second`."""
    a, b, c, d, e, f = first
    g, h, i, j, k, m = second
    return (a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + m)


class _Positions:
    """Where each text was seen, found again within a tolerance."""

    def __init__(self) -> None:
        self._cells: set[tuple[object, int, int]] = set()

    def has(self, text: object, x: float, y: float, tolerance: float) -> bool:
        """Whether the text was seen within the tolerance of this position; it is remembered there."""
        if not (math.isfinite(x / tolerance) and math.isfinite(y / tolerance)):
            return False
        column, row = math.floor(x / tolerance), math.floor(y / tolerance)
        around = [(text, column + i, row + j) for i in (0, -1, 1) for j in (0, -1, 1)]
        was_seen = any(cell in self._cells for cell in around)
        self._cells.add(around[0])
        return was_seen


class _Frame:
    """The page or one form: its resources, and what is restored when it ends."""

    def __init__(self, resources: DictionaryObject, matrix: Matrix) -> None:
        self.resources = resources
        self.matrix = matrix
        self.states: list[tuple[float, int]] = []
        self.marks: list[tuple[bool, bool]] = []
        """By marked content that is open: whether it is hidden, and whether it is spelled out by `/ActualText`."""


class _PageVisitor:
    """What pypdf calls before each operation of the content, and with each piece of text."""

    def __init__(
        self, page: pypdf.PageObject, layers: HiddenLayers, box: tuple[float, float, float, float] | None
    ) -> None:
        self.has_text_outside = False
        self._page = page
        self._layers = layers
        self._box = box
        self._frames = [_Frame(dictionary(page.get("/Resources")), _IDENTITY)]
        self._rise, self._mode = 0.0, 0
        self._font, self._size = "", 12.0
        self._links = 0  # strings shown since the position was last set, which pypdf does not move on
        self._is_second_drawing = False
        self._strings, self._texts = _Positions(), _Positions()
        self._hidden = 0  # how much of the marked content that is open is on a layer that is off
        self._spelled: str | None = None  # the text that the open content stands for, "" once it is written
        self._is_showing = False
        self._shown_rise, self._shown_mode = 0.0, 0
        self._output = _Output()
        self._handlers: dict[bytes, Callable[[list[Any], Matrix, Matrix], object]] = {
            b"BDC": self._begin_marked,
            b"BMC": lambda _operands, _cm, _tm: self._push_marked(),
            b"EMC": lambda _operands, _cm, _tm: self._end_marked(),
            b"q": lambda _operands, _cm, _tm: self._frames[-1].states.append((self._rise, self._mode)),
            b"Q": lambda _operands, _cm, _tm: self._restore(),
            b"Ts": self._set_rise,
            b"Tr": self._set_mode,
            b"Tf": self._set_font,
            b"Do": self._enter,
            b"Tj": lambda operands, cm, tm: self._show(b"Tj", operands, cm, tm),
            b"TJ": lambda operands, cm, tm: self._show(b"TJ", operands, cm, tm),
            b"'": lambda operands, cm, tm: self._show(b"'", operands, cm, tm),
            b'"': lambda operands, cm, tm: self._show(b'"', operands, cm, tm),
            **dict.fromkeys([b"BT", b"Td", b"TD", b"Tm", b"T*"], lambda _operands, _cm, _tm: self._move()),
        }

    def extract(self) -> str:
        """The text of the page."""
        self._page.extract_text(
            visitor_operand_before=self._before, visitor_operand_after=self._after, visitor_text=self._take
        )
        return self._output.text()

    def _before(self, operator: bytes, operands: list[Any], cm: Matrix, tm: Matrix) -> None:
        self._is_showing = False
        handler = self._handlers.get(operator)
        if handler is not None:
            handler(operands, cm, tm)

    def _after(self, operator: bytes, _operands: list[Any], _cm: Matrix, _tm: Matrix) -> None:
        if operator == b"Do" and len(self._frames) > 1:
            self._leave()

    # Graphics state

    def _restore(self) -> None:
        states = self._frames[-1].states
        if states:
            self._rise, self._mode = states.pop()

    def _set_rise(self, operands: list[Any], _cm: Matrix, _tm: Matrix) -> None:
        self._rise = _number(operands, 0)

    def _set_mode(self, operands: list[Any], _cm: Matrix, _tm: Matrix) -> None:
        self._mode = int(_number(operands, 0))

    def _set_font(self, operands: list[Any], _cm: Matrix, _tm: Matrix) -> None:
        self._font = str(operands[0]) if operands else ""
        self._size = _number(operands, 1) or 12.0

    def _move(self) -> None:
        self._links = 0

    # Marked content and forms

    def _begin_marked(self, operands: list[Any], _cm: Matrix, _tm: Matrix) -> None:
        frame = self._frames[-1]
        tag, properties = (operands[0], operands[1]) if len(operands) > 1 else (None, None)
        is_hidden = is_spelled = False
        if tag == "/OC" and isinstance(properties, NameObject):
            layer = dict.get(dictionary(frame.resources.get("/Properties")), properties)
            is_hidden = layer is not None and self._layers.is_hidden(layer)
        elif self._spelled is None and isinstance(properties, DictionaryObject) and "/ActualText" in properties:
            self._spelled = _decoded(properties["/ActualText"])
            is_spelled = self._spelled is not None
        self._push_marked(is_hidden=is_hidden, is_spelled=is_spelled)

    def _push_marked(self, *, is_hidden: bool = False, is_spelled: bool = False) -> None:
        self._frames[-1].marks.append((is_hidden, is_spelled))
        self._hidden += is_hidden

    def _end_marked(self) -> None:
        marks = self._frames[-1].marks
        if marks:
            is_hidden, is_spelled = marks.pop()
            self._hidden -= is_hidden
            self._spelled = None if is_spelled else self._spelled

    def _enter(self, operands: list[Any], cm: Matrix, _tm: Matrix) -> None:
        """Go into a form, or keep pypdf from one that is on a layer that is off."""
        outer = self._frames[-1]
        form = dictionary(dictionary(outer.resources.get("/XObject")).get(operands[0]) if operands else None)
        if self._hidden or ("/OC" in form and self._layers.is_hidden(dict.get(form, "/OC"))):
            operands.clear()
        own = form.get("/Matrix")
        matrix = [_number(own, index) for index in range(6)] if isinstance(own, ArrayObject) else _IDENTITY
        resources = dictionary(form.get("/Resources")) or outer.resources
        self._frames.append(_Frame(resources, product(matrix, product(cm, outer.matrix))))
        self._move()

    def _leave(self) -> None:
        """Come back from a form; what it left open ends with it."""
        while self._frames[-1].marks:
            self._end_marked()
        self._frames.pop()
        self._move()

    # Text

    def _show(self, operator: bytes, operands: list[Any], cm: Matrix, tm: Matrix) -> None:
        self._is_showing = True
        self._shown_rise, self._shown_mode = self._rise, self._mode
        if self._hidden:
            _blank(operator, operands)
            return
        if self._spelled is not None:
            _blank(operator, operands, self._spelled)
            self._spelled = ""
            return
        shown = b"".join(shown_strings(operands, operator))
        moves_first = operator in {b"'", b'"'}  # to a line that only pypdf knows
        if moves_first:
            self._move()
        position = product(tm, product(cm, self._frames[-1].matrix))
        size = abs(self._size) * math.hypot(position[2], position[3]) or 12.0
        if self._is_outside(position, size, len(shown)):
            self.has_text_outside = True
            _blank(operator, operands)
        elif not moves_first and shown.strip(b" \0") and self._is_drawn_again(shown, position, size):
            _blank(operator, operands)
        elif operator == b"TJ":
            widen_word_gaps(operands)
        elif self._rise > _MIN_RISE * abs(self._size) and operator == b"Tj" and _RAISED_BYTES.fullmatch(shown):
            operands[0] = TextStringObject("^" + shown.decode("ascii"))
        self._links += 1

    def _is_outside(self, position: Matrix, size: float, length: int) -> bool:
        """Whether a string that begins at a position lies outside of what is shown of the page, as far as is known."""
        if self._box is None or self._links:
            return False
        left, bottom, right, top = self._box
        x, y, reach = position[4], position[5], size * max(length, 1)
        is_upright = abs(position[1]) < abs(position[0])
        across, along = (0.0, reach) if is_upright else (reach, 0.0)
        return y < bottom - size - across or y > top + across or x > right + size or x < left - along - size

    def _is_drawn_again(self, shown: bytes, position: Matrix, size: float) -> bool:
        """Whether the same string of the same font was shown at nearly the same place."""
        key = (self._font, self._links, shown)
        was_seen = self._strings.has(key, position[4], position[5], _SAME_PLACE * size)
        if not self._links:
            self._is_second_drawing = was_seen
        return was_seen and self._is_second_drawing

    def _take(self, text: str, cm: Matrix, tm: Matrix, _font: object, size: float) -> None:
        """One more piece of text, which begins at a position; a piece is also what ends where the direction changes."""
        if not text:
            return
        if self._is_showing and not text.endswith("\n"):
            self._output.add_run(text)
            return
        position = product(tm, product(cm, self._frames[-1].matrix))
        real_size = abs(size) * math.hypot(position[2], position[3]) or 12.0
        letters = "".join(text.split())
        is_repeated = len(letters) >= _MIN_LETTERS and self._texts.has(
            letters, position[4], position[5], _SAME_PLACE_OF_TEXT
        )
        self._output.add(
            "\n" * text.endswith("\n") if is_repeated else text,
            position,
            real_size,
            rise=self._shown_rise,
            is_invisible=self._shown_mode == _INVISIBLE,
        )


class _Output:
    """The pieces of text of a page, joined in the order in which they are read."""

    def __init__(self) -> None:
        self._pieces: list[tuple[str, bool]] = []  # the text, and whether it is invisible
        self._runs: list[str] = []
        self._last: tuple[str, float, float, float] = ("", 0.0, 0.0, 12.0)  # text, x, y and size of the last piece
        self._column: list[int] = []  # indices of the pieces of one character each, one below the other

    def add_run(self, text: str) -> None:
        """Text of one direction, followed by text of the other in the same string."""
        self._runs.append(text)

    def add(self, text: str, position: Matrix, size: float, *, rise: float, is_invisible: bool) -> None:
        """A piece of text that begins at a position; `rise` is that of its figures, if it has some."""
        if self._runs:
            text = _in_reading_order([*self._runs, text])
            self._runs = []
        x, y = position[4], position[5]
        content = text.strip()
        if not content:
            self._pieces.append((text, False))
            return
        if _RAISED_FIGURE.fullmatch(text.rstrip("\n")) and self._is_raised(y, size, rise):
            text = "^" + text
        self._note_column(content, x, y, size)
        self._pieces.append((text, is_invisible))
        self._last = (text, x, y, size)

    def _is_raised(self, y: float, size: float, rise: float) -> bool:
        before, _, base, base_size = self._last
        if not (before[-1:].isalnum() or before[-1:] in {")", "]"}) or not self._pieces[-1][0].strip():
            return False
        if rise > _MIN_RISE * size:
            return True
        return _MIN_RISE < (y - base) / base_size < _MAX_RISE and size < _MAX_RAISED_SIZE * base_size

    def _note_column(self, content: str, x: float, y: float, size: float) -> None:
        """Note one more character of a column that is set from top to bottom, or the end of the column."""
        before, last_x, last_y, last_size = self._last
        is_character = len(content) == 1 and _IDEOGRAPH.match(content) is not None
        follows = len(before.strip()) == 1 and abs(x - last_x) < 0.3 * size and 0.7 < (last_y - y) / last_size < 1.3
        if is_character and follows and self._column:
            self._column.append(len(self._pieces))
            return
        self._join_column()
        if is_character:
            self._column = [len(self._pieces)]

    def _join_column(self) -> None:
        if len(self._column) >= _MIN_COLUMN_CHARACTERS:
            for index in range(self._column[0], self._column[-1]):
                text, is_invisible = self._pieces[index]
                self._pieces[index] = ("".join(text.split()), is_invisible)
        self._column = []

    def text(self) -> str:
        """The text; without that of an invisible layer that only repeats what can be seen."""
        if self._runs:
            self._pieces.append((_in_reading_order(self._runs), False))
            self._runs = []
        self._join_column()
        visible = {word for text, is_invisible in self._pieces if not is_invisible for word in text.split()}
        return "".join(
            "\n" * text.endswith("\n") if is_invisible and visible.issuperset(text.split()) else text
            for text, is_invisible in self._pieces
        )


def _in_reading_order(runs: list[str]) -> str:
    """Runs of changing direction, given from left to right as they stand on the page, in the order of their language.

    >>> _in_reading_order(["21 ", "\u05d0\u05d1"]) == "\u05d0\u05d1 21"
    True
    """
    whole = "".join(runs)
    if len(_RIGHT_TO_LEFT.findall(whole)) <= len(_LATIN.findall(whole)):
        return whole
    end = whole[len(whole.rstrip("\n")) :]
    words = [run.strip() for run in reversed(runs)]
    return " ".join(word for word in words if word) + end


def _blank(operator: bytes, operands: list[Any], text: str = "") -> None:
    """Let an operation show `text` instead of its string."""
    shown: Any = TextStringObject(text)
    if operator == b'"':
        operands[2:] = [shown]
    else:
        operands[:] = [ArrayObject([shown])] if operator == b"TJ" else [shown]


def _decoded(value: object) -> str | None:
    """A text string of the content, which pypdf leaves as bytes; None for a value of another type."""
    if isinstance(value, bytes):
        if value.startswith(b"\xfe\xff"):
            return value[2:].decode("utf-16-be", "replace")
        return (
            value.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
            if value.startswith(b"\xef")
            else (value.decode("latin-1"))
        )
    return value if isinstance(value, str) else None


def _number(operands: list[Any], index: int) -> float:
    value = operands[index] if index < len(operands) else 0.0
    return float(value) if isinstance(value, int | float) else 0.0
