"""What the readers of PDF pages and outlines share: the faults of the library, and the repair of its characters."""

import re
import struct
import unicodedata
import zlib

from pypdf.errors import DependencyError, PyPdfError

PDF_FAULTS = (
    PyPdfError, DependencyError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError,
    RuntimeError, OSError, StopIteration, struct.error, zlib.error, re.error,
)  # fmt: skip
"""What pypdf raises over damaged files: "broken PDF files might cause other Exceptions" (pypdf/errors.py), and do.

`RuntimeError` holds RecursionError and NotImplementedError. MemoryError is not among them.
"""

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
