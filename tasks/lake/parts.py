"""The parts of a vector store: immutable Parquet files of vectors, in order of purchase."""

import errno
import json
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import LakeError
from tasks.lake.batches import KeyBytes, Vectors, keys_in, vector_schema, vectors_in
from tasks.lake.writing import UNREADABLE, Checkpoint, first_line, pass_by, write_atomically

ROWS_A_GROUP = 256
"""Rows that are read at once: 1 MiB at 1,024 dimensions. Smaller than usual so that a lone vector costs 1 ms, not 4;
neighbours are read no slower for it (measured)."""

_REPLACES = "millrace.replaces"
_NAME = re.compile(r"part-(\d{8,})-[0-9a-f]{8}\.parquet")
_CACHE_BYTES = 64 << 20
_OPEN_FILES = 32

REMEDY = (
    "Run `millrace verify --repair`: it keeps what can still be read and says how many vectors must be bought again."
)


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that cannot be used, and why, as a sentence that ends in the remedy."""

    path: Path
    message: str


@dataclass(frozen=True, slots=True)
class Footer:
    """What a part says of itself: its rows, and name and rows of each part it was compacted from, in order."""

    rows: int
    replaces: dict[str, int]


class PartDamaged(LakeError):
    """A part cannot be read."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is damaged ({why}); the other parts are not concerned. {REMEDY}")
        self.damage = Damage(path, str(self))


def new_stem(number: int) -> str:
    """What the `number`-th part is called, without its ending; no two lakes ever make the same one."""
    return f"{number:08d}-{secrets.token_hex(4)}"


def part_name(stem: str) -> str:
    """The file name of the part with this stem."""
    return f"part-{stem}.parquet"


def part_number(name: str) -> int | None:
    """The number in a part's file name, None when it is not one."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def write_part(
    path: Path,
    dimensions: int,
    batches: Iterable[pa.RecordBatch],
    *,
    replaces: Mapping[str, int] | None = None,
    checkpoint: Checkpoint = pass_by,
) -> None:
    """The part at `path`, durable, with the rows of `batches`, `ROWS_A_GROUP` of them in memory besides one batch.

    `replaces` are name and rows of the parts whose rows these are, one part after the other. Vectors hardly compress,
    and uncompressed they are read fastest.
    """
    schema = vector_schema(dimensions).with_metadata({_REPLACES: json.dumps(dict(replaces or {}))})

    def write(sink: object) -> None:
        with pq.ParquetWriter(
            sink, schema, compression="none", use_dictionary=False, write_statistics=False, write_page_checksum=True
        ) as writer:
            for table in _regrouped(batches):
                writer.write_table(table, row_group_size=ROWS_A_GROUP)

    write_atomically(path, write, checkpoint=checkpoint)


def _regrouped(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in tables of a multiple of `ROWS_A_GROUP` rows, the last one aside."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        table = pa.Table.from_batches(waiting)
        whole = table.num_rows - table.num_rows % ROWS_A_GROUP
        if whole:
            yield table.slice(0, whole)
            waiting = table.slice(whole).to_batches()
    if waiting:
        yield pa.Table.from_batches(waiting)


def read_footer(path: Path, dimensions: int) -> Footer:
    """What the part at `path` says of itself. Raises PartDamaged, FileNotFoundError."""
    with _opened(path, dimensions) as file:
        try:
            metadata = file.schema_arrow.metadata
            replaces = {str(name): int(rows) for name, rows in json.loads(metadata[_REPLACES.encode()]).items()}
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise PartDamaged(path, "its footer does not say what it replaces") from error
        return Footer(file.metadata.num_rows, replaces)


def read_keys(path: Path, dimensions: int) -> KeyBytes:
    """All keys of the part at `path`: uint8, shape (rows, 32). Raises PartDamaged, FileNotFoundError."""
    with _opened(path, dimensions) as file, _damage(path):
        column = file.read(columns=["text_key"])["text_key"].combine_chunks()
        return keys_in(column if isinstance(column, pa.Array) else column.chunk(0))


def read_batches(path: Path, dimensions: int, *, salvage: bool = False) -> Iterator[pa.RecordBatch]:
    """The rows of the part at `path`, a row group at a time, checksums verified.

    With `salvage`, row groups that cannot be read are passed over. Raises PartDamaged, FileNotFoundError.
    """
    with _opened(path, dimensions) as file:
        for group in range(file.num_row_groups):
            try:
                with _damage(path):
                    yield from file.read_row_group(group, use_threads=False).to_batches()
            except PartDamaged:
                if not salvage:
                    raise


def check_part(path: Path, dimensions: int) -> Damage | None:
    """What is wrong with the part at `path`, None when every row can be read and every checksum agrees."""
    try:
        rows = read_footer(path, dimensions).rows
        found = sum(batch.num_rows for batch in read_batches(path, dimensions))
        if found != rows:
            raise PartDamaged(path, f"it should have {rows} rows, and has {found}")
    except PartDamaged as error:
        return error.damage
    except FileNotFoundError:
        return Damage(path, f"{path} is gone. {REMEDY}")
    return None


class _damage:  # noqa: N801 -- reads as the statement that it is
    """Turn what Arrow raises over the part at `path` into PartDamaged."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, FileNotFoundError | MemoryError):
            return
        if isinstance(error, OSError) and error.errno not in {None, errno.EIO}:
            raise LakeError(f"{self._path} cannot be read: {error.strerror}. Check its rights and the system's limits.")
        if isinstance(error, UNREADABLE):
            raise PartDamaged(self._path, first_line(error)) from error


