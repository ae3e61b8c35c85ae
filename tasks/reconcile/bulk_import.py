"""A new collection filled by import: files in a folder that Milvus reads too, each imported while the next is written.

Joins `lake` (the rows) and `milvus` (the import). Disk: at most `AT_ONCE` files and the one being written; they are no
part of the lake, and not made durable.
"""

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.tasks.errors import CollectionError
from millrace.tasks.lake import make_folder
from millrace.tasks.lake.storage.atomic import translate_os_errors
from millrace.tasks.milvus import BulkImport
from millrace.tasks.milvus.bulk_import import VECTORS
from millrace.tasks.reconcile.expected_rows import Vectors


class RowFile:
    """The file at `path`, written a group of rows at a time. A context manager.

    Vectors do not compress, and who reads the file once on the same machine gains nothing by the rest: it is plain.
    """

    def __init__(self, path: Path, *, vectors_as: str) -> None:
        """Begin it; `vectors_as` names the column of the vectors."""
        self.path = path
        self.rows = 0
        self._vectors_as = vectors_as
        self._writer: pq.ParquetWriter | None = None

    def add(self, columns: pa.Table, vectors: npt.NDArray[np.float32]) -> None:
        """Write these rows after the others; `vectors`: float32, shape (n, dimensions). Raises LakeError."""
        flat = pa.array(np.ascontiguousarray(vectors).ravel(), pa.float32())
        ends = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
        table = columns.append_column(self._vectors_as, pa.ListArray.from_arrays(pa.array(ends), flat))
        with translate_os_errors(self.path, "Writing"):
            if self._writer is None:
                self._writer = pq.ParquetWriter(self.path, table.schema, compression="none", use_dictionary=False)
            self._writer.write_table(table)
        self.rows += len(vectors)

    def close(self) -> None:
        """End it; safe to call twice. Raises LakeError."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with translate_os_errors(self.path, "Writing"):
                writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


FILE_BYTES = 256 * 1024 * 1024
"""Of vectors in a file: enough to be worth a task of the server, and little enough to show progress."""

AT_ONCE = 3
"""Files that were written and not read yet: the server is never without, and the disk is not filled."""

_LOOK_EVERY_S = 0.5
_STALLED_S = 1_800.0


@dataclass(frozen=True, slots=True)
class ImportFolder:
    """A folder of this process, and what the server calls it."""

    here: Path
    there: str


@dataclass(slots=True)
class ImportWriter:
    """Rows on their way into `importing`. Use as a context manager: the files are gone when it ends.

    `doubled` are the ids of which more than one row will come; the first one counts. `on_rows` hears how many rows
    more have been imported, as far as the server says.
    """

    importing: BulkImport
    folder: ImportFolder
    doubled: frozenset[str] = frozenset()
    on_rows: Callable[[int], None] = lambda _: None
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic
    rows: int = 0
    _seen: set[str] = field(default_factory=set)
    _file: RowFile | None = None
    _files: int = 0
    _under_way: deque[tuple[int, RowFile]] = field(default_factory=deque)

    def __enter__(self) -> "ImportWriter":
        shutil.rmtree(self.folder.here, ignore_errors=True)
        make_folder(self.folder.here)
        # The server may run as another user.
        self.folder.here.chmod(0o755)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        shutil.rmtree(self.folder.here, ignore_errors=True)

    def add(self, rows: pa.Table, vectors: Vectors) -> None:
        """Send these rows, sooner or later. Raises as the import does."""
        rows, vectors = self._unique(rows, vectors)
        if not rows.num_rows:
            return
        if self._file is None:
            self._file = RowFile(self.folder.here / f"rows-{self._files:05d}.parquet", vectors_as=VECTORS)
            self._files += 1
        self._file.add(self.importing.columns(rows), vectors)
        self.rows += rows.num_rows
        if self._file.rows * vectors.shape[1] * vectors.itemsize >= FILE_BYTES:
            self._start()

    def finish(self) -> int:
        """The number of rows, once all of them are in and the collection has its name.

        Raises:
            CollectionError: The server refuses a file, or has not gone on for half an hour.
        """
        self._start()
        while self._under_way:
            self._await_one()
        self.importing.finish(self.rows)
        return self.rows

    def _start(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        file.close()
        while len(self._under_way) >= AT_ONCE:
            self._await_one()
        self._under_way.append((self.importing.start(f"{self.folder.there.rstrip('/')}/{file.path.name}"), file))

    def _await_one(self) -> None:
        """Return when the oldest file is imported; it is deleted then."""
        task, file = self._under_way.popleft()
        last, since, reported = -1, self.clock(), 0
        while True:
            state = self.importing.state(task)
            if state.failure:
                raise CollectionError(f"the import of {file.path.name} failed: {state.failure}")
            if state.is_done:
                file.path.unlink(missing_ok=True)
                self.on_rows(file.rows - reported)
                return
            reached = file.rows * min(state.percent, 100) // 100
            if reached > reported:
                self.on_rows(reached - reported)
                reported = reached
            if state.percent != last:
                last, since = state.percent, self.clock()
            elif self.clock() - since > _STALLED_S:
                raise CollectionError(f"the import of {file.path.name} stands at {last} % for half an hour")
            self.sleep(_LOOK_EVERY_S)

    def _unique(self, rows: pa.Table, vectors: Vectors) -> tuple[pa.Table, Vectors]:
        if not self.doubled:
            return rows, vectors
        keep = []
        for position, row_id in enumerate(rows["id"].to_pylist()):
            if row_id in self.doubled and row_id in self._seen:
                continue
            if row_id in self.doubled:
                self._seen.add(row_id)
            keep.append(position)
        return rows.take(pa.array(keep, pa.int64())), vectors[np.array(keep, np.int64)]


def doubled_ids(batches: Callable[[], Iterable[list[str]]]) -> frozenset[str]:
    """The ids that come more than once. `batches` is gone through once, and again if there are any. 8 bytes an id."""
    pages = [_hashes(ids) for ids in batches()]
    hashes = np.sort(np.concatenate([np.empty(0, np.int64), *pages]))
    twice = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if not twice:
        return frozenset()
    return frozenset(one for ids in batches() for one in ids if hash(one) in twice)


def _hashes(ids: list[str]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(hash, ids), np.int64, len(ids))
