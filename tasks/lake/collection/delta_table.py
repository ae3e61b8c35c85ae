"""A table that is read whole and changed a little: a base file, and deltas that replace rows by their source.

Each delta speaks for the sources it names, with all its rows; of several, the last. A tombstone takes its
source off the table. Deltas are numbered; `fold` writes a new base that says up to which number it has taken them in,
so that a crash before they are deleted, in whatever order, changes nothing.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake.storage.atomic import (
    Checkpoint,
    Damage,
    make_folder,
    no_checkpoint,
    quarantine,
    read_table,
    remove_files,
    write_table_atomically,
)
from millrace.tasks.lake.storage.location import LakePath

_FOLDED = b"millrace.folded"
_FOLD_AFTER = 1_000
"""Deltas that a long run may leave before they are folded in on its way: reading opens each of them."""


class DeltaTable:
    """The base at `base`, the deltas in the folder `base` with suffix `.d`.

    `tombstone` is the column and value that mark a row as a tombstone; `remedy` ends the message about a damaged file.
    """

    def __init__(
        self,
        base: LakePath,
        schema: pa.Schema,
        *,
        tombstone: tuple[str, str],
        remedy: str,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._base_path = base
        self._delta_folder = base.with_suffix(".d")
        self._schema = schema
        self._tombstone = tombstone
        self._remedy = remedy
        self._checkpoint = checkpoint
        self._known_deltas: tuple[int, int] | None = (
            None  # deltas, and the last number, once this process has written one
        )

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows as of the last delta, without tombstones, in the order in which they were first folded.

        `columns`: which, in this order; all when None. Of a large table a few take a fraction of the memory.

        Raises:
            LakeError: A file is damaged, or deleted under a reader again and again.
        """
        for _ in range(5):
            # Deltas are listed before the base is read: a fold between the two is then seen in the base's number.
            deltas = list(self._deltas())
            try:
                return self._overlaid(deltas, columns)
            except FileNotFoundError:
                continue  # another process has folded them in; the base has them now
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
        if deltas + 1 >= _FOLD_AFTER:
            self.fold()

    def fold(self) -> None:
        """Write the deltas into the base and delete them; without any, nothing is written."""
        deltas = list(self._deltas())
        if not deltas:
            return
        self._known_deltas = None
        table = self._overlaid(deltas)
        last = max(number for number, _ in deltas)
        write_table_atomically(
            table.replace_schema_metadata({_FOLDED: str(max(last, self._folded())).encode()}),
            self._base_path,
            checkpoint=self._checkpoint,
        )
        for _, path in deltas:
            remove_files([path])
            self._checkpoint("delta deleted")

    def check(self) -> list[Damage]:
        """The files that cannot be read."""
        damaged: list[Damage] = []
        for path in [self._base_path, *(path for _, path in self._deltas())]:
            try:
                self._conforming(read_table(path, remedy=self._remedy), path, self._schema.names)
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
        return len(taken), max([self._folded(), *taken])

    def _folded(self) -> int:
        """The number of the last delta that the base has taken in."""
        try:
            return self._number_of(read_table(self._base_path, columns=[], remedy=self._remedy))
        except FileNotFoundError:
            return 0

    @staticmethod
    def _number_of(base: pa.Table) -> int:
        return int((base.schema.metadata or {}).get(_FOLDED, b"0"))

    def _overlaid(self, deltas: list[tuple[int, LakePath]], columns: Sequence[str] | None = None) -> pa.Table:
        wanted = list(columns) if columns is not None else self._schema.names
        column, value = self._tombstone
        read = wanted if columns is None else [n for n in self._schema.names if n in {*wanted, "source", column}]
        some = None if columns is None else read
        try:
            base = read_table(self._base_path, columns=some, remedy=self._remedy)
        except FileNotFoundError:
            base = pa.schema([self._schema.field(name) for name in read]).empty_table()
        folded = self._number_of(base)
        base = self._conforming(base, self._base_path, read)
        newer = [
            (n, self._conforming(read_table(p, columns=some, remedy=self._remedy), p, read))
            for n, p in deltas
            if n > folded
        ]
        if not newer:
            return base.select(wanted)
        changed = pa.concat_tables([table for _, table in newer])
        numbers = np.repeat([n for n, _ in newer], [table.num_rows for _, table in newer])
        sources = changed["source"].combine_chunks().dictionary_encode()
        codes = sources.indices.to_numpy()
        last = np.zeros(len(sources.dictionary), dtype=np.int64)
        np.maximum.at(last, codes, numbers)
        keep = pc.and_(pa.array(numbers == last[codes]), pc.not_equal(changed[column].combine_chunks(), value))
        unchanged = filter_rows(base, pc.invert(pc.is_in(base["source"], value_set=sources.dictionary)))
        return pa.concat_tables([unchanged, filter_rows(changed, keep)]).select(wanted)

    def _conforming(self, table: pa.Table, path: LakePath, names: list[str]) -> pa.Table:
        for name in set(names) - set(table.schema.names):  # a column that an earlier version did not write
            if (field := self._schema.field(name)).nullable:
                table = table.append_column(field, pa.nulls(table.num_rows, field.type))
        if not set(names) <= set(table.schema.names) <= set(self._schema.names):
            raise LakeError(f"{path} has the columns {table.schema.names}, not {self._schema.names}. {self._remedy}")
        return table.select(names).cast(pa.schema([self._schema.field(name) for name in names]))


def filter_rows(table: pa.Table, mask: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The rows of which `mask` is true; the table itself, and no copy of it, when that is all of them."""
    return table if pc.all(mask, min_count=0).as_py() else table.filter(mask)
