"""What becomes of each entry of an archive, by its name: read, left out as it would be in a folder, or a reject.

Entries are unpacked into files without a name, so that no name can lead anywhere; names that try are refused
nevertheless, since documents are called after them.
"""

import lzma
import re
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import IO, BinaryIO

from millrace.tasks.documents.encoding import decode
from millrace.tasks.documents.encoding.language import is_everyday
from millrace.tasks.documents.formats import FORMATS, LeftOutMember, Member
from millrace.tasks.documents.listing import Selection
from millrace.tasks.documents.member_budget import MemberBudget
from millrace.tasks.documents.member_names import DistinctNames, shown_name
from millrace.tasks.errors import Rejected
from millrace.tasks.records import LeftOut, Reject

A_LINK, A_DEVICE = "a link", "a device or pipe"
_DRIVE = re.compile(r"[A-Za-z]:")
_MAX_NAME_CHARACTERS = 1_000
_BLOCK_BYTES = 1 << 20
_BLOCKS_PER_BEAT = 64
FAULTS = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, OSError, ValueError, OverflowError, IndexError),
)
"""What the libraries raise for broken archives."""
_REPACK = "Unpack the archive, and pack it again with a program of today, or put its files into the source."


class Entries:
    """The entries of one archive, called `name`, as they come; `at` is as of a reader."""

    def __init__(self, name: str, budget: MemberBudget, at: Callable[[str], None]) -> None:
        self._archive = name
        self._budget = budget
        self._at = at
        self._names = DistinctNames()
        self._selection = Selection.of((), ())
        self._left_out_folder = ""

    def taken(
        self, path: str, source: Callable[[], IO[bytes]], *, kind: str = ""
    ) -> Iterator[Member | LeftOutMember | Reject]:
        """The entry as a member, whose bytes `source` gives; or how it is left out or refused.

        `kind` is "", or says what it is when it is no regular file: `A_LINK`, `A_DEVICE`.
        """
        parts = path.replace("\\", "/").split("/")
        name = shown_name("/".join(part for part in parts if part not in {"", "."}), _MAX_NAME_CHARACTERS + 1)
        suffix = PurePosixPath(name).suffix.lower()
        if parts[0] == "" or _DRIVE.match(path) or ".." in parts:
            yield self.refused(path, "unsafe_name", "Its name leads out of the archive.", _REPACK)
        elif not name or len(name) > _MAX_NAME_CHARACTERS:
            bound = f"{_MAX_NAME_CHARACTERS:,} characters"
            yield self.refused(path, "unsafe_name", f"Its name is empty, or has more than {bound}.", _REPACK)
        elif (counted := self._left_out(name)) is not None:
            if counted.total:
                yield LeftOutMember(f"{self._archive}#{name}", counted)
        elif kind and suffix not in FORMATS:
            counted = LeftOut({suffix: 1}) if kind == A_LINK else LeftOut(not_regular=1)
            yield LeftOutMember(f"{self._archive}#{name}", counted)
        elif kind:
            yield self.refused(
                path, "not_regular", f"It is {kind}, no file.", "Put the file that is meant in its place."
            )
        elif not self._names.take_as_it_is(name):
            yield self.refused(
                path, "duplicate_name", "The archive has another entry of this name before it, which was read.",
                "Unpack the archive and pack it again, or delete one of the two.",
            )  # fmt: skip
        else:
            yield Member(name, partial(self._unpacked, source, f"{name}#"))

    def without_name(self, raw: str) -> Reject:
        """The Reject of an entry whose name cannot be read."""
        return self.refused(
            raw, "name_not_utf8", "Its name is in an encoding that is not known.",
            "Unpack the archive, rename the file, and pack it again.",
        )  # fmt: skip

    def refused(self, path: str, reason: str, message: str, remedy: str) -> Reject:
        """The Reject of one entry."""
        return Reject("read", f"{self._archive}#{shown_name(path, _MAX_NAME_CHARACTERS)}", "", reason, message, remedy)

    def _left_out(self, name: str) -> LeftOut | None:
        """How the entry counts if a folder would leave it out; a folder that is not entered counts once, so then 0."""
        if self._left_out_folder and name.startswith(self._left_out_folder):
            return LeftOut()
        path = ""
        *folders, _ = name.split("/")
        for folder in folders:
            path += folder
            if not self._selection.takes_folder(folder, path):
                self._left_out_folder = path + "/"
                return self._selection.why_left_out(folder, path, is_folder=True).counted()
            path += "/"
        file = name.rpartition("/")[2]
        why = self._selection.why_left_out(file, name, is_folder=False)
        return None if why.field == "unsupported" else why.counted()

    def _unpacked(self, source: Callable[[], IO[bytes]], unit: str) -> BinaryIO:
        """A file without a name that holds the bytes of an entry.

        Raises:
            Rejected: "too_large": it gives more than may come out of the archive; "damaged"; what `source` raises.
        """
        content = tempfile.TemporaryFile()  # noqa: SIM115 - whoever takes the member closes it
        try:
            with source() as packed:
                blocks = 0
                while block := packed.read(_BLOCK_BYTES):
                    self._budget.take_bytes(len(block))
                    content.write(block)
                    blocks += 1
                    if blocks % _BLOCKS_PER_BEAT == 0:
                        self._at(unit)
        except FAULTS as error:
            content.close()
            raise damaged(error) from error
        except BaseException:
            content.close()
            raise
        return content


def text_of_name(raw: bytes, otherwise: str) -> str | None:
    """A name that does not say in which encoding it is; of `otherwise` if it is in no encoding of today.

    >>> text_of_name("报告/水位.txt".encode("gbk"), "cp437"), text_of_name("Möller.txt".encode("cp437"), "cp437")
    ('报告/水位.txt', 'Möller.txt')
    """
    for codec in ("utf-8", "gb18030"):
        try:
            text = raw.decode(codec)
        except UnicodeDecodeError:
            continue
        if codec == "utf-8" or all(is_everyday(character) for character in text if character > "\x7f"):
            return text
    try:
        return raw.decode(otherwise) if otherwise else decode(raw)
    except (Rejected, UnicodeDecodeError):
        return None


def damaged(error: Exception) -> Rejected:
    """The fault of an archive, or of one entry, that cannot be unpacked."""
    return Rejected(
        f"It cannot be unpacked: {type(error).__name__}: {error}",
        reason="damaged",
        remedy="Test the archive with the program that made it (`unzip -t`, `tar -t`), and copy or pack it again.",
    )
