"""Detection: which encoding the bytes of a text are in, when neither UTF-8 nor the file itself tells."""

import codecs
import re
from collections.abc import Iterator
from functools import partial

from millrace.tasks.documents.encoding.language import (
    alphabetic_likeness,
    common_characters,
    reads_as_chinese,
    reads_as_japanese,
    reads_as_korean,
)
from millrace.tasks.documents.encoding.names import known_codec
from millrace.tasks.errors import Rejected

SET_ENCODING = (
    "Name the encoding with `documents.encoding` (for instance --set documents.encoding=big5), or convert the file to "
    "UTF-8."
)

SAMPLE_BYTES = 1 << 16


def detect(sample: bytes) -> str:
    """The codec of a file that is not valid UTF-8; `sample` is a part of it that holds bytes above 127.

    The codec may be UTF-8 after all, with a few damaged bytes: decoding then fails and shows where they are.

    Raises:
        Rejected: no encoding is certain.
    """
    controls = len(sample) - len(sample.translate(None, _RARE_CONTROLS))
    if controls > max(2, len(sample) // 200):
        raise binary_reject(f"{controls} control bytes among {len(sample)}")
    if _is_damaged_utf8(sample):
        return "utf-8"
    if b" " not in sample and sample.count(b"@") * 20 > len(sample):
        raise _unknown_reject()  # EBCDIC, whose space is the at sign of ASCII
    asian, alphabetic = double_byte_codec(sample), _alphabetic_codec(sample)
    if asian is not None and alphabetic in _DOUBLE_BYTE_PRIORS and alphabetic != asian:
        raise _unknown_reject()
    return asian or alphabetic or _statistically_detected(sample)


def double_byte_codec(sample: bytes) -> str | None:
    """The codec with which the sample reads as Chinese, Japanese or Korean; None if there is none."""
    simplified = partial(reads_as_chinese, common=common_characters("gb2312"))
    traditional = partial(reads_as_chinese, common=common_characters("big5"))
    for codec, reads_right in (
        ("cp949", reads_as_korean),  # before GB18030, in which the bytes of Korean are common characters too
        ("gb18030", simplified),
        ("cp932", reads_as_japanese),
        ("euc_jp", reads_as_japanese),
        ("gb18030", traditional),
        ("cp950", traditional),
        ("big5hkscs", traditional),
    ):
        if (text := sample_text(sample, codec)) is not None and reads_right(text):
            return codec
    return None


_RARE_CONTROLS = bytes(b for b in range(32) if b not in b"\t\n\r\f\x08\x1b\x1a")
ONE_BYTE_CODECS = {
    "cp1252": 0.0,
    **dict.fromkeys(["cp1251", "koi8-r", "cp1253", "cp1255", "cp1256", "cp874"], -2.0),
    **dict.fromkeys(["cp1250", "iso8859-2", "cp1254", "cp1257", "koi8-u"], -4.0),
    **dict.fromkeys(["cp850", "cp866", "mac-roman", "iso8859-5", "iso8859-6", "iso8859-7", "iso8859-8"], -5.0),
    **dict.fromkeys(["cp437", "cp852", "iso8859-13", "iso8859-4", "iso8859-15", "iso8859-16", "mac-cyrillic"], -6.0),
    **dict.fromkeys(["iso8859-3", "iso8859-10", "iso8859-14", "cp1258", "cp737", "cp775", "cp855", "cp857"], -7.0),
    **dict.fromkeys(["cp860", "cp861", "cp862", "cp863", "cp865", "cp869", "cp720", "cp864"], -7.0),
    **dict.fromkeys(["mac-latin2", "mac-greek", "mac-turkish", "mac-iceland", "mac-croatian", "mac-romanian"], -7.0),
    **dict.fromkeys(["cp1125", "kz1048", "ptcp154", "koi8-t", "hp-roman8"], -8.0),
}
"""Codecs whose 128 upper bytes are an alphabet, with the logarithm of how frequent each is relative to the first."""
_DOUBLE_BYTE_PRIORS = dict.fromkeys(["gb18030", "euc_jp", "cp932", "cp949"], -7.0)
"""They hold Latin, Greek and Cyrillic letters too."""
DOUBLE_BYTE_CODECS = frozenset(["gb18030", "big5hkscs", "cp950", "cp932", "euc_jp", "cp949"])
_SAME_LETTERS = str.maketrans("șțȘȚ", "şţŞŢ")
"""Romanian's comma below was a cedilla in the older encodings: readings that differ in it alone are one."""
_ASCII = frozenset(map(chr, range(0x80)))
_LETTERS_FOUND_ALONE = frozenset("éüöäñåøçíóáßÉÜÖÄ©´§°’–—“”•…\xa0")
"""A text may well hold one of these and nothing else beyond ASCII; any other takes twice the evidence."""
_BALTIC_TOO = frozenset("þðæÞÐÆ")
"""Where Icelandic has these, the Baltic encodings have letters that are as frequent: alone they take it as well."""
_JUDGED_CHARACTERS = 1 << 13
_SURE = 3.0
"""The least difference between the log-likelihoods of the best reading and the next one: twenty times as likely."""
_ABOVE_ASCII = bytes(range(0x80, 0x100))
_BYTE_ABOVE_ASCII = re.compile(rb"[\x80-\xff]")
_ASCII_RUN = re.compile(rb"[\x00-\x7f]{4}")
_BYTES_BEFORE, _BYTES_AFTER = 2000, 4000
UTF8_SEQUENCE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)


