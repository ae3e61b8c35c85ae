"""Vector parts: immutable Parquet files of vectors, in the order in which they were embedded.

Parquet's own checksums cover the data of a page and not the header before it, in which one altered byte names another
encoding and makes other numbers of the same data. So the footer keeps a checksum of the values as well, for each column
of each row group. A second one for every few rows says, when a row group is damaged, which rows of it are not. Parts of
earlier versions have neither, or only the first.
"""

import base64
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.storage.atomic import (
    Checkpoint,
    Damage,
    no_checkpoint,
    translate_read_errors,
    write_atomically,
)
from millrace.tasks.lake.storage.location import LakePath, parquet_file
from millrace.tasks.lake.vectors.schema import KeyBytes, Layout, crc32, keys_in

ROWS_A_GROUP = 256
"""Rows that are read at once: 1 MiB at 1,024 dimensions. Smaller than usual so that a lone vector costs 1 ms, not 4;
neighbours are read no slower for it (measured)."""

_ROWS_A_BLOCK = 8
"""Rows that share a checksum of the second kind: 5 bytes in the footer for each block, 44 kB of a part of 256 MiB."""

_REPLACES = "millrace.replaces"
_BLOCKS_CRC = "millrace.crc32.blocks"
_CRC = "millrace.crc32"
_NAME = re.compile(r"part-(\d{8,})-[0-9a-f]{8}\.parquet")

REMEDY = (
    "Run `millrace verify --repair`: it keeps what can still be read and says how many vectors must be embedded again."
)


@dataclass(frozen=True, slots=True)
class Footer:
    """What a part says of itself: its rows, and name and rows of each part it was compacted from, in order."""

    rows: int
    replaces: dict[str, int]


class PartDamaged(LakeError):
    """A part cannot be read."""

    def __init__(self, path: LakePath, why: str) -> None:
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
    path: LakePath,
    layout: Layout,
    batches: Iterable[pa.RecordBatch],
    *,
    replaces: Mapping[str, int] | None = None,
    checkpoint: Checkpoint = no_checkpoint,
) -> None:
    """The part at `path`, durable, with the rows of `batches`, `ROWS_A_GROUP` of them in memory besides one batch.

    `replaces` are name and rows of the parts whose rows these are, one part after the other. Vectors hardly compress,
    and uncompressed they are read fastest.
    """
    schema = layout.schema.with_metadata({_REPLACES: json.dumps(dict(replaces or {}))})

    def write(sink: object) -> None:
        checksums: dict[str, list[int]] = {name: [] for name in schema.names}
        blocks: list[int] = []
        with pq.ParquetWriter(
            sink, schema, compression="none", use_dictionary=False, write_statistics=False, write_page_checksum=True
        ) as writer:
            for group in _grouped(batches):
                writer.write_table(group, row_group_size=ROWS_A_GROUP)
                for name, values in checksums.items():
                    values.append(crc32(group[name].chunk(0)))
                blocks += [_block_crc32(block) for block in _blocks(group)]
            packed = base64.b64encode(np.array(blocks, "<u4").tobytes()).decode()
            writer.add_key_value_metadata({_CRC: json.dumps(checksums), _BLOCKS_CRC: packed})

    write_atomically(path, write, checkpoint=checkpoint)


