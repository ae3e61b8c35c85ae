"""What the readers of PDF pages and outlines share: the repair of characters.

Fonts draw some characters through others that look the same, which no search would match: Kangxi and CJK radicals
(U+2E80 to U+2FDF) become the ideographs they stand for, and the Latin ligatures (U+FB00 to U+FB06) their letters.
Surrogate pairs are joined, and control characters other than line breaks and tabs removed.
"""

import re
import unicodedata

_MAX_TITLE_CHARACTERS = 300
_SURROGATE = re.compile("[\ud800-\udfff]")
_REMOVED = dict.fromkeys([*range(9), 11, *range(14, 32), 127, 0xFFFE, 0xFFFF])
_SAME_LOOKS = {
    code: unicodedata.normalize("NFKC", chr(code))
    for block in (range(0x2E80, 0x2FE0), range(0xFB00, 0xFB07))
    for code in block
    if unicodedata.normalize("NFKC", chr(code)) != chr(code)
}


def joined_surrogates(text: str) -> str:
    """The text with its surrogate pairs joined, and U+FFFD for each one that stands alone."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def searchable(text: str) -> str:
    """The text without control characters, and with the characters that people type for those that look the same."""
    return text.translate(_REMOVED).translate(_SAME_LOOKS)


def one_line(title: str) -> str:
    """A title as one line of at most 300 characters."""
    return " ".join(searchable(joined_surrogates(title)).split())[:_MAX_TITLE_CHARACTERS]
