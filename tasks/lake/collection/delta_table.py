"""A table of which little changes at a time: a base, sorted, and numbered deltas that replace rows by their source.

Each delta speaks for the sources it names, with all its rows; of several, the last. A tombstone takes its source off
the table. So a change is written in proportion to itself, whatever the table holds. `fold` merges the deltas into a new
base when there is enough of them; it says up to which number it has taken them in, so that a crash before they are
deleted changes nothing. A base that an earlier version wrote is not sorted: it is sorted by the next fold.
"""

import sys
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake.storage.atomic import (
    Checkpoint,
    Damage,
    damaged_error,
    make_folder,
    no_checkpoint,
    quarantine,
    read_table,
    remove_files,
    translate_read_errors,
    write_atomically,
    write_table_atomically,
)
from millrace.tasks.lake.storage.location import LakePath, parquet_file

_FOLDED = b"millrace.folded"
_WORTH_SHARE = 20
"""Deltas are folded when they hold a twentieth of the rows: twenty rows are written for each changed one."""

_MANY_DELTAS = 64
"""So many are folded at the end of a run, and looked at on its way: reading opens each of them."""

_MANY_ROWS = 1 << 14
"""With so many rows in deltas these are folded at the end of a run too: every reader has them in memory."""

_TOO_MANY_DELTAS = 1_000
"""So many are folded while a run goes on, however large the table is."""

_BATCH_ROWS = 1 << 13


class _Base(NamedTuple):
    """An open base: None when there is none; the last delta that is in it, how many rows, and whether in order."""

    file: pq.ParquetFile | None
    folded: int = 0
    rows: int = 0
    is_sorted: bool = True


