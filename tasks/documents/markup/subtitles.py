"""Subtitles (SubRip and WebVTT): what is said, without numbers, times, styles and notes.

Each cue begins a line. A line that repeats the one before it is left out, since captions that roll show each twice.
Who speaks (`<v Ann>`) stands before the text. Sources: the SubRip format in VideoLAN's wiki; WebVTT of the W3C.
"""

import html
import re
from collections.abc import Iterator

from millrace.tasks.documents.formats import Extraction

_TIMES = re.compile(r"[ \t]*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}[ \t]+-->[ \t]+(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}")
_SPEAKER = re.compile(r"<v(?:\.[^\s>]*)?[ \t]+([^>]{1,200})>")
_TAG = re.compile(r"</?[a-zA-Z0-9][^<>]{0,200}>|\{\\[^{}]{0,200}\}")
_BLANK = re.compile(r"\n[ \t]*\n")


def read_subtitles(text: str) -> Extraction:
    """The text of the cues, in order."""
    lines: list[str] = []
    for block in _BLANK.split(text.replace("\r\n", "\n").replace("\r", "\n")):
        lines += [line for line in _cue(block.strip("\n").split("\n")) if line != (lines[-1] if lines else "")]
    return Extraction("\n".join(lines))


def _cue(lines: list[str]) -> Iterator[str]:
    """The lines that are shown; none of a block that is no cue. Before its times a cue may have a number or a name."""
    times = next((number for number, line in enumerate(lines[:2]) if _TIMES.match(line)), None)
    if times is None:
        return
    for line in lines[times + 1 :]:
        shown = _TAG.sub("", _SPEAKER.sub(r"\1: ", line))
        if words := " ".join(html.unescape(shown).split()):
            yield words
