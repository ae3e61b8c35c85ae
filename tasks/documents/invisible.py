"""Characters that nobody sees: those inside words, which hide the word from a search, and texts of nothing else."""

import re

# Between letters of these scripts, which are written without spaces, a zero-width space is the end of a word.
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_INVISIBLE = re.compile(
    rf"[\u00ad\u2060\ufeff]+|(?<![{_SPACELESS}])\u200b+(?![{_SPACELESS}])|(?<=[{_SPACELESS}])\u200b+(?![\s{_SPACELESS}])"
)
_PROBE = re.compile("[\u00ad\u200b\u2060\ufeff]")
_VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_BETWEEN_LETTERS = re.compile(rf"(?<=\w)(?:[\u00ad\u2060\ufeff]|(?<![{_SPACELESS}])\u200b)+(?=\w)")


def has_visible_text(text: str) -> bool:
    """Whether there is a character that a reader sees."""
    return _VISIBLE.search(text) is not None


def without_invisible(text: str) -> str:
    """The text without soft hyphens, zero-width spaces and word joiners."""
    return _INVISIBLE.sub("", text) if _PROBE.search(text) else text


def with_whole_words(text: str) -> str:
    """The text without soft hyphens, zero-width spaces and word joiners inside words; it is unchanged otherwise."""
    return _BETWEEN_LETTERS.sub("", text) if _PROBE.search(text) else text
