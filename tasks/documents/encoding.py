"""Bytes to text, strictly: either every byte was understood, or the file is rejected.

No replacement character is ever invented here. The order of trust: an encoding that the user forces; a byte order
mark; UTF-8, whose multi-byte sequences do not come about by chance; UTF-16 without a mark, when its zero bytes or its
Chinese leave no doubt; what the file says of itself; GB18030 and the other double-byte encodings, when what comes out
reads as Chinese, Japanese or Korean; an alphabet, when one reading is clearly more like language than all others
(`language`); and for the rest a statistical detector (charset-normalizer), believed only when it is sure.

What a file, a page or the user calls an encoding, and Python's name for it.
"""

import codecs
import re
from collections.abc import Iterator
from functools import partial

from millrace.tasks.documents.language import (
    alphabetic_likeness,
    common_characters,
    is_readable,
    reads_as_any_chinese,
    reads_as_chinese,
    reads_as_japanese,
    reads_as_korean,
)
from millrace.tasks.errors import ConfigurationError, Rejected

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_COOKIE_SEARCH_BYTES = 1000
_COOKIE = re.compile(
    rb"-\*-[^\n]{0,200}?coding:[ \t]*([\w.-]+)|\b(?:vim?|ex):[^\n]{0,200}?\bf(?:ile)?enc(?:oding)?=([\w.-]+)"
)


def cookie(data: bytes) -> str | None:
    """The encoding that a text names for Emacs or vim (`-*- coding: gbk -*-`, `vim: fileencoding=gbk`) near its top."""
    found = _COOKIE.search(data, 0, _COOKIE_SEARCH_BYTES)
    return (found[1] or found[2]).decode("ascii") if found else None


def marked_codec(head: bytes) -> str | None:
    """The codec that a byte order mark at the beginning tells; None without one."""
    return next((codec for mark, codec in BYTE_ORDER_MARKS if head.startswith(mark)), None)


def required_codec(name: str) -> str:
    """Python's name of the codec that the user forces.

    Raises:
        ConfigurationError: there is none of that name.
    """
    codec = known_codec(name)
    if codec is None:
        raise ConfigurationError(
            f"`documents.encoding` is {name!r}, which is no encoding known here; write for instance utf-8, gb18030, "
            "big5, shift_jis, cp1252, or leave it out."
        )
    return codec


