"""Text recognition: a picture to the text in it, Chinese and English alike, by RapidOCR, whose models are in its wheel.

It takes about 5 s of CPU a page on one core, and 0.7 to 1.1 GB of memory, so it is an extra that has to be asked for.
"""

import functools
import importlib.util
import logging
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from typing import TYPE_CHECKING, Any

from millrace.tasks.errors import ConfigurationError

if TYPE_CHECKING:
    from PIL.Image import Image

ENGINE = "rapidocr 3.10, PP-OCRv6 small, 150 dpi"
"""Identifies what recognizes, for what is kept of it."""

NOT_RECOGNIZED = "page_not_recognized"
"""The reason of a page that recognition may read, where nothing may be recognized now (`plan`)."""

_MIN_LINE_SCORE = 0.5
_MIN_MEAN_SCORE = 0.75
"""A page whose characters are surer than that on average holds text; patterns and photographs come below."""

_WIDE = 0.6
_COLUMN = 0.25
_WIDE_CHARACTERS = range(0x2E80, 0xA000)


@dataclass(frozen=True, slots=True)
class Line:
    """A piece of a line of text, with its box in pixels."""

    text: str
    left: float
    top: float
    right: float
    bottom: float


def require_recognition() -> None:
    """Raises `ConfigurationError` when the libraries are not installed."""
    missing = [name for name in ("rapidocr", "onnxruntime", "pypdfium2") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f'documents.ocr needs the packages {", ".join(missing)}: pip install "millrace[ocr]" (or set it to "off")'
        )


def recognize(picture: "Image") -> str:
    """The text of a page, in reading order; "" when there is none, or nothing that can be trusted."""
    import numpy as np

    found = _engine()(np.asarray(picture.convert("RGB"))[:, :, ::-1])
    lines, characters, sure = [], 0, 0.0
    for box, text, score in zip(*_lists(found), strict=True):
        if score < _MIN_LINE_SCORE or not text.strip():
            continue
        across, down = [point[0] for point in box], [point[1] for point in box]
        lines.append(Line(text.strip(), min(across), min(down), max(across), max(down)))
        characters += len(text)
        sure += score * len(text)
    if not characters or sure / characters < _MIN_MEAN_SCORE:
        return ""
    return as_text(lines)


def _lists(found: Any) -> tuple[list[Any], list[str], list[float]]:
    if found.txts is None:
        return [], [], []
    return found.boxes.tolist(), list(found.txts), list(found.scores)


@functools.cache
def _engine() -> Any:
    require_recognition()
    from rapidocr import RapidOCR

    assert version("rapidocr").startswith("3.10.")  # ENGINE says so
    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    engine = RapidOCR(params={"Global.log_level": "critical", **threads})  # readers are one a core
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    return engine


def as_text(lines: list[Line]) -> str:
    """The lines in reading order: one below the other, columns one after the other, a blank line between paragraphs."""
    return "\n\n".join(text for text in map(_block_text, _blocks(lines)) if text)


def _blocks(lines: list[Line]) -> list[list[Line]]:
    """Parts of the page that are read one after the other."""
    if not lines:
        return []
    width = max(line.right for line in lines) - min(line.left for line in lines)
    blocks: list[list[Line]] = []
    ordered = sorted(lines, key=lambda line: line.top)
    for _, group in groupby(ordered, key=lambda line: line.right - line.left > _WIDE * width):
        blocks += _columns(list(group), width)
    return blocks


def _columns(lines: list[Line], width: float) -> list[list[Line]]:
    """The columns of lines none of which is as wide as the page, left to right; all of them, if there are no two."""
    reach = float("-inf")
    columns: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.left):
        if line.left > reach or not columns:
            columns.append([])
        columns[-1].append(line)
        reach = max(reach, line.right)
    # Cells of a table stand in columns too, but are not as wide as text is set.
    are_text = len(columns) > 1 and all(
        len(column) > 2 and sorted(line.right - line.left for line in column)[len(column) // 2] > _COLUMN * width
        for column in columns
    )
    return columns if are_text else [lines]


def _block_text(lines: list[Line]) -> str:
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.top + line.bottom):
        middle = (line.top + line.bottom) / 2
        if rows and middle < max(rows[-1], key=lambda other: other.bottom).bottom - (line.bottom - line.top) * 0.25:
            rows[-1].append(line)
        else:
            rows.append([line])
    text, before = "", None
    for row in rows:
        row.sort(key=lambda line: line.left)
        top, bottom = min(line.top for line in row), max(line.bottom for line in row)
        if before is not None:
            text += "\n\n" if top - before > 0.9 * (bottom - top) else "\n"
        text += " ".join(line.text for line in row)
        before = bottom
    return text
