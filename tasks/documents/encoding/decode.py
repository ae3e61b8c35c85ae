"""Bytes to text, strictly: either every byte is understood, or the file is rejected.

No replacement character is ever inserted. These are trusted, in this order: an encoding that the user forces; a byte
order mark; UTF-8, whose multi-byte sequences do not occur by chance; UTF-16 without a mark, if its zero bytes or its
Chinese leave no doubt; the encoding that the file declares; GB18030 and the other double-byte encodings, if the result
reads as Chinese, Japanese or Korean; an alphabet, if one reading is clearly more like language than all others
(`language`); and finally a statistical detector (charset-normalizer), if it is sure.
"""

import re

from millrace.tasks.documents.encoding.detect import (
    DOUBLE_BYTE_CODECS,
    ONE_BYTE_CODECS,
    SAMPLE_BYTES,
    SET_ENCODING,
    UTF8_SEQUENCE,
    binary_reject,
    detect,
    double_byte_codec,
    sample_text,
    telling_sample,
)
from millrace.tasks.documents.encoding.language import (
    alphabetic_likeness,
    is_everyday,
    is_readable,
    reads_as_any_chinese,
    reads_as_language,
)
from millrace.tasks.documents.encoding.names import BYTE_ORDER_MARKS, known_codec, marked_codec, required_codec
from millrace.tasks.documents.invisible import has_visible_text
from millrace.tasks.errors import Rejected

_ESCAPE_SEQUENCE = re.compile(rb"\x1b\$(?:[@AB]|[()*+][@A-Z])|\x1b\([IJ]")
_HZ_SEGMENT = re.compile(rb"~\{(?:[!-}][!-~])+~\}")
_UTF7_SEGMENT = re.compile(rb"\+[A-Za-z0-9+/]{3,}-?")
_SURROGATE_PAIR = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")


def decode(data: bytes, *, forced: str | None = None, declared: str | None = None) -> str:
    """The text of a file, without a byte order mark.

    `forced` is the user's choice and is not questioned. `declared` is the encoding that the file names itself (an HTML
    page's `<meta>`); it is trusted if the bytes decode and are not evidently UTF-8.

    Raises:
        Rejected: reason "empty", "binary", "wrong_encoding" (forced, but it does not decode) or "unknown_encoding".
        ConfigurationError: `forced` is not the name of an encoding.
    """
    if not data:
        raise Rejected("The file holds 0 bytes.", reason="empty", remedy="Remove it, or write it again.")
    text = _decode_forced(data, forced) if forced else _decode_detected(data, declared)
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise binary_reject(f"a zero byte at offset {data.find(0)}")
    if not has_visible_text(text):
        raise Rejected(
            "The file holds nothing but white space and invisible characters.",
            reason="empty",
            remedy="Remove it, or write it again.",
        )
    return text


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
        # Not simply the first match: the mark of UTF-32 is also that of UTF-16 before a zero character.
        if data.startswith(mark) and (text := _decoded(data, codec)) is not None:
            return text
    utf8 = _decoded(data, "utf-8")
    if utf8 is not None and "\0" not in utf8:
        return _ascii_or_utf8(data, utf8, known_codec(declared or ""))
    if (unmarked := unmarked_utf16(data)) is not None:
        return data.decode(unmarked)
    if (damaged := _nearly_utf8(data)) is not None:
        raise damaged
    if b"\0" in data:
        raise binary_reject(f"a zero byte at offset {data.find(0)}")
    sample = telling_sample(data)
    named = known_codec(declared or "")
    # Nearly any bytes decode as a Latin encoding, and pages that declare a wrong encoding mostly declare one of these.
    suspect = named in ONE_BYTE_CODECS and double_byte_codec(sample) is not None
    if not suspect and (text := _decoded(data, named)) is not None:
        return text
    return _decode_whole(data, detect(sample))


def _ascii_or_utf8(data: bytes, utf8: str, declared: str | None) -> str:
    """The text of bytes that are valid UTF-8, although they may be meant as another encoding."""
    if data.isascii():
        return _unescaped(data) or utf8
    # A page may declare GBK and be UTF-8; but a short one that is GBK may be valid UTF-8 by chance.
    if declared in DOUBLE_BYTE_CODECS and not _evidently_utf8(data):
        other = _decoded(data, declared)
        if other is not None and reads_as_language(other) and not _is_everyday(utf8):
            return other
    return utf8


