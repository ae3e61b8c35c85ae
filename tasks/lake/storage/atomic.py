"""Files that are either whole or absent, and disk failures as messages with a remedy.

A file is written under a temporary name, flushed, renamed, and the rename flushed: a reader that finds the final name
finds the whole file, whatever was killed or unplugged. Temporary names begin with a dot and end in `.tmp`; the holder
of the lease deletes those that a killed run left. Objects need none of this: see `tasks.lake.storage.object_path`.

Who may read a file is decided by its folder: a new file or folder has the permissions of the one that it is made in.
"""

import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake.storage.location import LakePath, parquet_file
from millrace.tasks.lake.storage.object_path import ObjectPath

Checkpoint = Callable[[str], None]
"""Called with the name of the step that has just become durable. Crash tests end the process in it."""

_DAMAGED = (OSError, ValueError, KeyError, IndexError, pa.ArrowException)
"""What pyarrow has been seen to raise over altered Parquet files, footers above all, which have no checksum."""

_ROWS_AT_A_TIME = 1 << 16
"""The writer holds a row group encoded before it writes it."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that cannot be used, and why, as a sentence that ends in the remedy."""

    path: LakePath
    message: str


def no_checkpoint(step: str) -> None:
    """The default checkpoint: does nothing."""


@contextmanager
def translate_os_errors(path: LakePath, action: str) -> Iterator[None]:
    """Turn an OSError of the body into a LakeError that names `path`, the action ("Writing"), and the remedy."""
    try:
        yield
    except OSError as error:
        raise LakeError(_explained(error, path, action)) from error


@contextmanager
def translate_read_errors(path: LakePath, damaged: Callable[[str], LakeError]) -> Iterator[None]:
    """Turn what reading the file at `path` raises into what it means.

    Raises:
        FileNotFoundError: There is no such file.
        LakeUnreachable: The system refuses (rights, limits, a lost network drive), which says nothing about the file.
        LakeError: The file is damaged: what `damaged` makes of the reason.
    """
    try:
        yield
    except (FileNotFoundError, MemoryError):
        raise
    except OSError as error:
        if error.errno not in {None, errno.EIO}:
            raise LakeUnreachable(_explained(error, path, "Reading")) from error
        raise damaged(first_line(error)) from error
    except _DAMAGED as error:
        raise damaged(first_line(error)) from error


def _explained(error: OSError, path: LakePath, action: str) -> str:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _FULL:
        remedy = "Free some space, or set lake.path to a larger disk and move the lake there; then run the same command"
        remedy += " again. Nothing that was finished is lost."
    elif error.errno in _FORBIDDEN:
        remedy = "Give this user the rights to read and write there, or set lake.path to a folder where it has them."
    elif error.errno in {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}:
        remedy = "Something else has that name: set lake.path to a folder of its own, or move the other file away."
    else:
        remedy = "Check the disk, then run the same command again. Nothing that was finished is lost."
    return f"{action} {path} failed: {reason}. {remedy}"


def make_folder(path: LakePath, *, mode: int | None = None) -> None:
    """Make the folder at `path` and its parents, durably; among objects there are no folders, and nothing is done.

    `mode`: the permissions of a new folder; None: those of the folder that it is made in.

    Raises:
        LakeError: It cannot be made, or a file is in its way.
    """
    if isinstance(path, ObjectPath):
        return
    with translate_os_errors(path, "Making the folder"):
        if path.is_dir():
            return
        missing = [path, *(parent for parent in path.parents if not parent.exists())]
        if mode is None:
            mode = permissions_of(missing[-1].parent)
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    for folder in missing:
        fsync_folder(folder.parent)


def permissions_of(folder: Path) -> int:
    """Who may read and write in the folder, as the bits of a mode. Raises OSError."""
    return stat.S_IMODE(folder.stat().st_mode) & 0o777


def create_file(path: Path) -> FileIO:
    """A new file, open for unbuffered writing, with the permissions of its folder. Raises OSError."""
    mode = permissions_of(path.parent) & 0o666
    return FileIO(path, "x", opener=lambda name, flags: os.open(name, flags, mode))


def fsync_folder(path: LakePath) -> None:
    """Make the names in the folder at `path` durable: files made, renamed or deleted in it."""
    if isinstance(path, ObjectPath):
        return
    with translate_os_errors(path, "Flushing the folder"):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Some network and FUSE file systems have no fsync for folders; their renames are durable or nothing helps.
            if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
                raise
        finally:
            os.close(descriptor)


