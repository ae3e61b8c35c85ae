"""Bytes to text, strictly: either every byte was understood, or the file is rejected.

No replacement character is ever invented here. The order of trust: an encoding that the user forces; a byte order
mark; UTF-8, whose multi-byte sequences do not come about by chance; UTF-16 without a mark, when its zero bytes or its
Chinese leave no doubt; GB18030, when what comes out reads as Chinese; and for the rest a statistical detector
(charset-normalizer), believed only when it is sure.
"""

import codecs
import re
from collections.abc import Iterator
from functools import cache

from tasks.errors import ConfigurationError, Rejected

SET_ENCODING = (
    "Name the encoding with `documents.encoding` (for instance --set documents.encoding=big5), or convert the file to "
    "UTF-8."
)

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE_BYTES = 1 << 16
_FREQUENT_HANZI = frozenset(
    "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可里后小么心多天而能好都然没日于起"
    "还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声"
    "全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产"
    "入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王"
    "果亲界及今京务制解各任至清物台象记边共风战干接它许八特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎元社术结六功指思非流每青"
    "管夫连远资队跟带花快条院变联言权往展该领传近留红治决周保达办运武半候七必城父强步完革深区即求品士转量空甚众技轻程告江语英基派满式"
)


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
    if text.startswith("\ufeff"):
        text = text[1:]
    if not text or text.isspace():
        raise Rejected(
            "The file holds nothing but white space.", reason="empty", remedy="Remove it, or write it again."
        )
    if "\0" in text:
        raise _binary(f"a zero byte at offset {data.find(0)}")
    return text