def _is_everyday(text: str) -> bool:
    """Whether all characters beyond ASCII are in everyday use in Chinese, Japanese or Korean."""
    return all(is_everyday(character) for character in text if character > "\x7f")


def _nearly_utf8(data: bytes) -> Rejected | None:
    """The reject of UTF-8 that was cut off within a character, or of CESU-8; None for anything else."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        if error.reason == "unexpected end of data" and len(_sequences(before, 3)) == 3:
            return Rejected(
                f"The file is UTF-8 that is cut off in the middle of its last character, at offset {error.start}.",
                reason="unknown_encoding",
                remedy="Copy the whole file again, or delete the last bytes if it was cut off on purpose.",
            )
    if _SURROGATE_PAIR.search(data) is not None and _decoded(_SURROGATE_PAIR.sub(b"", data), "utf-8") is not None:
        return Rejected(
            "The file is in CESU-8, in which the parts of a surrogate pair are encoded one by one, not in UTF-8.",
            reason="unknown_encoding",
            remedy="Export it again as UTF-8 (in MySQL utf8mb4), or convert it.",
        )
    return None


def _sequences(data: bytes, most: int) -> list[bytes]:
    """The first multi-byte sequences of UTF-8, at most `most`."""
    return [found[0] for found, _ in zip(UTF8_SEQUENCE.finditer(data), range(most), strict=False)]


def _decode_whole(data: bytes, codec: str) -> str:
    """The text of a file whose codec was detected from a part of it."""
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise Rejected(
            f"The file reads as {codec}, but byte {data[error.start]:#04x} at offset {error.start} does not.",
            reason="unknown_encoding",
            remedy="Restore it from an undamaged copy or correct the bytes, or name another encoding with "
            "`documents.encoding`.",
        ) from error


def _unescaped(data: bytes) -> str | None:
    """The text of ASCII bytes that switch to another character set by escape sequences; None if they do not.

    Raises:
        Rejected: they do, but the sequences are not those of an encoding that Python knows.
    """
    if _ESCAPE_SEQUENCE.search(data) is not None:
        for codec in ("iso2022_jp_ext", "iso2022_jp_2", "iso2022_kr"):
            if (text := _decoded(data, codec)) is not None and "\x1b" not in text and "\x0e" not in text:
                return text
        raise Rejected(
            "The file switches its character set by escape sequences, in an encoding that is not known (ISO-2022-CN?).",
            reason="unknown_encoding",
            remedy=SET_ENCODING,
        )
    segments = len(_HZ_SEGMENT.findall(data))
    text = _decoded(data, "hz") if segments else None
    if text is not None and (reads_as_any_chinese(text) or (segments > 1 and alphabetic_likeness(text) is not None)):
        return text
    text = _decoded(data, "utf-7") if _UTF7_SEGMENT.search(data) is not None else None
    if text is not None and not text.isascii() and (reads_as_language(text) or alphabetic_likeness(text) is not None):
        return text
    return None


def _decoded(data: bytes, codec: str | None) -> str | None:
    if codec is None:
        return None
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return None


def _evidently_utf8(data: bytes) -> bool:
    """Whether there are enough multi-byte sequences that a text in another encoding would not be valid by chance."""
    return len(_sequences(data, 8)) == 8


def unmarked_utf16(data: bytes) -> str | None:
    """UTF-16 of one byte order, if that reading is sensible and the other is not."""
    if len(data) % 2:
        return None
    head = data[:SAMPLE_BYTES]
    readings = []
    for codec, high in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
        text = sample_text(head, codec)
        # Two zero bytes in three characters are no coincidence; Chinese may have none at all.
        latin = high.count(0) * 3 > len(high) * 2
        if text and is_readable(text) and (latin or reads_as_any_chinese(text)):
            readings.append(codec)
    return readings[0] if len(readings) == 1 and _decoded(data, readings[0]) is not None else None