def known_codec(name: str) -> str | None:
    """Python's name of the codec that a web page, a user or a file means by `name`; None when there is none.

    Labels that the web uses for a larger encoding mean that one (WHATWG Encoding Standard, read 2026-11).

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


SET_ENCODING = (
    "Name the encoding with `documents.encoding` (for instance --set documents.encoding=big5), or convert the file to "
    "UTF-8."
)

_SAMPLE_BYTES = 1 << 16


def decode(data: bytes, *, forced: str | None = None, declared: str | None = None) -> str:
    """The text of a file, without a byte order mark.

    `forced` is the user's word and is not questioned; `declared` is what the file says of itself (an HTML page's
    `<meta>`), believed when it decodes and UTF-8 is not the evident truth.

    Raises:
        Rejected: reason "empty", "binary", "wrong_encoding" (forced, but it does not decode) or "unknown_encoding".
        ConfigurationError: Python knows no encoding by the name of `forced`.
    """
    if not data:
        raise Rejected("The file holds 0 bytes.", reason="empty", remedy="Remove it, or write it again.")
    text = _decode_forced(data, forced) if forced else _decode_detected(data, declared)
    text = text.removeprefix("\ufeff")
    if not text or text.isspace():
        raise Rejected(
            "The file holds nothing but white space.", reason="empty", remedy="Remove it, or write it again."
        )
    if "\0" in text:
        raise _binary(f"a zero byte at offset {data.find(0)}")
    return text


def detect(sample: bytes) -> str:
    """The codec of a file that is not valid UTF-8 and of which `sample` is a part that holds bytes above 127.

    It may be UTF-8 after all, with a few damaged bytes: the caller finds out where when decoding.

    Raises:
        Rejected: no encoding is certain.
    """
    controls = len(sample) - len(sample.translate(None, _RARE_CONTROLS))
    if controls > max(2, len(sample) // 200):
        raise _binary(f"{controls} control bytes among {len(sample)}")
    if _is_damaged_utf8(sample):
        return "utf-8"
    return _double_byte_codec(sample) or _alphabetic_codec(sample) or _statistically_detected(sample)


def _double_byte_codec(sample: bytes) -> str | None:
    """The codec through which the sample reads as Chinese, Japanese or Korean."""
    simplified = partial(reads_as_chinese, common=common_characters("gb2312"))
    traditional = partial(reads_as_chinese, common=common_characters("big5"))
    for codec, reads_right in (
        ("gb18030", simplified),
        ("cp932", reads_as_japanese),
        ("euc_jp", reads_as_japanese),
        ("cp949", reads_as_korean),
        ("gb18030", traditional),
        ("cp950", traditional),
        ("big5hkscs", traditional),
    ):
        if (text := _sample_text(sample, codec)) is not None and reads_right(text):
            return codec
    return None


_RARE_CONTROLS = bytes(b for b in range(32) if b not in b"\t\n\r\f\x08\x1b\x1a")
_ONE_BYTE_CODECS = {
    "cp1252": 0.0,
    **dict.fromkeys(["cp1251", "koi8-r", "cp1253", "cp1255", "cp1256"], -2.0),
    **dict.fromkeys(["cp1250", "iso8859-2", "cp1254"], -5.0),
    **dict.fromkeys(["cp850", "cp866", "mac-roman", "iso8859-5"], -5.0),
}
"""Codecs whose 128 upper bytes are an alphabet, with the logarithm of how usual each is beside the first."""
_DOUBLE_BYTE_CODECS = frozenset(["gb18030", "big5hkscs", "cp950", "cp932", "euc_jp", "cp949"])
_SURE = 3.0
"""By how much the best reading's log-likelihood must pass the next one's: twenty times as likely."""
_ABOVE_ASCII = bytes(range(0x80, 0x100))
_UTF8_SEQUENCE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)


def _decode_forced(data: bytes, forced: str) -> str:
    codec = required_codec(forced)
    marked = marked_codec(data[:4])
    if marked is not None and marked.startswith(codec):
        codec = marked
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise Rejected(
            f"The file is not {forced}: byte {data[error.start]:#04x} at offset {error.start} cannot be decoded.",
            reason="wrong_encoding",
            remedy="Leave `documents.encoding` out to have it detected, or name the right one.",
        ) from error


def _decode_detected(data: bytes, declared: str | None) -> str:
    for mark, codec in BYTE_ORDER_MARKS:
        # Not the first that matches: the mark of UTF-32 is also that of UTF-16 before a zero character.
        if data.startswith(mark) and (text := _decoded(data, codec)) is not None:
            return text
    utf8 = _decoded(data, "utf-8")
    if utf8 is not None and "\0" not in utf8:
        return _ascii_or_utf8(data, utf8, known_codec(declared or ""))
    if (unmarked := _unmarked_utf16(data)) is not None:
        return data.decode(unmarked)
    if b"\0" in data:
        raise _binary(f"a zero byte at offset {data.find(0)}")
    sample = telling_sample(data)
    named = known_codec(declared or "")
    # Nearly all bytes decode as one of Latin's encodings, which is what pages name that name any old one.
    suspect = named in _ONE_BYTE_CODECS and _double_byte_codec(sample) is not None
    if not suspect and (text := _decoded(data, named)) is not None:
        return text
    return _decode_whole(data, detect(sample))


def _ascii_or_utf8(data: bytes, utf8: str, declared: str | None) -> str:
    """The text of bytes that are valid UTF-8, which is not always what they are meant for."""
    if (escaped := _escaped_codec(data)) is not None:
        return data.decode(escaped)
    # A page may say GBK and be UTF-8; but a short one that is GBK may be valid UTF-8 by chance.
    doubtful = declared in _DOUBLE_BYTE_CODECS and not utf8.isascii() and not _evidently_utf8(data)
    return (_decoded(data, declared) if doubtful else None) or utf8


def _decode_whole(data: bytes, codec: str) -> str:
    """The text, its codec having been told from a part of it."""
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise Rejected(
            f"The file reads as {codec}, but byte {data[error.start]:#04x} at offset {error.start} does not.",
            reason="unknown_encoding",
            remedy="Restore it from an undamaged copy or correct the bytes, or name another encoding with "
            "`documents.encoding`.",
        ) from error


def _escaped_codec(data: bytes) -> str | None:
    """The encoding of text that switches to Chinese or Japanese by escape sequences, all its bytes being ASCII."""
    for codec, opening, reads_right in (
        ("iso2022_jp", b"\x1b$", reads_as_japanese),
        ("hz", b"~{", reads_as_any_chinese),
    ):
        if opening in data and data.isascii() and (text := _decoded(data, codec)) is not None and reads_right(text):
            return codec
    return None


def _decoded(data: bytes, codec: str | None) -> str | None:
    if codec is None:
        return None
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return None


def _sample_text(sample: bytes, codec: str) -> str | None:
    """The sample's text, but for a character that its end cuts through; None when it does not decode."""
    try:
        return codecs.getincrementaldecoder(codec)().decode(sample, final=False)
    except UnicodeDecodeError:
        return None


