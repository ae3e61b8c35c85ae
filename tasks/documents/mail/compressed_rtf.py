"""The compression of RTF in Outlook's files. Source: Microsoft's open specification [MS-OXRTFCP], read 2026-12."""

import struct

_HEADER = struct.Struct("<LL4sL")
_COMPRESSED, _AS_IT_IS = b"LZFu", b"MELA"
_WINDOW = 4096
_KNOWN_BEFORE = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans Serif"
    rb"SymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    b"\r\n"
    rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)


def decompressed_rtf(data: bytes) -> bytes:
    """The RTF text in `data`.

    Raises:
        ValueError: it is not compressed RTF, or ends too early.
    """
    if len(data) < _HEADER.size:
        raise ValueError("compressed RTF without a header")
    _, raw_size, kind, _ = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if kind == _AS_IT_IS:
        return body[:raw_size]
    if kind != _COMPRESSED:
        raise ValueError(f"compressed RTF of the kind {kind!r}")
    try:
        return _expanded(body)
    except IndexError:
        raise ValueError("compressed RTF that ends too early, or refers to what was not written") from None


def _expanded(body: bytes) -> bytes:
    written = bytearray(_KNOWN_BEFORE)  # all that was written, of which the window is the end
    position = 0
    while True:
        control, position = body[position], position + 1
        for bit in range(8):
            if not control >> bit & 1:
                written.append(body[position])
                position += 1
                continue
            reference, position = body[position] << 8 | body[position + 1], position + 2
            back = (len(written) - (reference >> 4)) % _WINDOW
            if not back:  # the mark of the end
                return bytes(written[len(_KNOWN_BEFORE) :])
            for _ in range((reference & 0xF) + 2):
                written.append(written[-back])
