"""The storages of Outlook's files and the MAPI properties in them.

Source: Microsoft's open specifications [MS-OXMSG] 2.1 to 2.4 (streams and storages), [MS-OXPROPS] 2 (the properties'
ids) and [MS-OXCDATA] 2.11.1 (their types), read 2026-12.
"""

import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING

from millrace.tasks.documents.encoding import decode, known_codec
from millrace.tasks.errors import Rejected

if TYPE_CHECKING:
    from olefile import OleFileIO

_PROPERTIES = "__properties_version1.0"
_TOP_HEADER, _EMBEDDED_HEADER, _PART_HEADER = 32, 24, 8
_INTEGER, _TIME = 0x0003, 0x0040
_UNICODE, _BYTES_TEXT, _BINARY, _OBJECT = 0x001F, 0x001E, 0x0102, 0x000D
_FILETIME_BEGIN = datetime(1601, 1, 1, tzinfo=UTC)
_CODECS = {20127: "ascii", 20866: "koi8-r", 21866: "koi8-u", 50220: "iso2022_jp", 51932: "euc_jp", 51949: "euc_kr"}


class Property(IntEnum):
    """The ids of the properties that are read."""

    SUBJECT = 0x0037
    SUBMITTED = 0x0039
    SENT_FOR_NAME = 0x0042
    SENT_FOR_ADDRESS = 0x0065
    TRANSPORT_HEADERS = 0x007D
    RECIPIENT_TYPE = 0x0C15
    SENDER_NAME = 0x0C1A
    SENDER_ADDRESS = 0x0C1F
    DISPLAYED_CC = 0x0E03
    DISPLAYED_TO = 0x0E04
    DELIVERED = 0x0E06
    BODY = 0x1000
    BODY_RTF = 0x1009
    BODY_HTML = 0x1013
    MESSAGE_ID = 0x1035
    IN_REPLY_TO = 0x1042
    DISPLAY_NAME = 0x3001
    ADDRESS = 0x3003
    ATTACHED_DATA = 0x3701
    ATTACHED_NAME = 0x3704
    ATTACHED_METHOD = 0x3705
    ATTACHED_LONG_NAME = 0x3707
    ATTACHED_TYPE = 0x370E
    ATTACHED_CONTENT_ID = 0x3712
    ATTACHED_FLAGS = 0x3714
    SMTP_ADDRESS = 0x39FE
    INTERNET_CODEPAGE = 0x3FDE
    MESSAGE_CODEPAGE = 0x3FFD
    SENDER_SMTP_ADDRESS = 0x5D01
    SENT_FOR_SMTP_ADDRESS = 0x5D02
    ATTACHED_HIDDEN = 0x7FFE


class Storage:
    """One storage: a message, a recipient or an attachment. `codec` is for texts that are not in Unicode."""

    def __init__(self, ole: "OleFileIO", path: tuple[str, ...], *, is_message: bool, codec: str | None = None) -> None:
        self._ole = ole
        self._path = path
        header = (_EMBEDDED_HEADER if path else _TOP_HEADER) if is_message else _PART_HEADER
        self._values = dict(self._fixed_values(header))
        self._codec = codec or codec_of(self.integer(Property.MESSAGE_CODEPAGE))

    def _fixed_values(self, header: int) -> Iterator[tuple[tuple[int, int], bytes]]:
        """The values of fixed length, 8 bytes each, by id and type."""
        data = self._stream(_PROPERTIES) or b""
        for offset in range(header, len(data) - 15, 16):
            kind, number = struct.unpack_from("<HH", data, offset)
            yield (number, kind), data[offset + 8 : offset + 16]

    def _stream(self, name: str) -> bytes | None:
        path = [*self._path, name]
        return self._ole.openstream(path).read() if self._ole.exists(path) and self._ole.get_type(path) == 2 else None

    def integer(self, number: Property) -> int:
        """A whole number, or a truth value as 0 or 1; 0 where it is not there."""
        value = self._values.get((number, _INTEGER)) or self._values.get((number, 0x000B))
        return int(struct.unpack("<L", value[:4])[0]) if value else 0

    def moment(self, number: Property) -> datetime | None:
        """A moment in UTC; None where it is not there, or out of range."""
        value = self._values.get((number, _TIME))
        try:
            return _FILETIME_BEGIN + timedelta(microseconds=struct.unpack("<Q", value)[0] // 10) if value else None
        except OverflowError:
            return None

    def binary(self, number: Property) -> bytes | None:
        """Bytes; None where they are not there."""
        return self._stream(f"__substg1.0_{number:04X}{_BINARY:04X}")

    def text(self, number: Property) -> str:
        """A text, as it is; "" where it is not there."""
        if (unicode := self._stream(f"__substg1.0_{number:04X}{_UNICODE:04X}")) is not None:
            return unicode.decode("utf-16-le", "replace").rstrip("\0")
        data = (self._stream(f"__substg1.0_{number:04X}{_BYTES_TEXT:04X}") or b"").rstrip(b"\0")
        if data.isascii():
            return data.decode()
        try:
            return decode(data, declared=self._codec)
        except Rejected:
            return data.decode(self._codec or "cp1252", "replace")

    def line(self, number: Property) -> str:
        """A text in one line."""
        return " ".join(self.text(number).split())

    def parts(self, prefix: str) -> Iterator["Storage"]:
        """The storages in this one whose names begin so, in their order: recipients or attachments."""
        depth = len(self._path)
        names = {
            entry[depth]
            for entry in self._ole.listdir(streams=False, storages=True)
            if len(entry) > depth and tuple(entry[:depth]) == self._path and entry[depth].startswith(prefix)
        }
        for name in sorted(names):
            yield Storage(self._ole, (*self._path, name), is_message=False, codec=self._codec)

    def message(self) -> "Storage | None":
        """The message that an attachment is, if it is one."""
        path = (*self._path, f"__substg1.0_{Property.ATTACHED_DATA:04X}{_OBJECT:04X}")
        if not self._ole.exists([*path, _PROPERTIES]):
            return None
        return Storage(self._ole, path, is_message=True)

    @property
    def codec(self) -> str | None:
        """Python's name of the encoding of texts that are not in Unicode; None if the file does not say."""
        return self._codec


def codec_of(codepage: int) -> str | None:
    """Python's name for a code page of Windows; None for none or one that it does not know.

    >>> codec_of(936), codec_of(65001), codec_of(28592), codec_of(0)
    ('gb18030', 'utf-8', 'iso8859-2', None)
    """
    if 28591 <= codepage <= 28606:
        return known_codec(f"iso8859-{codepage - 28590}")
    return known_codec(_CODECS.get(codepage, f"cp{codepage}")) if codepage else None