def _evidently_utf8(data: bytes) -> bool:
    """Whether there are enough multi-byte sequences that a text in another encoding would not be valid by chance."""
    return sum(1 for _ in zip(range(8), _UTF8_SEQUENCE.finditer(data), strict=False)) == 8


def _unmarked_utf16(data: bytes) -> str | None:
    """UTF-16 of one byte order, when that reading is sensible and the other is not."""
    if len(data) % 2:
        return None
    head = data[:_SAMPLE_BYTES]
    readings = []
    for codec, high in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
        text = _sample_text(head, codec)
        # Two zero bytes in three characters are no coincidence; Chinese may have none at all.
        latin = high.count(0) * 3 > len(high) * 2
        if text and is_readable(text) and (latin or reads_as_any_chinese(text)):
            readings.append(codec)
    return readings[0] if len(readings) == 1 and _decoded(data, readings[0]) is not None else None


def telling_sample(data: bytes) -> bytes:
    """The first lines that hold bytes above 127, about 64 KiB of them: the part that tells the encoding."""
    if len(data) <= _SAMPLE_BYTES:
        return data
    return b"".join(_lines_beyond_ascii(data)) or data[:_SAMPLE_BYTES]


def _lines_beyond_ascii(data: bytes) -> Iterator[bytes]:
    taken = 0
    for match in re.finditer(rb"[^\n]{0,2000}[\x80-\xff][^\n]{0,4000}\n?", data):
        yield match[0]
        taken += len(match[0])
        if taken >= _SAMPLE_BYTES:
            return


def _is_damaged_utf8(sample: bytes) -> bool:
    """Whether nearly all bytes above 127 are UTF-8 sequences; text in GB18030 holds some by chance, but not most."""
    stray = _UTF8_SEQUENCE.sub(b"", sample)
    stray_bytes = len(stray) - len(stray.translate(None, _ABOVE_ASCII))
    return stray_bytes * 10 <= len(sample) - len(stray)


def _alphabetic_codec(sample: bytes) -> str | None:
    """The one-byte codec whose reading is the most like language, if no other reading comes near it."""
    readings: dict[str, tuple[float, str]] = {}
    for codec, usualness in _ONE_BYTE_CODECS.items():
        text = _sample_text(sample, codec)
        likeness = alphabetic_likeness(text) if text is not None and text not in readings else None
        if text is not None and likeness is not None:
            readings[text] = (likeness + usualness, codec)
    ranked = sorted(readings.values(), reverse=True)
    if not ranked or (len(ranked) > 1 and ranked[0][0] - ranked[1][0] < _SURE):
        return None
    return ranked[0][1]


def _statistically_detected(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(sample, threshold=0.1, preemptive_behaviour=False).best()
    beyond_ascii = len(sample) - len(sample.translate(None, _ABOVE_ASCII))
    known_better = best is not None and known_codec(best.encoding) in _ONE_BYTE_CODECS
    if best is None or known_better or best.coherence < 0.6 or beyond_ascii < 500:
        raise Rejected(
            "The bytes are not UTF-8, UTF-16 or GB18030, and no other encoding is certain.",
            reason="unknown_encoding",
            remedy=SET_ENCODING,
        )
    return best.encoding


def _binary(found: str) -> Rejected:
    return Rejected(
        f"The file is not text: it holds {found}.",
        reason="binary",
        remedy="Convert it to text, HTML or PDF, or leave it out with `sources.exclude`.",
    )