def write_atomically(
    path: LakePath, write: Callable[[BinaryIO], None], *, durable: bool = True, checkpoint: Checkpoint = no_checkpoint
) -> None:
    """The file at `path`, replaced at one stroke by what `write` puts into the stream it is given.

    One that need not be `durable` is not flushed: after a power cut it may be torn, and must be able to tell.

    Raises:
        LakeError: The disk is full, read-only or failing; the file at `path`, if any, is as it was.
    """
    if isinstance(path, ObjectPath):
        with translate_os_errors(Path(tempfile.gettempdir()), "Writing to"):
            path.write(write, lambda: checkpoint("written"))
        checkpoint("renamed")
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with translate_os_errors(path, "Writing"):
        try:
            with BufferedWriter(create_file(temporary)) as sink:
                write(sink)
                sink.flush()
                if durable:
                    os.fsync(sink.fileno())
            checkpoint("written")
            temporary.replace(path)
        finally:
            _discard(temporary)
    if durable:
        fsync_folder(path.parent)
    checkpoint("renamed")


def _discard(temporary: Path) -> None:
    """Remove what a failed write left; after a rename there is nothing. The failure itself is what gets reported."""
    try:
        temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in _FORBIDDEN:
            raise


def write_bytes_atomically(data: bytes, path: LakePath) -> None:
    """The file at `path`, replaced at one stroke by `data`. Raises LakeError as `write_atomically` does."""

    def write(sink: BinaryIO) -> None:
        sink.write(data)

    write_atomically(path, write)


def write_table_atomically(
    table: pa.Table, path: LakePath, *, compression: str = "zstd", checkpoint: Checkpoint = no_checkpoint
) -> None:
    """The table as one Parquet file at `path`, with page checksums. Raises LakeError as `write_atomically` does."""
    write_atomically(
        path,
        lambda sink: pq.write_table(
            table, sink, compression=compression, write_page_checksum=True, row_group_size=_ROWS_AT_A_TIME
        ),
        checkpoint=checkpoint,
    )


def read_table(path: LakePath, *, columns: list[str] | None = None, remedy: str) -> pa.Table:
    """The table in the Parquet file at `path`, its checksums verified.

    Raises:
        FileNotFoundError: There is no such file.
        LakeUnreachable: The system does not let this process read it.
        LakeError: It is damaged; the message names it and ends in `remedy`.
    """
    reading = translate_read_errors(path, lambda reason: damaged_error(path, reason, remedy))
    with reading, parquet_file(path, replaced=columns != []) as file:
        return file.read(columns=columns)


def damaged_error(path: LakePath, reason: str, remedy: str) -> LakeError:
    """The error for a damaged file: names it, says why, and ends in `remedy`."""
    return LakeError(f"{path} is damaged and cannot be read ({reason}). {remedy}")


def remove_files(paths: Sequence[LakePath]) -> None:
    """Delete the files, those that are there, in the order given, durably."""
    for path in paths:
        with translate_os_errors(path, "Deleting"):
            path.unlink(missing_ok=True)
    for folder in {path.parent for path in paths}:
        fsync_folder(folder)


def quarantine(path: LakePath) -> None:
    """Rename the file to `*.damaged`, durably, for a person to look at; one that is not there is passed over."""
    with translate_os_errors(path, "Setting aside"):
        if isinstance(path, ObjectPath):
            path.quarantine()
        elif path.exists():
            path.rename(path.with_name(path.name + ".damaged"))
    fsync_folder(path.parent)


def sweep_unfinished(folder: LakePath, *, spared: Iterable[LakePath] = ()) -> list[Path]:
    """Delete the temporary files below `folder` that a killed run left, and return their paths.

    Only the holder of the lease may call this. The folders `spared` are left out: other processes write there.
    """
    if isinstance(folder, ObjectPath):
        return []
    others = {str(path) for path in spared}
    found = [
        Path(parent, name)
        for parent, _, names in os.walk(folder)
        if parent not in others
        for name in names
        if name.startswith(".") and name.endswith(".tmp")
    ]
    for path in found:
        with translate_os_errors(path, "Deleting"):
            path.unlink(missing_ok=True)
    return found


def first_line(error: Exception) -> str:
    """The first line of an error's text, for a message of one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
