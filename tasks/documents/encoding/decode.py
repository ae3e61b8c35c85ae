"""Bytes to text, strictly: either every byte is understood, or the file is rejected.

No replacement character is ever inserted. These are trusted, in this order: an encoding that the user forces; a byte
order mark; UTF-8, whose multi-byte sequences do not occur by chance; UTF-16 without a mark, if its zero bytes or its
Chinese leave no doubt; the encoding that the file declares; GB18030 and the other double-byte encodings, if the result
reads as Chinese, Japanese or Korean; an alphabet, if one reading is clearly more like language than all others
(`language`); and finally a statistical detector (charset-normalizer), if it is sure.
"""

from millrace.tasks.documents.encoding.detect import (
    DOUBLE_BYTE_CODECS,
    ONE_BYTE_CODECS,
    SAMPLE_BYTES,
    UTF8_SEQUENCE,
    binary_reject,
    detect,
    double_byte_codec,
    sample_text,
    telling_sample,
)
from millrace.tasks.documents.encoding.language import is_readable, reads_as_any_chinese, reads_as_japanese
from millrace.tasks.documents.encoding.names import BYTE_ORDER_MARKS, known_codec, marked_codec, required_codec
from millrace.tasks.documents.invisible import has_visible_text
from millrace.tasks.errors import Rejected


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
    if (unmarked := _unmarked_utf16(data)) is not None:
        return data.decode(unmarked)
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
    if (escaped := _escaped_codec(data)) is not None:
        return data.decode(escaped)
    # A page may say GBK and be UTF-8; but a short one that is GBK may be valid UTF-8 by chance.
    doubtful = declared in DOUBLE_BYTE_CODECS and not utf8.isascii() and not _evidently_utf8(data)
    return (_decoded(data, declared) if doubtful else None) or utf8


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


def _escaped_codec(data: bytes) -> str | None:
    """The encoding of text whose bytes are all ASCII and that switches to Chinese or Japanese by escape sequences."""
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


def _evidently_utf8(data: bytes) -> bool:
    """Whether there are enough multi-byte sequences that a text in another encoding would not be valid by chance."""
    return sum(1 for _ in zip(range(8), UTF8_SEQUENCE.finditer(data), strict=False)) == 8


def _unmarked_utf16(data: bytes) -> str | None:
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
