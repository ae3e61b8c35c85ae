"""Plain text as a person reads it: without the codes that a terminal or a browser understands and nobody reads.

Colour codes of terminals, overstruck characters, data that is embedded in an address (`data:image/png;base64,...`), and
invisible characters inside words. A text without any of these is unchanged.
"""

import re

from millrace.tasks.documents.formats import Extraction
from millrace.tasks.documents.invisible import with_whole_words

# ECMA-48: control sequences, operating-system commands, character sets, other escapes.
_TERMINAL_CODES = re.compile(
    r"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|[\]PX^_][^\x07\x1b\n]*+(?:\x07|\x1b\\)|[()*+][0-9A-Za-z]|[ -/]?[0-~])"
)
_OVERSTRUCK = re.compile(r"[^\n\x08]\x08")
_EMBEDDED_DATA = re.compile(
    r"(?P<head>data:[a-zA-Z]{1,30}+/[\w.+-]{1,100}+(?:;[\w=.+-]{1,100}+){0,5}+,)"
    r"(?:(?<=;base64,)[A-Za-z0-9+/_=-]{200,}+(?:\r?\n[A-Za-z0-9+/]{60,}+(?=\r?\n|[)\"'>]))*+(?:\r?\n[A-Za-z0-9+/]++={0,2}(?=[)\"'>]))?"
    r"|[^\s\"'()<>]{200,}+)"
)


def read_text(text: str) -> Extraction:
    """Plain text, without headings and title."""
    return Extraction(text)


def readable(text: str) -> str:
    """The text without terminal codes, overstruck characters, embedded data and invisible characters in words."""
    if "\x1b" in text:
        text = _TERMINAL_CODES.sub("", text)
    if "\x08" in text:
        text = _OVERSTRUCK.sub("", text)
    if "data:" in text:
        text = _EMBEDDED_DATA.sub(r"\g<head>", text)
    return with_whole_words(text)
