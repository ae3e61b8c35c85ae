"""Which row of which part holds a key: a SQLite table, derived from the parts' key columns and never the truth.

It exists so that lookups stay cheap without holding 100 million keys in memory: about 30 bytes a key on disk, some
microseconds a lookup. Whatever is wrong with it, it is deleted and made again (4 seconds of CPU for a million keys).

SQLite does not notice every altered byte: one in an inner page makes keys unfindable, and their texts would be embedded
again. So a checksum of the whole file lies beside it (16 ms for a million keys) while nobody changes it. A writer uses
only an index that agrees with its checksum; one without, as a killed writer leaves it, is made again.

A key points to a span and a row in it. A span is what one journal became; a compaction puts several one after the other
into one file, and only the table of spans changes.

`KeySort` sorts more keys than fit into memory, for filling an index. `SeenKeys` remembers keys until the process ends.
"""

import os
import sqlite3
import tempfile
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake.storage.atomic import translate_os_errors, translate_read_errors
from millrace.tasks.lake.storage.json_file import read_json, write_json
from millrace.tasks.lake.vectors.schema import KeyBytes, as_keys

PREFIX_BYTES = 16
"""Bytes of a key that an index keeps. Two of 100 million texts share 16 bytes with odds of 1 in 10^22, and a reader
compares the whole key with the part's own in any case."""

_KEYS_A_FILE = 1 << 20
_RECORD = np.dtype([("high", ">u8"), ("low", ">u8"), ("span", "<i8"), ("row", "<i8")])