def _opened(path: Path, dimensions: int) -> pq.ParquetFile:
    with _damage(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if file.schema_arrow.equals(vector_schema(dimensions)):
            return file
        file.close()
    raise PartDamaged(path, f"it has the columns {file.schema_arrow.to_string(show_schema_metadata=False)!r}")


class PartReader:
    """Reads single rows out of parts: row groups decoded once, the last ones kept, some files kept open."""

    def __init__(self, folder: Path, dimensions: int) -> None:
        self._folder = folder
        self._dimensions = dimensions
        self._lock = threading.Lock()
        self._files: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        self._groups: OrderedDict[tuple[str, int], tuple[KeyBytes, Vectors]] = OrderedDict()
        self._groups_kept = max(2, _CACHE_BYTES // (ROWS_A_GROUP * (4 * dimensions + 32)))

    def gather(self, name: str, rows: npt.NDArray[np.int64], keys: KeyBytes, out: Vectors, at: list[int]) -> list[int]:
        """Copy the vectors of `rows` of part `name` to `out[at]`; the positions whose key is another are returned.

        Raises:
            PartDamaged: A row group cannot be read.
            FileNotFoundError: The part is gone, compacted by another process perhaps.
        """
        strangers: list[int] = []
        positions = np.asarray(at)
        groups = rows // ROWS_A_GROUP
        for group in np.unique(groups).tolist():
            with self._lock:
                group_keys, vectors = self._group(name, group)
            members = np.flatnonzero(groups == group)
            within = rows[members] - group * ROWS_A_GROUP
            if within.max() >= len(group_keys):
                strangers += positions[members].tolist()
                continue
            out[positions[members]] = vectors[within]
            alike = (group_keys[within] == keys[members]).all(axis=1)
            strangers += positions[members[~alike]].tolist()
        return strangers

    def forget(self, names: Iterable[str]) -> None:
        """Close the files of these parts and drop what is kept of them."""
        with self._lock:
            for name in names:
                file = self._files.pop(name, None)
                if file is not None:
                    file.close()
                for key in [key for key in self._groups if key[0] == name]:
                    del self._groups[key]

    def close(self) -> None:
        """Close all files."""
        self.forget(list(self._files))

    def _group(self, name: str, group: int) -> tuple[KeyBytes, Vectors]:
        found = self._groups.get((name, group))
        if found is not None:
            self._groups.move_to_end((name, group))
            return found
        file = self._file(name)
        if group >= file.num_row_groups:
            return np.empty((0, 32), np.uint8), np.empty((0, self._dimensions), np.float32)
        with _damage(self._folder / name):
            table = file.read_row_group(group, columns=["text_key", "vector"], use_threads=False).combine_chunks()
            found = keys_in(table["text_key"].chunk(0)), vectors_in(table["vector"].chunk(0), self._dimensions)
        self._groups[name, group] = found
        if len(self._groups) > self._groups_kept:
            self._groups.popitem(last=False)
        return found

    def _file(self, name: str) -> pq.ParquetFile:
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = _opened(self._folder / name, self._dimensions)
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(name)
        return file
