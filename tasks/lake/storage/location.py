"""Where a file of the lake is: a path on a disk, or an object on S3-compatible storage.

Most of this room does not care: an `ObjectPath` has those of `pathlib.Path`'s methods that reading and listing need.
What differs is here, and for writing in `tasks.lake.storage.atomic`.
"""

import contextlib
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.tasks.lake.storage.object_path import ObjectPath

LakePath = Path | ObjectPath

_SMALL_BYTES = 4 << 20


def parquet_file(path: LakePath, *, replaced: bool = False, verify: bool = True) -> pq.ParquetFile:
    """The Parquet file at `path`; with `verify` its checksums are. Raises FileNotFoundError, and what pyarrow does.

    An object that may be `replaced` meanwhile is fetched at once, and so is a small one; others are read in places.
    """
    if not isinstance(path, ObjectPath):
        return pq.ParquetFile(path, page_checksum_verification=verify)
    if replaced or path.size_bytes() <= _SMALL_BYTES:
        return pq.ParquetFile(pa.BufferReader(path.read_bytes()), page_checksum_verification=verify)
    return pq.ParquetFile(path.open(), page_checksum_verification=verify, pre_buffer=True)


def files_in(folder: LakePath) -> Iterator[tuple[str, int]]:
    """Name and size in bytes of what is in the folder; nothing where it is not there."""
    if isinstance(folder, ObjectPath):
        yield from ((path.name, path.size) for path in folder.iterdir() if path.size is not None)
        return
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            yield path.name, path.stat().st_size
        except FileNotFoundError:
            continue  # deleted since it was listed


def names_in(folder: LakePath) -> list[str]:
    """The names of what is in the folder; none where it is not there."""
    if isinstance(folder, ObjectPath):
        return [path.name for path in folder.iterdir()]
    try:
        return os.listdir(folder)  # noqa: PTH208 - names: the paths of ten thousand take long to make
    except (FileNotFoundError, NotADirectoryError):
        return []


def versions_in(folder: LakePath) -> dict[str, str]:
    """The JSON files in the folder by name, each with what changes when it is replaced: its size and time."""
    if isinstance(folder, ObjectPath):
        return {path.name: f"{path.size} {path.changed}" for path in folder.glob("*.json")}
    if not folder.is_dir():
        return {}
    versions = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".json") and not entry.name.startswith("."):
                with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                    known = entry.stat()
                    versions[entry.name] = f"{known.st_size} {known.st_mtime_ns}"
    return versions


def local_folder(place: LakePath) -> Path:
    """Where on this machine's disk the things of `place` are: there, or for objects in a folder of their own."""
    if not isinstance(place, ObjectPath):
        return place
    return place.store.local / sha256(f"{place.store.endpoint} {place}".encode()).hexdigest()[:16]


def size_of(path: LakePath) -> int:
    """The file's size in bytes. Raises FileNotFoundError, OSError, LakeError."""
    return path.size_bytes() if isinstance(path, ObjectPath) else path.stat().st_size