def telling_sample(data: bytes) -> bytes:
    """The first lines that hold bytes above 127, about 64 KiB of them: the part of a text that shows its encoding."""
    if len(data) <= SAMPLE_BYTES:
        return data
    return b"".join(_lines_beyond_ascii(data)) or data[:SAMPLE_BYTES]


def _lines_beyond_ascii(data: bytes) -> Iterator[bytes]:
    """The surroundings of bytes above 127, line by line: at most 2,000 bytes before and about 4,000 after.

    A search for single bytes, not a pattern with a variable beginning: that would read each ASCII line again from each
    of its bytes.
    """
    taken = end = 0
    while taken < SAMPLE_BYTES and (found := _BYTE_ABOVE_ASCII.search(data, end)) is not None:
        earliest = max(end, found.start() - _BYTES_BEFORE)
        start = max(earliest, data.rfind(b"\n", earliest, found.start()) + 1)
        end = _line_end(data, found.end())
        yield data[start:end]
        taken += end - start


def _line_end(data: bytes, position: int) -> int:
    line_end = data.find(b"\n", position, position + _BYTES_AFTER)
    if line_end >= 0:
        return line_end + 1
    # Between ASCII characters, where no multi-byte character can be cut through.
    gap = _ASCII_RUN.search(data, position + _BYTES_AFTER, position + 2 * _BYTES_AFTER)
    return gap.end() if gap else min(position + 2 * _BYTES_AFTER, len(data))


def _is_damaged_utf8(sample: bytes) -> bool:
    """Whether nearly all bytes above 127 are UTF-8 sequences; text in GB18030 holds some by chance, but not most."""
    stray = UTF8_SEQUENCE.sub(b"", sample)
    stray_bytes = len(stray) - len(stray.translate(None, _ABOVE_ASCII))
    return stray_bytes * 10 <= len(sample) - len(stray)


def _alphabetic_codec(sample: bytes) -> str | None:
    """The codec whose reading is most like language in an alphabet; None if another reading comes near it."""
    readings: dict[str, tuple[float, str]] = {}
    for codec, prior in (ONE_BYTE_CODECS | _DOUBLE_BYTE_PRIORS).items():
        text = sample_text(sample, codec)
        if text is None:
            continue
        text = text[:_JUDGED_CHARACTERS]
        if (same := text.translate(_SAME_LETTERS)) in readings:
            continue
        if (likeness := alphabetic_likeness(text)) is not None:
            readings[same] = (likeness + prior, codec)
    ranked = sorted(((likeness, codec, text) for text, (likeness, codec) in readings.items()), reverse=True)
    if not ranked:
        return None
    found = {*ranked[0][2]} - _ASCII
    telling = found & _LETTERS_FOUND_ALONE or (len(found) > 1 and found - _BALTIC_TOO)
    needed = _SURE if telling else 2 * _SURE
    return ranked[0][1] if len(ranked) == 1 or ranked[0][0] - ranked[1][0] >= needed else None


def _statistically_detected(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(sample, threshold=0.1, preemptive_behaviour=False).best()
    beyond_ascii = len(sample) - len(sample.translate(None, _ABOVE_ASCII))
    known_better = best is not None and known_codec(best.encoding) in ONE_BYTE_CODECS
    if best is None or known_better or best.coherence < 0.6 or beyond_ascii < 500:
        raise _unknown_reject()
    return best.encoding


def _unknown_reject() -> Rejected:
    return Rejected(
        "The bytes are not UTF-8, UTF-16 or GB18030, and no other encoding is certain.",
        reason="unknown_encoding",
        remedy=SET_ENCODING,
    )


def sample_text(sample: bytes, codec: str) -> str | None:
    """The sample's text, without a character that its end cuts through; None if it does not decode."""
    try:
        return codecs.getincrementaldecoder(codec)().decode(sample, final=False)
    except UnicodeDecodeError:
        return None


def binary_reject(found: str) -> Rejected:
    """The exception for a file that holds bytes which no text has."""
    return Rejected(
        f"The file is not text: it holds {found}.",
        reason="binary",
        remedy="Convert it to text, HTML or PDF, or leave it out with `sources.exclude`.",
    )
