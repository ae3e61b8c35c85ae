"""Names of encodings: the ones that a file, a page or the user gives, and Python's name for the same codec."""

import codecs
import re

from millrace.tasks.errors import ConfigurationError

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this mark
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_COOKIE_SEARCH_BYTES = 1000
_COOKIE = re.compile(
    rb"-\*-[^\n]{0,200}?coding:[ \t]*([\w.-]+)|\b(?:vim?|ex):[^\n]{0,200}?\bf(?:ile)?enc(?:oding)?=([\w.-]+)"
)


def editor_declared_encoding(data: bytes) -> str | None:
    """The encoding that a text declares near its top to Emacs (`coding: gbk`) or vim (`fileencoding=gbk`)."""
    found = _COOKIE.search(data, 0, _COOKIE_SEARCH_BYTES)
    return (found[1] or found[2]).decode("ascii") if found else None


def marked_codec(head: bytes) -> str | None:
    """The codec that the byte order mark at the beginning stands for; None if there is no mark."""
    return next((codec for mark, codec in BYTE_ORDER_MARKS if head.startswith(mark)), None)


def required_codec(name: str) -> str:
    """Python's name of the codec that the user forces.

    Raises:
        ConfigurationError: Python has no codec of this name.
    """
    codec = known_codec(name)
    if codec is None:
        raise ConfigurationError(
            f"`documents.encoding` is {name!r}, which is not a known encoding; write for instance utf-8, gb18030, "
            "big5, shift_jis, cp1252, or leave it out."
        )
    return codec


def known_codec(name: str) -> str | None:
    """Python's name of the codec that a web page, a user or a file means by `name`; None if Python has none.

    Where the web uses a label for a larger encoding, it means the larger one (WHATWG Encoding Standard, read 2026-11).

    >>> known_codec("GB2312"), known_codec("iso-8859-1"), known_codec("klingon")
    ('gb18030', 'cp1252', None)
    """
    label = name.strip().strip("'\"")
    codec = _lookup(label) or _lookup(re.sub(r"[-_ ]", "", label))
    if codec is None:
        return None
    larger = {
        "gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "cp1252", "ascii": "cp1252", "shift_jis": "cp932",
        "euc_kr": "cp949", "big5": "big5hkscs", "iso8859-9": "cp1254", "tis-620": "cp874",
    }  # fmt: skip
    return larger.get(codec.name, codec.name)


def _lookup(label: str) -> codecs.CodecInfo | None:
    try:
        codec = codecs.lookup(label)
    except (LookupError, ValueError):
        return None
    return codec if getattr(codec, "_is_text_encoding", True) else None
