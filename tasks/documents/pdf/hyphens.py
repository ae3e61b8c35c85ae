"""Words that a PDF hyphenates at the ends of lines, made whole again by what the rest of the document says of them."""

import re
from collections.abc import Sequence

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_AT_LINE_END = re.compile(
    r"(?P<left>[^\W\d_]{2,})(?P<hyphen>[-\u2010\u00ad])[ \t]*\n[ \t]*"
    r"(?P<right>[^\W\d_]{2,})(?P<rest>(?:-[^\W\d_]+)*[^\s\w]*)[ \t]*\n?"
)


def joined_words(texts: Sequence[str]) -> list[str]:
    """The pages of a document, each with the words whole that a hyphen parts at the end of a line.

    A hyphen stays where the word has one elsewhere in the document, or where both its halves are words there that the
    whole is not. The line then ends after the word.
    """
    if not any(_AT_LINE_END.search(text) for text in texts):
        return list(texts)
    words: set[str] = set()
    for text in texts:
        words.update(word.casefold() for word in _WORD.findall(_AT_LINE_END.sub(" ", text)))

    def whole(found: re.Match[str]) -> str:
        left, right, rest = found["left"], found["right"], found["rest"]
        hyphen = "" if found["hyphen"] == "\u00ad" or _is_one_word(left, right, rest, words) else "-"
        if not hyphen and not right[0].islower():
            hyphen = "" if found["hyphen"] == "\u00ad" else "-"
        return f"{left}{hyphen}{right}{rest}\n"

    return [_AT_LINE_END.sub(whole, text).rstrip("\n") for text in texts]


def _is_one_word(left: str, right: str, rest: str, words: set[str]) -> bool:
    if rest.startswith("-"):
        return False  # a chain: state-of-the-art
    a, b = left.casefold(), right.casefold()
    if f"{a}-{b}" in words:
        return False
    return a + b in words or not (a in words and b in words)