def detect(sample: bytes) -> str:
    """The codec that decodes a file of which `sample` is a part that holds bytes above 127, UTF-8 being ruled out.

    Raises:
        Rejected: no encoding is certain.
    """
    controls = len(sample) - len(sample.translate(None, _RARE_CONTROLS))
    if controls > max(2, len(sample) // 200):
        raise _binary(f"{controls} control bytes among {len(sample)}")
    if (errors := _utf8_errors(sample)) is not None:
        raise Rejected(
            f"The file is UTF-8 but for {errors} damaged places among those looked at.",
            reason="unknown_encoding",
            remedy="Restore it from an undamaged copy, or repair the damaged bytes.",
        )
    if reads_as_chinese(sample.decode("gb18030", "ignore")) and _decodes(sample, "gb18030"):
        return "gb18030"
    return _statistically_detected(sample)


def known_codec(name: str) -> str | None:
    """Python's name of the codec that a web page, a user or a file means by `name`; None when there is none.

    Labels that the web uses for a larger encoding mean that one (WHATWG Encoding Standard, read 2026-11).

    >>> known_codec("GB2312"), known_codec("iso-8859-1"), known_codec("klingon")
    ('gb18030', 'cp1252', None)
    """
    try:
        codec = codecs.lookup(name.strip().strip("'\""))
    except (LookupError, ValueError):
        return None
    if not getattr(codec, "_is_text_encoding", True):
        return None
    larger = {
        "gb2312": "gb18030", "gbk": "gb18030", "iso8859-1": "cp1252", "ascii": "cp1252", "shift_jis": "cp932",
        "euc_kr": "cp949", "big5": "big5hkscs", "iso8859-9": "cp1254", "tis-620": "cp874",
    }  # fmt: skip
    return larger.get(codec.name, codec.name)


def reads_as_chinese(text: str) -> bool:
    """Whether the text's characters are those that Chinese is written with, in about their usual shares.

    Bytes of another encoding read as GB18030 or UTF-16 give rare characters (Latin-1, Big5, Shift-JIS), or common ones
    without the few hundred that make up half of any Chinese text (EUC-KR), or kana (EUC-JP).
    """
    beyond_ascii = [c for c in text if c > "\x7f"][:20_000]
    hanzi = [c for c in beyond_ascii if "\u3400" <= c <= "\u9fff" or c > "\U0001ffff"]
    kana = sum("\u3041" <= c <= "\u30fe" for c in beyond_ascii)
    if not hanzi or kana * 20 > len(hanzi) or len(hanzi) * 2 < len(beyond_ascii):
        return False
    common = sum(c in _common_hanzi() for c in hanzi) / len(hanzi)
    frequent = sum(c in _FREQUENT_HANZI for c in hanzi) / len(hanzi)
    return common >= 0.9 and (frequent >= 0.15 or (len(hanzi) < 20 and common == 1.0 and frequent > 0))


_RARE_CONTROLS = bytes(b for b in range(32) if b not in b"\t\n\r\f\x08\x1b\x1a")
_ABOVE_ASCII = bytes(range(0x80, 0x100))
_UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


def _decode_forced(data: bytes, forced: str) -> str:
    codec = known_codec(forced)
    if codec is None:
        raise ConfigurationError(
            f"`documents.encoding` is {forced!r}, which is no encoding known here; write for instance utf-8, gb18030, "
            "big5, shift_jis, cp1252, or leave it out."
        )
    mark = next((b for b, name in _BYTE_ORDER_MARKS if data.startswith(b) and name.startswith(codec)), b"")
    try:
        return data[len(mark) :].decode(codec)
    except UnicodeDecodeError as error:
        raise Rejected(
            f"The file is not {forced}: byte {data[error.start]:#04x} at offset {error.start} cannot be decoded.",
            reason="wrong_encoding",
            remedy="Leave `documents.encoding` out to have it detected, or name the right one.",
        ) from error


def _decode_detected(data: bytes, declared: str | None) -> str:
    for mark, codec in _BYTE_ORDER_MARKS:
        if data.startswith(mark) and (text := _decoded(data, codec)) is not None:
            return text
    utf8 = _decoded(data, "utf-8")
    if utf8 is not None and "\0" not in utf8:
        if declared is None or utf8.isascii() or _evidently_utf8(data):
            return utf8
        return _declared_text(data, declared) or utf8
    if (codec_without_mark := _unmarked_utf16(data)) is not None:
        return data.decode(codec_without_mark)
    if b"\0" in data:
        raise _binary(f"a zero byte at offset {data.find(0)}")
    if declared is not None and (text := _declared_text(data, declared)) is not None:
        return text
    codec = detect(telling_sample(data))
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise Rejected(
            f"The file looks like {codec}, but byte {data[error.start]:#04x} at offset {error.start} is not.",
            reason="unknown_encoding",
            remedy=SET_ENCODING,
        ) from error


def _declared_text(data: bytes, declared: str) -> str | None:
    codec = known_codec(declared)
    return _decoded(data, codec) if codec is not None else None


def _decoded(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return None


def _decodes(sample: bytes, codec: str) -> bool:
    """Whether the sample decodes, but perhaps for a character that its end cuts through."""
    try:
        codecs.getincrementaldecoder(codec)().decode(sample, final=False)
    except UnicodeDecodeError:
        return False
    return True


def _evidently_utf8(data: bytes) -> bool:
    """Whether there are enough multi-byte sequences that a text in another encoding would not be valid by chance."""
    return sum(1 for _ in zip(range(8), _UTF8_SEQUENCE.finditer(data), strict=False)) == 8


def _unmarked_utf16(data: bytes) -> str | None:
    """UTF-16 of one byte order, when no other reading makes sense."""
    if len(data) % 2:
        return None
    head = data[:_SAMPLE_BYTES]
    zeros = (head[0::2].count(0), head[1::2].count(0))
    for codec, high, low in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
        mostly_latin = zeros[high] * 2 > len(head) // 2 and zeros[low] == 0
        with_latin = zeros[high] > 0 and zeros[low] == 0
        text = head.decode(codec, "ignore") if mostly_latin or with_latin else ""
        if (mostly_latin and text.isprintable() or _readable(text) and (mostly_latin or reads_as_chinese(text))) and (
            _decoded(data, codec) is not None
        ):
            return codec
    return None


def _readable(text: str) -> bool:
    """Whether there is text, without control characters other than those of lines and columns."""
    return bool(text) and text.translate({9: None, 10: None, 12: None, 13: None}).isprintable()


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


def _utf8_errors(sample: bytes) -> int | None:
    """How many places of an otherwise clear UTF-8 text are damaged; None when the sample is no such text."""
    stray = _UTF8_SEQUENCE.sub(b"", sample)
    stray_bytes = len(stray) - len(stray.translate(None, _ABOVE_ASCII))
    # Text in GB18030 holds sequences that are UTF-8 by chance, but then most of its bytes are not.
    if stray_bytes * 10 > len(sample) - len(stray):
        return None
    return len(re.findall(rb"[\x80-\xff]+", stray))


def _statistically_detected(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    candidates = from_bytes(sample, threshold=0.15, preemptive_behaviour=False)
    best = candidates.best()
    if best is None or best.coherence < 0.4:
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


@cache
def _common_hanzi() -> frozenset[str]:
    """GB 2312's first level: the 3,755 most used characters, over 99 % of any modern text, plus some punctuation."""
    pairs = (bytes((row, cell)) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF))
    return frozenset(pair.decode("gb2312", "ignore") for pair in pairs) - {""}