def _grouped(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in tables of one chunk and `ROWS_A_GROUP` rows, the last one aside."""
    waiting = pa.Table.from_batches([], schema=pa.schema([]))
    for batch in batches:
        table = pa.Table.from_batches([batch])
        waiting = pa.concat_tables([waiting, table]) if waiting.num_rows else table
        while waiting.num_rows >= ROWS_A_GROUP:
            yield waiting.slice(0, ROWS_A_GROUP).combine_chunks()
            waiting = waiting.slice(ROWS_A_GROUP)
    if waiting.num_rows:
        yield waiting.combine_chunks()


class VectorPart:
    """A vector part opened for reading; checksums are verified on every read. Use as a context manager, or `close`."""

    def __init__(self, path: LakePath, layout: Layout) -> None:
        """Open the part at `path`. Raises PartDamaged, FileNotFoundError."""
        self._path = path
        with _translate_part_errors(path):
            self._file = parquet_file(path)
        try:
            self._check_columns(layout)
            with _translate_part_errors(path):
                self.rows: int = self._file.metadata.num_rows
                self.groups: int = self._file.num_row_groups
            self._checksums = self._read_checksums(layout)
        except LakeError:
            self._file.close()
            raise

    def replaces(self) -> dict[str, int]:
        """Name and rows of each part it was compacted from, in order. Raises PartDamaged."""
        try:
            metadata = self._file.schema_arrow.metadata
            return {str(name): int(rows) for name, rows in json.loads(metadata[_REPLACES.encode()]).items()}
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise PartDamaged(self._path, "its footer does not say what it replaces") from error

    def group(self, number: int, columns: list[str] | None = None) -> pa.Table:
        """Row group `number`, one chunk a column, all columns when None. Raises PartDamaged."""
        with _translate_part_errors(self._path):
            table = self._file.read_row_group(number, columns=columns, use_threads=False).combine_chunks()
            for name in table.column_names:
                self._verify(name, number, table[name].chunk(0))
            return table

    def salvage(self, number: int) -> list[pa.RecordBatch]:
        """The rows of the damaged row group `number` that are proven to be as they were written, in their order."""
        try:
            packed = (self._file.metadata.metadata or {})[_BLOCKS_CRC.encode()]
            expected = np.frombuffer(base64.b64decode(packed, validate=True), "<u4")
            with parquet_file(self._path, verify=False) as file:
                group = file.read_row_group(number, use_threads=False).combine_chunks()
            group.validate(full=True)
            first = number * (ROWS_A_GROUP // _ROWS_A_BLOCK)
            blocks = zip(_blocks(group), expected[first:].tolist(), strict=False)
            return [block for block, checksum in blocks if _block_crc32(block) == checksum]
        except (OSError, ValueError, KeyError, IndexError, TypeError, pa.ArrowException):
            return []  # a part of an earlier version, or damage that leaves nothing to be read

    def keys(self) -> KeyBytes:
        """All keys: uint8, shape (rows, 32). Raises PartDamaged."""
        with _translate_part_errors(self._path):
            column = self._file.read(columns=["text_key"])["text_key"].combine_chunks()
            keys = column if isinstance(column, pa.Array) else column.chunk(0)
            for number in range(self.groups):
                self._verify("text_key", number, keys.slice(number * ROWS_A_GROUP, ROWS_A_GROUP))
            return keys_in(keys)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_columns(self, layout: Layout) -> None:
        with _translate_part_errors(self._path):
            found = self._file.schema_arrow
            if found.equals(layout.schema):
                return
        raise PartDamaged(self._path, f"it has the columns {found.to_string(show_schema_metadata=False)!r}")

    def _read_checksums(self, layout: Layout) -> dict[str, list[int]] | None:
        """By column, of each row group; None when it was written without."""
        with _translate_part_errors(self._path):
            spelled = (self._file.metadata.metadata or {}).get(_CRC.encode())
            if spelled is None:
                return None
            found = json.loads(spelled)
            if not all(len(found[name]) == self.groups for name in layout.schema.names):
                raise ValueError("its footer does not have all checksums")
            return {name: list(found[name]) for name in layout.schema.names}

    def _verify(self, column: str, group: int, values: pa.Array) -> None:
        if self._checksums is None:
            return
        if values.null_count or not len(values) or crc32(values) != self._checksums[column][group]:
            raise ValueError(f"the column {column} of its row group {group} is not what was written")


def _blocks(group: pa.Table) -> list[pa.RecordBatch]:
    """The rows of a row group, one chunk a column, `_ROWS_A_BLOCK` at a time."""
    (batch,) = group.to_batches() or [pa.RecordBatch.from_pylist([], schema=group.schema)]
    return [batch.slice(start, _ROWS_A_BLOCK) for start in range(0, batch.num_rows, _ROWS_A_BLOCK)]


def _block_crc32(block: pa.RecordBatch) -> int:
    checksum = 0
    for column in block.columns:
        if column.null_count:
            raise ValueError("there are values missing")
        checksum = crc32(column, checksum)
    return checksum


def read_footer(path: LakePath, layout: Layout) -> Footer:
    """What the part at `path` says of itself. Raises PartDamaged, FileNotFoundError."""
    with VectorPart(path, layout) as file:
        return Footer(file.rows, file.replaces())


def read_keys(path: LakePath, layout: Layout) -> KeyBytes:
    """All keys of the part at `path`: uint8, shape (rows, 32). Raises PartDamaged, FileNotFoundError."""
    with VectorPart(path, layout) as file:
        return file.keys()


def read_batches(path: LakePath, layout: Layout, *, salvage: bool = False) -> Iterator[pa.RecordBatch]:
    """The rows of the part at `path`, a row group at a time, checksums verified.

    With `salvage`, rows that cannot be read are passed over. Raises PartDamaged, FileNotFoundError.
    """
    with VectorPart(path, layout) as file:
        for group in range(file.groups):
            try:
                yield from file.group(group).to_batches()
            except PartDamaged:
                if not salvage:
                    raise
                yield from file.salvage(group)


def check_part(path: LakePath, layout: Layout) -> Damage | None:
    """What is wrong with the part at `path`, None when every row can be read and every checksum agrees."""
    try:
        rows = read_footer(path, layout).rows
        found = sum(batch.num_rows for batch in read_batches(path, layout))
        if found != rows:
            raise PartDamaged(path, f"it should have {rows} rows, and has {found}")
    except PartDamaged as error:
        return error.damage
    except FileNotFoundError:
        return Damage(path, f"{path} is missing. {REMEDY}")
    return None


def _translate_part_errors(path: LakePath) -> AbstractContextManager[None]:
    """Turn what Arrow raises over the part at `path` into PartDamaged, or LakeUnreachable; see there."""
    return translate_read_errors(path, lambda reason: PartDamaged(path, reason))
