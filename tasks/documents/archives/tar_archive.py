"""Tar archives, plain or in gzip, and single files in gzip. Source: POSIX.1-2017, pax; RFC 1952.

A plain one is read by seeking, one in gzip as a stream, so that nothing but one entry is ever unpacked at a time.
"""

import gzip
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import PurePosixPath
from typing import IO, BinaryIO, Literal, cast

from millrace.tasks.documents.archives.entries import A_DEVICE, A_LINK, FAULTS, Entries, damaged, text_of_name
from millrace.tasks.documents.formats import LeftOutMember, Member, abandoned_unit
from millrace.tasks.documents.member_budget import MAX_ENTRIES, MemberBudget, too_many_entries
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Reject

_MAGIC, _MAGIC_OFFSET = b"ustar", 257


def read_tar(
    opened: BinaryIO, name: str, *, skip: Mapping[str, str], at: Callable[[str], None], budget: MemberBudget
) -> Iterator[Member | LeftOutMember | Reject]:
    """The files in a plain archive, in its order.

    Raises:
        Rejected: it is damaged, or holds too much.
    """
    yield from _entries(opened, "r:", Entries(name, budget, at), _Units(name, skip, at))


def read_gzip(
    opened: BinaryIO, name: str, *, skip: Mapping[str, str], at: Callable[[str], None], budget: MemberBudget
) -> Iterator[Member | LeftOutMember | Reject]:
    """The files in a packed archive, in its order; or the one file that is packed, called as this one without `.gz`.

    Raises:
        Rejected: it is damaged, or holds too much.
    """
    entries = Entries(name, budget, at)
    source = cast("IO[bytes]", gzip.GzipFile(fileobj=opened))
    try:
        head = source.read(_MAGIC_OFFSET + len(_MAGIC))
        source.seek(0)
    except FAULTS as error:
        raise damaged(error) from error
    path = PurePosixPath(name)
    if head.endswith(_MAGIC) or path.suffix.lower() == ".tgz" or path.stem.lower().endswith(".tar"):
        yield from _entries(source, "r|", entries, _Units(name, skip, at))
    else:
        yield from entries.taken(path.stem.rpartition("#")[2], lambda: source)


@dataclass(frozen=True, slots=True)
class _Units:
    """The steps from one entry to the next, each with a deadline: a packed archive is read through, wanted or not."""

    name: str
    skip: Mapping[str, str]
    at: Callable[[str], None]

    def begin(self, number: int) -> Reject | None:
        """The next step begins; or the Reject of the archive from there on, if a reader hung at it."""
        unit = f"entry {number:,}"
        if unit in self.skip:
            return abandoned_unit(self.name, "", self.skip[unit], f"Unpack it; nothing after {unit} was read.")
        self.at(unit)
        return None


def _entries(
    opened: IO[bytes], mode: Literal["r:", "r|"], entries: Entries, units: _Units
) -> Iterator[Member | LeftOutMember | Reject]:
    if _has_too_many(opened, mode, units):
        raise too_many_entries()
    with _opened(opened, mode) as archive:
        for number in count(1):
            if (abandoned := units.begin(number)) is not None:
                yield abandoned
                return
            if (info := _next(archive)) is None:
                return
            raw = info.name.encode("utf-8", "surrogateescape")
            path = text_of_name(raw, "")
            if path is None:
                yield entries.without_name(raw.decode("utf-8", "replace"))
            elif not info.isdir():
                yield from entries.taken(path, partial(_source, archive, info), kind=_kind(info))


def _has_too_many(opened: IO[bytes], mode: Literal["r:", "r|"], units: _Units) -> bool:
    """Whether the archive has more than `MAX_ENTRIES`; it is read through once for that, before anything is taken."""
    with _opened(opened, mode) as archive:
        for number in range(1, MAX_ENTRIES + 2):
            try:
                if units.begin(number) is not None or _next(archive) is None:
                    return False
            except Rejected:  # it is damaged from here on, which is said when the entries before are read
                return False
    return True


def _opened(opened: IO[bytes], mode: Literal["r:", "r|"]) -> tarfile.TarFile:
    opened.seek(0)
    try:
        return tarfile.open(fileobj=opened, mode=mode)
    except FAULTS as error:
        raise damaged(error) from error


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        info = archive.next()
    except FAULTS as error:
        raise damaged(error) from error
    archive.members.clear()  # type: ignore[attr-defined] # it would remember all of them
    return info


def _source(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    source = archive.extractfile(info)
    assert source is not None, "it is a regular file"
    return source


def _kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return A_LINK
    return "" if info.isreg() else A_DEVICE