class DeltaTable:
    """The base at `base`, the deltas in the folder `base` with suffix `.d`.

    `tombstone` is the column and value that mark a row as a tombstone; `order` the column that the rows are sorted by;
    `remedy` ends the message about a damaged file.
    """

    def __init__(
        self,
        base: LakePath,
        schema: pa.Schema,
        *,
        tombstone: tuple[str, str],
        order: str,
        remedy: str,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._base_path = base
        self._delta_folder = base.with_suffix(".d")
        self._schema = schema
        self._tombstone = tombstone
        self._order = order
        self._remedy = remedy
        self._checkpoint = checkpoint
        self._known_deltas: tuple[int, int] | None = (
            None  # deltas, and the last number, once this process has written one
        )

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows as of the last delta, without tombstones, in order.

        `columns`: which, in this order; all when None. Of a large table a few take a fraction of the memory.

        Raises:
            LakeError: A file is damaged, or deleted under a reader again and again.
        """
        return pa.concat_tables([self.nothing(columns), *self.batches(columns)])

    def nothing(self, columns: Sequence[str] | None = None) -> pa.Table:
        """No row of these columns."""
        return self._schema.empty_table().select(self._schema.names if columns is None else columns)

    def batches(self, columns: Sequence[str] | None = None, *, only: Iterable[str] | None = None) -> Iterator[pa.Table]:
        """What `read` gives, some thousand rows at a time; in memory are these and the deltas. Raises as `read`.

        With `only` the rows that have one of these values in the column of the order; what holds none is not read.
        """
        keys = None if only is None else sorted(only)
        names = self._schema.names if columns is None else list(columns)
        for _ in range(5):
            # Deltas are listed before the base is opened: a fold between the two is then seen in the base's number.
            deltas = list(self._deltas())
            base = self._open_base()
            try:
                changed = self._changed([(n, path) for n, path in deltas if n > base.folded], names)
            except FileNotFoundError:
                continue  # another process has folded them in; the base has them now
            for rows in self._merged(base, changed, names, keys):
                yield (rows if keys is None else _with_one_of(rows, self._order, keys)).select(names)
            return
        raise LakeError(f"{self._base_path} was being rewritten all the time. Try again when the writer is done.")

    def commit(self, delta: pa.Table, name: str) -> None:
        """Make `delta` part of the table, durably; an empty one is nothing. `name` goes into the file's name."""
        if delta.num_rows == 0:
            return
        deltas, last = self._known_deltas or self._look()
        self._known_deltas = None  # should this fail, it is not known what is there
        write_table_atomically(
            delta.select(self._schema.names).cast(self._schema),
            self._delta_folder / f"{last + 1:08d}-{name}.parquet",
            checkpoint=self._checkpoint,
        )
        self._known_deltas = deltas + 1, last + 1
        if (deltas + 1) % _MANY_DELTAS == 0:
            self.fold(max_deltas=_TOO_MANY_DELTAS, max_rows=sys.maxsize)

    def fold(self, *, max_deltas: int = _MANY_DELTAS, max_rows: int = _MANY_ROWS) -> None:
        """Write the deltas into the base and delete them, when they are worth it or too many; or sort the base."""
        deltas, base = list(self._deltas()), self._open_base()
        rows = sum(self._open(path).metadata.num_rows for _, path in deltas)
        few = len(deltas) < max_deltas and rows < max_rows and (not deltas or rows * _WORTH_SHARE < base.rows)
        if base.is_sorted and few:
            return
        self._known_deltas = None
        last = max([base.folded, *(number for number, _ in deltas)])
        self._write_base(self.batches(), last)
        for _, path in deltas:  # in their order: those that a crash leaves are the last ones
            remove_files([path])
            self._checkpoint("delta deleted")

    def check(self) -> list[Damage]:
        """The files that cannot be read."""
        damaged: list[Damage] = []
        for path in [self._base_path, *(path for _, path in self._deltas())]:
            try:
                deque(self._rows_of(path, self._open(path), self._schema.names), maxlen=0)
            except FileNotFoundError:
                continue
            except LakeUnreachable:
                raise
            except LakeError as error:
                damaged.append(Damage(path, str(error)))
        return damaged

    def quarantine(self) -> None:
        """Rename the files that cannot be read to `*.damaged`; what the others say holds from then on."""
        for damage in self.check():
            quarantine(damage.path)

    def _deltas(self) -> Iterator[tuple[int, LakePath]]:
        """Number and path of each delta, in order of number."""
        if not self._delta_folder.is_dir():
            return
        for name in sorted(path.name for path in self._delta_folder.glob("*.parquet")):
            number = name.partition("-")[0]
            if number.isdecimal():
                yield int(number), self._delta_folder / name

    def _look(self) -> tuple[int, int]:
        """How many deltas there are, and the last number in use. Not for each commit: a long run leaves many."""
        make_folder(self._delta_folder)
        taken = [number for number, _ in self._deltas()]
        return len(taken), max([self._open_base().folded, *taken])

    def _open_base(self) -> _Base:
        try:
            file = self._open(self._base_path)
        except FileNotFoundError:
            return _Base(None)
        with self._reading(self._base_path):
            footer = file.metadata
            folded = int((footer.metadata or {}).get(_FOLDED, b"0"))
            orders = [footer.row_group(n).sorting_columns for n in range(footer.num_row_groups)]
            is_sorted = all(orders) and {each[0].column_index for each in orders} <= {
                footer.schema.names.index(self._order)
            }
        return _Base(file, folded, footer.num_rows, is_sorted)

    def _open(self, path: LakePath) -> pq.ParquetFile:
        with self._reading(path):
            return parquet_file(path, replaced=path == self._base_path)

    def _reading(self, path: LakePath) -> AbstractContextManager[None]:
        return translate_read_errors(path, lambda reason: damaged_error(path, reason, self._remedy))

    def _write_base(self, batches: Iterable[pa.Table], folded: int) -> None:
        order = [pq.SortingColumn(self._schema.get_field_index(self._order))]
        schema = self._schema.with_metadata({_FOLDED: str(folded).encode()})

        def write(sink: BinaryIO) -> None:
            with pq.ParquetWriter(
                sink, schema, compression="zstd", write_page_checksum=True, sorting_columns=order
            ) as writer:
                for batch in batches:
                    writer.write_table(batch.replace_schema_metadata(schema.metadata), _BATCH_ROWS)

        write_atomically(self._base_path, write, checkpoint=self._checkpoint)

    def _changed(self, deltas: list[tuple[int, LakePath]], names: Sequence[str]) -> pa.Table | None:
        """Of each source in `deltas` the rows of the last, in order, tombstones too; None when there is no delta."""
        if not deltas:
            return None
        wanted = self._needed(names)
        tables = [self._conforming(read_table(p, columns=wanted, remedy=self._remedy), p, wanted) for _, p in deltas]
        changed = pa.concat_tables(tables)
        numbers = np.repeat([n for n, _ in deltas], [table.num_rows for table in tables])
        sources = changed["source"].combine_chunks().dictionary_encode()
        codes = sources.indices.to_numpy()
        last = np.zeros(len(sources.dictionary), dtype=np.int64)
        np.maximum.at(last, codes, numbers)
        return changed.filter(pa.array(numbers == last[codes])).sort_by(self._order)

    def _merged(
        self, base: _Base, changed: pa.Table | None, names: Sequence[str], keys: list[str] | None
    ) -> Iterator[pa.Table]:
        """The rows of the base that are in no delta, and among them, in order, those of the deltas."""
        if base.file is None:
            kept: Iterator[pa.Table] = iter(())
        else:
            as_asked = changed is None and base.is_sorted and keys is None
            kept = self._rows_of(self._base_path, base.file, list(names) if as_asked else self._needed(names), keys)
            if not base.is_sorted:
                whole = list(kept)
                kept = iter([pa.concat_tables(whole).sort_by(self._order)] if whole else [])
        if changed is None:
            yield from kept
            return
        gone = changed["source"].combine_chunks().unique()
        column, value = self._tombstone
        new = filter_rows(changed, pc.not_equal(changed[column], value))
        order, taken = new[self._order], 0
        for rows in kept:
            # One path may go on in the next batch; what else has it comes then.
            upto = taken + (pc.sum(pc.less(order.slice(taken), rows[self._order][-1])).as_py() or 0)
            now = filter_rows(rows, pc.invert(pc.is_in(rows["source"], value_set=gone)))
            if upto > taken:
                now = pa.concat_tables([now, new.slice(taken, upto - taken)]).sort_by(self._order)
            taken = upto
            yield now
        yield new.slice(taken)

    def _needed(self, names: Sequence[str]) -> list[str]:
        needed = {*names, "source", self._tombstone[0], self._order}
        return [name for name in self._schema.names if name in needed]

    def _rows_of(
        self, path: LakePath, file: pq.ParquetFile, names: list[str], keys: list[str] | None = None
    ) -> Iterator[pa.Table]:
        with self._reading(path):
            there, footer = None if names == self._schema.names else names, file.metadata
            at = footer.schema.names.index(self._order)
            groups = list(range(footer.num_row_groups))
            if keys is not None:
                groups = [n for n in groups if _may_hold(footer.row_group(n).column(at).statistics, keys)]
            missing = sum(footer.row_group(n).num_rows for n in groups)
            for group in groups:  # one by one: those asked for together are fetched together
                for batch in file.iter_batches(_BATCH_ROWS, [group], columns=there):
                    missing -= batch.num_rows
                    yield self._conforming(pa.Table.from_batches([batch]), path, names)
            if missing:  # some damage ends the batches early, without a word
                raise ValueError(f"{missing} rows are missing")

    def _conforming(self, table: pa.Table, path: LakePath, names: list[str]) -> pa.Table:
        for name in set(names) - set(table.schema.names):  # a column that an earlier version did not write
            if (field := self._schema.field(name)).nullable:
                table = table.append_column(field, pa.nulls(table.num_rows, field.type))
        if not set(names) <= set(table.schema.names) <= set(self._schema.names):
            raise LakeError(f"{path} has the columns {table.schema.names}, not {self._schema.names}. {self._remedy}")
        return table.select(names).cast(pa.schema([self._schema.field(name) for name in names]))


def _may_hold(statistics: pq.Statistics | None, keys: list[str]) -> bool:
    """Whether a row group with these statistics may hold one of `keys`, which ascend."""
    if statistics is None or not statistics.has_min_max:
        return True
    return bisect_left(keys, statistics.min) < bisect_right(keys, statistics.max)


def _with_one_of(rows: pa.Table, column: str, keys: list[str]) -> pa.Table:
    """The rows with one of `keys`, which ascend as they do, in `column`."""
    if not rows.num_rows:
        return rows
    first, last = (rows[column][at].as_py() for at in (0, -1))
    here = keys[bisect_left(keys, first) : bisect_right(keys, last)]
    return filter_rows(rows, pc.is_in(rows[column], value_set=pa.array(here, pa.string())))


def filter_rows(table: pa.Table, mask: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The rows of which `mask` is true; the table itself, and no copy of it, when that is all of them."""
    return table if pc.all(mask, min_count=0).as_py() else table.filter(mask)