class KeySort:
    """Sorts keys: spread over files by their first bits, each file is then sorted in memory.

    The files are in `folder`; None: in the system's temporary folder.
    """

    def __init__(self, folder: Path | None, rows: int) -> None:
        self._folder = folder
        self._count = max(1, min(512, rows // _KEYS_A_FILE))

    def __enter__(self) -> Self:
        folder = self._sort_folder = Path(tempfile.gettempdir()) if self._folder is None else self._folder
        with translate_os_errors(folder, "Sorting keys in"):
            # Without names: nothing is left behind, however this ends.
            self._files: list[BinaryIO] = [
                os.fdopen(_unnamed(folder), "w+b", buffering=1 << 14) for _ in range(self._count)
            ]
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            with translate_os_errors(self._sort_folder, "Sorting keys in"):
                file.close()

    def add(self, keys: KeyBytes, span: int) -> None:
        """Take in the keys of a span: uint8, shape (rows, 32), in row order."""
        records = np.empty(len(keys), _RECORD)
        prefixes = np.ascontiguousarray(keys[:, :PREFIX_BYTES]).view(">u8")
        records["high"], records["low"] = prefixes[:, 0], prefixes[:, 1]
        records["span"], records["row"] = span, np.arange(len(keys))
        files = (records["high"] >> np.uint64(40)) * self._count >> np.uint64(24)
        order = np.argsort(files, kind="stable")
        bounds = np.searchsorted(files[order], np.arange(self._count + 1))
        records = records[order]
        with translate_os_errors(self._sort_folder, "Sorting keys in"):
            for file, start, end in zip(self._files, bounds[:-1], bounds[1:], strict=True):
                file.write(records[start:end].tobytes())

    def ascending(self) -> Iterator[Iterator[tuple[bytes, int, int]]]:
        """Prefix, span and row of every key, a file's worth at a time."""
        for file in self._files:
            with translate_os_errors(self._sort_folder, "Sorting keys in"):
                file.seek(0)
                records = np.frombuffer(file.read(), _RECORD)
            records = records[np.lexsort((records["span"], records["low"], records["high"]))]
            joined = np.stack([records["high"], records["low"]], axis=1).astype(">u8").tobytes()
            prefixes = (joined[i : i + PREFIX_BYTES] for i in range(0, len(joined), PREFIX_BYTES))
            yield zip(prefixes, records["span"].tolist(), records["row"].tolist(), strict=True)


def _unnamed(folder: Path) -> int:
    """A file in the folder without a name, so that it is deleted when it is closed."""
    descriptor, name = tempfile.mkstemp(prefix=".sort-", suffix=".tmp", dir=folder)
    Path(name).unlink()
    return descriptor


_SEALED_AT_ONCE_BYTES = 256 << 20
"""Up to this size an index gets its checksum after each part (0.15 s), so that a kill seldom costs a rebuild; a larger
one when it is closed."""

_VERSION = 1
_QUESTION_MARKS = 1_000
_SCHEMA = f"""
CREATE TABLE part (name TEXT PRIMARY KEY, size INTEGER NOT NULL, rows INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE span (id INTEGER PRIMARY KEY AUTOINCREMENT, part TEXT NOT NULL, start INTEGER NOT NULL) STRICT;
CREATE TABLE superseded (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE vector (key BLOB PRIMARY KEY, span INTEGER NOT NULL, row INTEGER NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""


class IndexDamaged(LakeError):
    """The index cannot be trusted; delete it and make it again."""


class KeyIndex:
    """The index in the file at `path`; with None, a private one that SQLite keeps in a temporary file.

    `verified`: the file was seen to agree with its checksum, and does so until the next change. One that is `unproven`
    counts as damaged whatever SQLite says of it.
    """

    def __init__(
        self, path: Path | None, connection: sqlite3.Connection, *, verified: bool = False, unproven: bool = False
    ) -> None:
        self._path = path
        self._writer = connection
        self._reader = connection
        self._writing = threading.Lock()
        self._reading = self._writing
        self._verified = verified
        self._unproven = unproven

    @classmethod
    def temporary(cls) -> Self:
        """An empty index that ends with the process."""
        connection = connect("")
        connection.executescript(_SCHEMA)
        return cls(None, connection)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The index at `path` for its one writer; a new one when it is missing, damaged or of another version."""
        if not _agrees(path):
            return cls.renew(path)
        try:
            with index_errors(path):
                return cls._open(path, verified=True)
        except IndexDamaged:
            return cls.renew(path)

    @classmethod
    def renew(cls, path: Path) -> Self:
        """An empty index at `path`, whatever was there."""
        with translate_os_errors(path, "Deleting"):
            _checksum_path(path).unlink(missing_ok=True)
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        with index_errors(path):
            return cls._open(path, verified=False)

    @classmethod
    def _open(cls, path: Path, *, verified: bool) -> Self:
        connection = connect(str(path))
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        elif version != _VERSION:
            connection.close()
            raise sqlite3.DatabaseError(f"version {version}")
        index = cls(path, connection, verified=verified)
        # Lookups on a connection of their own do not wait for a part that is being added.
        index._reader = connect(str(path))
        index._reading = threading.Lock()
        return index

    @classmethod
    def open_read_only(cls, path: Path) -> Self | None:
        """The index at `path` as it is, None when it cannot be used.

        One without a checksum is used too: its writer is at work, or was killed, and a reader embeds nothing.
        """
        if _checksum_path(path).exists() and not _agrees(path) and _checksum_path(path).exists():
            return None
        for options in ("mode=ro", "mode=ro&immutable=1"):  # a folder that cannot be written has no room for locks
            try:
                connection = connect(f"{path.absolute().as_uri()}?{options}", uri=True)
                if connection.execute("PRAGMA user_version").fetchone()[0] == _VERSION:
                    return cls(path, connection, unproven=True)
            except (sqlite3.Error, ValueError):
                continue
        return None

    def seal(self) -> None:
        """Write the checksum of the file, so that the next writer can use it; while readers are in the way, nothing."""
        if self._path is None or self._verified:
            return
        with self._writing, index_errors(self._path):
            busy = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not busy:
                size, checksum = _measured(self._path)
                write_json(_checksum_path(self._path), {"size_bytes": size, "index_crc32": checksum})
                self._verified = True

    def sizes(self) -> dict[str, int]:
        """The parts that it knows: file name to size in bytes."""
        return dict(self._rows("SELECT name, size FROM part"))

    def rows(self) -> dict[str, int]:
        """The parts that it knows: file name to rows."""
        return dict(self._rows("SELECT name, rows FROM part"))

    def superseded(self) -> set[str]:
        """Parts that were compacted into others, whose files may still be there."""
        return {name for name, _ in self._rows("SELECT name, 0 FROM superseded")}

    def locate(self, keys: Iterable[bytes]) -> dict[bytes, tuple[str, int]]:
        """Part name and row of each key that it knows."""
        by_prefix: dict[bytes, list[bytes]] = {}
        for key in keys:
            by_prefix.setdefault(key[:PREFIX_BYTES], []).append(key)
        found: dict[bytes, tuple[str, int]] = {}
        with self._reading, index_errors(self._path, unproven=self._unproven):
            for prefix, name, row in _select(self._reader, sorted(by_prefix)):
                if prefix not in by_prefix or not (isinstance(name, str) and isinstance(row, int) and row >= 0):
                    raise sqlite3.DatabaseError("a row of it is malformed")
                for key in by_prefix[prefix]:
                    found[key] = name, row
        return found

    def add(self, name: str, size: int, keys: KeyBytes) -> None:
        """Take in a part, all at once.

        Args:
            name: Its file name.
            size: Its size in bytes.
            keys: uint8, shape (rows, 32), in row order.
        """
        with self._change():
            span = self._new_span(name, size, len(keys))
            # In key order: neighbours in the tree are written together.
            rows = sorted((key[:PREFIX_BYTES], span, row) for row, key in enumerate(as_keys(keys)))
            self._writer.executemany("INSERT OR REPLACE INTO vector VALUES (?, ?, ?)", rows)
        if self._path is not None and self._path.stat().st_size <= _SEALED_AT_ONCE_BYTES:
            self.seal()

    def load(self, parts: Iterable[tuple[str, int, KeyBytes]], rows: int) -> None:
        """Fill an empty index from the name, size and keys of each part, in bounded memory, all at once.

        Keys come in no order, and a tree of 100 million of them that is filled in that order is rewritten again and
        again: so they are sorted on disk first. `rows` is about how many there are.
        """
        folder = None if self._path is None else self._path.parent
        with KeySort(folder, rows) as order, self._change():
            for name, size, keys in parts:
                order.add(keys, self._new_span(name, size, len(keys)))
            for some in order.ascending():
                self._writer.executemany("INSERT OR REPLACE INTO vector VALUES (?, ?, ?)", some)

    def merge(self, name: str, size: int, replaced: Mapping[str, int]) -> bool:
        """Take in a part in place of those whose rows it holds, one part after the other; False when one is not known.

        Args:
            name: Its file name.
            size: Its size in bytes.
            replaced: Name to rows of each part it was made from, in order.
        """
        with self._change():
            known = dict(self._writer.execute("SELECT name, rows FROM part").fetchall())
            if any(known.get(old) != rows for old, rows in replaced.items()):
                return False
            start = 0
            for old, rows in replaced.items():
                self._writer.execute("UPDATE span SET part = ?, start = start + ? WHERE part = ?", (name, start, old))
                start += rows
            self._supersede(replaced)
            self._writer.execute("INSERT OR REPLACE INTO part VALUES (?, ?, ?)", (name, size, start))
        return True

    def supersede(self, names: Iterable[str]) -> None:
        """Forget parts whose rows other parts hold, and remember that their files are to be deleted."""
        superseded = list(names)
        if superseded:
            with self._change():
                self._supersede(superseded)

    def drop(self, names: Iterable[str]) -> None:
        """Forget parts whose files are deleted: their keys are no longer found.

        Their rows stay in the table, unreachable, since ids of spans are not used twice: deleting them would mean
        reading the whole table.
        """
        deleted = [(name,) for name in names]
        with self._change():
            self._writer.executemany("DELETE FROM part WHERE name = ?", deleted)
            self._writer.executemany("DELETE FROM span WHERE part = ?", deleted)
            self._writer.executemany("DELETE FROM superseded WHERE name = ?", deleted)

    def close(self) -> None:
        """Close the file. See `seal` for what a writer does first."""
        if self._reader is not self._writer:
            self._reader.close()
        self._writer.close()

    @contextmanager
    def _change(self) -> Iterator[None]:
        """A transaction. The checksum is deleted before it: whoever dies in it leaves an index without one."""
        with self._writing, index_errors(self._path):
            if self._verified and self._path is not None:
                with translate_os_errors(_checksum_path(self._path), "Deleting"):
                    _checksum_path(self._path).unlink(missing_ok=True)
                self._verified = False
            with _transaction(self._writer):
                yield

    def _supersede(self, names: Iterable[str]) -> None:
        old = [(name,) for name in names]
        self._writer.executemany("DELETE FROM part WHERE name = ?", old)
        self._writer.executemany("DELETE FROM span WHERE part = ?", old)
        self._writer.executemany("INSERT OR IGNORE INTO superseded VALUES (?)", old)

    def _new_span(self, name: str, size: int, rows: int) -> int:
        self._writer.execute("DELETE FROM span WHERE part = ?", (name,))
        self._writer.execute("INSERT OR REPLACE INTO part VALUES (?, ?, ?)", (name, size, rows))
        span = self._writer.execute("INSERT INTO span (part, start) VALUES (?, 0)", (name,)).lastrowid
        assert span is not None
        return span

    def _rows(self, query: str) -> list[tuple[str, int]]:
        with self._writing, index_errors(self._path, unproven=self._unproven):
            rows = self._writer.execute(query).fetchall()
            if not all(isinstance(name, str) and isinstance(number, int) for name, number in rows):
                raise sqlite3.DatabaseError("a row of it is malformed")
            return rows


def _checksum_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.checksum.json")


def _agrees(path: Path) -> bool:
    """Whether all of the index is in the file at `path`, and as its checksum says. Raises LakeUnreachable."""
    log = path.with_name(f"{path.name}-wal")
    try:
        with translate_os_errors(path, "Reading"):
            if log.exists() and log.stat().st_size:
                return False
        expected = read_json(_checksum_path(path))
        return _measured(path) == (expected.get("size_bytes"), expected.get("index_crc32"))
    except LakeUnreachable:
        raise
    except (FileNotFoundError, LakeError):
        return False


def _measured(path: Path) -> tuple[int, int]:
    """Size in bytes and CRC-32 of the file. Raises FileNotFoundError, LakeError."""
    size = checksum = 0
    with translate_read_errors(path, IndexDamaged), path.open("rb") as file:
        while block := file.read(1 << 20):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return size, checksum


def connect(target: str, *, uri: bool = False) -> sqlite3.Connection:
    """A connection to the file `target`, "" for a temporary one, that keeps at most 16 MB of it in memory."""
    connection = sqlite3.connect(target, uri=uri, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA cache_size = -16384")
    return connection


def _select(connection: sqlite3.Connection, prefixes: list[bytes]) -> Iterator[tuple[bytes, str, int]]:
    for start in range(0, len(prefixes), _QUESTION_MARKS):
        some = prefixes[start : start + _QUESTION_MARKS]
        marks = ",".join("?" * len(some))
        query = f"SELECT key, part, start + row FROM vector JOIN span ON id = span WHERE key IN ({marks})"  # noqa: S608
        yield from connection.execute(query, some)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    done = False
    try:
        yield
        connection.execute("COMMIT")
        done = True
    finally:
        if not done and connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def index_errors(path: Path | None, *, unproven: bool = False) -> Iterator[None]:
    """Turn SQLite's errors about the file at `path` (None: a temporary one) into LakeErrors.

    Of an altered file SQLite may say anything, also that the disk fails; so all of it counts as damage with `unproven`.
    """
    try:
        yield
    except sqlite3.Error as error:
        if isinstance(error, sqlite3.OperationalError) and not unproven:
            raise LakeError(
                f"The index {path or '(temporary)'} cannot be used: {error}. Check the disk's space and rights, then"
                " run the same command again; no vector is lost."
            ) from error
        raise IndexDamaged(
            f"The index {path or '(temporary)'} is damaged: {error}. Delete it and run the same command again; it is"
            " made anew from the parts."
        ) from error


class SeenKeys:
    """Keys that were seen, in a temporary file of SQLite's: about 20 bytes each on disk, and 16 MB of memory in all."""

    def __init__(self) -> None:
        """No key has been seen yet."""
        self._table: sqlite3.Connection = connect("")
        self._table.execute("PRAGMA journal_mode = OFF")  # nothing needs it after the process
        self._table.execute("CREATE TABLE seen (key BLOB PRIMARY KEY) STRICT, WITHOUT ROWID")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()

    def first_seen(self, keys: Sequence[bytes]) -> list[int]:
        """The positions of those of `keys` that were not seen before, each key once; from now on they are.

        Raises:
            LakeError: The disk refuses.
        """
        positions = {key[:PREFIX_BYTES]: position for position, key in reversed(list(enumerate(keys)))}
        prefixes = sorted(positions)
        with index_errors(None):
            for start in range(0, len(prefixes), _QUESTION_MARKS):
                some = prefixes[start : start + _QUESTION_MARKS]
                marks = ",".join("?" * len(some))
                for (known,) in self._table.execute(f"SELECT key FROM seen WHERE key IN ({marks})", some):  # noqa: S608
                    del positions[known]
            self._table.execute("BEGIN")
            self._table.executemany("INSERT INTO seen VALUES (?)", ((key,) for key in sorted(positions)))
            self._table.execute("COMMIT")
        return sorted(positions.values())
