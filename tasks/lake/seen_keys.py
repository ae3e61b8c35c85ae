"""Which keys have come by already, without holding them in memory: a table that ends with the process."""

import sqlite3
from collections.abc import Sequence
from typing import Self

from tasks.lake.index import connect, index_errors
from tasks.lake.key_sort import PREFIX_BYTES

_QUESTION_MARKS = 1_000


class SeenKeys:
    """Keys that were seen, in a temporary file of SQLite's: about 20 bytes each on disk, and 16 MB of memory in all."""

    def __init__(self) -> None:
        """None is seen yet."""
        self._table: sqlite3.Connection = connect("")
        self._table.execute("PRAGMA journal_mode = OFF")  # nothing needs it after the process
        self._table.execute("CREATE TABLE seen (key BLOB PRIMARY KEY) STRICT, WITHOUT ROWID")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()

    def first_seen(self, keys: Sequence[bytes]) -> list[int]:
        """The positions of those of `keys` that were never seen before, each key once; now they are.

        Raises `LakeError` when the disk refuses.
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
