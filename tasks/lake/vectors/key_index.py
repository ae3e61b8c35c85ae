"""Which row of which part holds a key: a SQLite table, derived from the parts' key columns and never the truth.

It exists so that lookups stay cheap without holding 100 million keys in memory: about 30 bytes a key on disk, some
microseconds a lookup. Whatever is wrong with it, it is deleted and made again.

A key points to a span and a row in it. A span is what one journal became; a compaction puts several one after the other
into one file, and only the table of spans changes.

`KeySort` sorts more keys than fit into memory, for filling an index. `SeenKeys` remembers keys until the process ends.
"""

import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.storage.atomic import translate_os_errors
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
    """The index in the file at `path`; with None, a private one that SQLite keeps in a temporary file."""

    def __init__(self, path: Path | None, connection: sqlite3.Connection) -> None:
        self._path = path
        self._writer = connection
        self._reader = connection
        self._writing = threading.Lock()
        self._reading = self._writing

    @classmethod
    def temporary(cls) -> Self:
        """An empty index that ends with the process."""
        connection = connect("")
        connection.executescript(_SCHEMA)
        return cls(None, connection)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The index at `path` for its one writer; a new one when it is missing, damaged or of another version."""
        try:
            with index_errors(path):
                return cls._open(path)
        except IndexDamaged:
            return cls.renew(path)

    @classmethod
    def renew(cls, path: Path) -> Self:
        """An empty index at `path`, whatever was there."""
        with translate_os_errors(path, "Deleting"):
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        with index_errors(path):
            return cls._open(path)

    @classmethod
    def _open(cls, path: Path) -> Self:
        connection = connect(str(path))
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        elif version != _VERSION:
            connection.close()
            raise sqlite3.DatabaseError(f"version {version}")
        index = cls(path, connection)
        # Lookups on a connection of their own do not wait for a part that is being added.
        index._reader = connect(str(path))
        index._reading = threading.Lock()
        return index

    @classmethod
    def open_read_only(cls, path: Path) -> Self | None:
        """The index at `path` as it is, None when it cannot be used."""
        for options in ("mode=ro", "mode=ro&immutable=1"):  # a folder that cannot be written has no room for locks
            try:
                connection = connect(f"{path.absolute().as_uri()}?{options}", uri=True)
                if connection.execute("PRAGMA user_version").fetchone()[0] == _VERSION:
                    return cls(path, connection)
            except sqlite3.DatabaseError:
                continue
        return None

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
        with self._reading, index_errors(self._path):
            for prefix, name, row in _select(self._reader, sorted(by_prefix)):
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
        with self._writing, index_errors(self._path), _transaction(self._writer):
            span = self._new_span(name, size, len(keys))
            # In key order: neighbours in the tree are written together.
            rows = sorted((key[:PREFIX_BYTES], span, row) for row, key in enumerate(as_keys(keys)))
            self._writer.executemany("INSERT OR REPLACE INTO vector VALUES (?, ?, ?)", rows)

    def load(self, parts: Iterable[tuple[str, int, KeyBytes]], rows: int) -> None:
        """Fill an empty index from the name, size and keys of each part, in bounded memory, all at once.

        Keys come in no order, and a tree of 100 million of them that is filled in that order is rewritten again and
        again: so they are sorted on disk first. `rows` is about how many there are.
        """
        folder = None if self._path is None else self._path.parent
        with KeySort(folder, rows) as order, self._writing, index_errors(self._path), _transaction(self._writer):
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
        with self._writing, index_errors(self._path), _transaction(self._writer):
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
        with self._writing, index_errors(self._path), _transaction(self._writer):
            self._supersede(names)

    def drop(self, names: Iterable[str]) -> None:
        """Forget parts whose files are deleted: their keys are no longer found.

        Their rows stay in the table, unreachable, since ids of spans are not used twice: deleting them would mean
        reading the whole table.
        """
        deleted = [(name,) for name in names]
        with self._writing, index_errors(self._path), _transaction(self._writer):
            self._writer.executemany("DELETE FROM part WHERE name = ?", deleted)
            self._writer.executemany("DELETE FROM span WHERE part = ?", deleted)
            self._writer.executemany("DELETE FROM superseded WHERE name = ?", deleted)

    def close(self) -> None:
        """Close the file."""
        if self._reader is not self._writer:
            self._reader.close()
        self._writer.close()

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
        with self._writing, index_errors(self._path):
            return self._writer.execute(query).fetchall()


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
def index_errors(path: Path | None) -> Iterator[None]:
    """Turn SQLite's errors about the file at `path` (None: a temporary one) into LakeErrors."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise LakeError(
            f"The index {path or '(temporary)'} cannot be used: {error}. Check the disk's space and rights, then run"
            " the same command again; no vector is lost."
        ) from error
    except sqlite3.DatabaseError as error:
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
