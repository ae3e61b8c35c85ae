"""ZIP archives. Source: PKWARE's APPNOTE 6.3.10; the field "Info-ZIP Unicode Path" of its section 4.6.9."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import IO, BinaryIO

from millrace.tasks.documents.archives.entries import A_DEVICE, A_LINK, FAULTS, Entries, damaged, text_of_name
from millrace.tasks.documents.formats import LeftOutMember, Member
from millrace.tasks.documents.member_budget import MAX_ENTRIES, MemberBudget, too_many_entries
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Reject

_MAX_DIRECTORY_BYTES = 32 << 20  # 100,000 entries with long names; zipfile makes objects of all of them at once
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_MAX_COMMENT = 0xFFFF
_ENCRYPTED, _UTF8 = 0x1, 0x800
_UNICODE_PATH = 0x7075


def read_zip(
    opened: BinaryIO, name: str, *, skip: Mapping[str, str], at: Callable[[str], None], budget: MemberBudget
) -> Iterator[Member | LeftOutMember | Reject]:
    """The files in the archive, in the order of its directory.

    Raises:
        Rejected: it is damaged, or holds too much.
    """
    del skip  # what hung a reader is not opened again: the unit of an entry is that of its document
    _check_directory(opened)
    try:
        archive = zipfile.ZipFile(opened)
    except (*FAULTS, NotImplementedError, RuntimeError) as error:
        raise damaged(error) from error
    entries = Entries(name, budget, at)
    with archive:
        if len(archive.infolist()) > MAX_ENTRIES:
            raise too_many_entries()
        for info in archive.infolist():
            path = _path(info)
            if path is None:
                yield entries.without_name(info.filename)
            elif not path.endswith(("/", "\\")):
                yield from entries.taken(path, partial(_source, archive, info), kind=_kind(info))


def _source(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    if info.flag_bits & _ENCRYPTED:
        raise Rejected("The entry is encrypted.", reason="encrypted", remedy="Unpack the archive with its password.")
    try:
        return archive.open(info)
    except (NotImplementedError, RuntimeError) as error:
        raise Rejected(
            f"The entry is packed in a way that is not known ({error}).", reason="unsupported_format",
            remedy="Unpack the archive and pack it again with the usual method (Deflate).",
        ) from error  # fmt: skip


def _kind(info: zipfile.ZipInfo) -> str:
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        return A_LINK
    return "" if stat.S_IFMT(mode) in {0, stat.S_IFREG} else A_DEVICE


def _path(info: zipfile.ZipInfo) -> str | None:
    """The name of an entry. Without the flag for UTF-8 it is in the code page of whoever packed it, mostly."""
    if info.flag_bits & _UTF8 or info.orig_filename.isascii():
        return info.orig_filename
    raw = info.orig_filename.encode("cp437")
    return _unicode_path(info.extra, raw) or text_of_name(raw, "cp437")


def _unicode_path(extra: bytes, raw: bytes) -> str:
    """The name in UTF-8 that some programs put beside the one in their code page; "" if there is none for it."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _UNICODE_PATH and field[:5] == struct.pack("<BL", 1, zlib.crc32(raw)):
            return field[5:].decode("utf-8", "replace")
    return ""


def _check_directory(opened: BinaryIO) -> None:
    """Raise `Rejected` when the end record announces more than may be read; zipfile says what else is wrong."""
    size_bytes = opened.seek(0, 2)
    start = max(0, size_bytes - _END.size - _MAX_COMMENT)
    opened.seek(start)
    tail = opened.read()
    found = tail.rfind(b"PK\5\6")
    if found < 0 or len(tail) - found < _END.size:
        return
    *_, entries, directory_bytes, _, _ = _END.unpack_from(tail, found)
    locator = found - _LOCATOR64.size
    if locator >= 0 and tail[locator : locator + 4] == b"PK\6\7":
        _, _, offset, _ = _LOCATOR64.unpack_from(tail, locator)
        opened.seek(min(offset, size_bytes))
        record = opened.read(_END64.size)
        if len(record) == _END64.size and record.startswith(b"PK\6\6"):
            *_, entries, directory_bytes, _ = _END64.unpack(record)
    if entries > MAX_ENTRIES or directory_bytes > _MAX_DIRECTORY_BYTES:
        raise too_many_entries()
