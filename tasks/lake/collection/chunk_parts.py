"""The chunk parts: the rows that are, or are about to be, in the collection, without their vectors.

A part is written before any of its rows is upserted, so the parts are the intent log: a row that no part holds was
never sent, and a part that the manifest does not name was left by an interrupted run, or is outlived by its documents.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake.storage.atomic import (
    Checkpoint,
    damaged_error,
    no_checkpoint,
    quarantine,
    remove_files,
    translate_read_errors,
    write_table_atomically,
)
from millrace.tasks.lake.storage.location import LakePath, parquet_file
from millrace.tasks.records import CHUNK_SCHEMA, MANIFEST_SCHEMA

_NAME = re.compile(r"part-(\d{6,})-(\d{3,})\.parquet")
_REMEDY = "Run `millrace verify --repair`, which makes its rows again from the sources; vectors are not embedded again."
_PARTS_AT_A_TIME = 1_000  # of a hundred thousand, beside a manifest of ten million rows

ROW_LOCATION_COLUMNS = ("source", "job", "part_first", "part_last", "chunks")
"""The columns of the manifest that say which parts hold a document's rows."""

_RANGE = ["job", "part_first", "part_last"]


class PartName(NamedTuple):
    """Part `number` of job `job`."""

    job: int
    number: int


class PartMissing(LakeError):
    """A part that the manifest names, or named a moment ago, is not there."""


class ChunkParts:
    """The chunk parts in `folder`. Needs no lease for writing: worker processes write the parts of their own job."""

    def __init__(
        self,
        folder: LakePath,
        *,
        current_manifest: Callable[[], pa.Table] | None = None,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        """`current_manifest` reads the manifest as it is now: a reader may hold one from before a compaction."""
        self._folder = folder
        self._current_manifest = current_manifest
        self._checkpoint = checkpoint

    def path(self, part: PartName) -> LakePath:
        """Where the part is, or would be."""
        return self._folder / f"part-{part.job:06d}-{part.number:03d}.parquet"

    def write(self, job: int, number: int, table: pa.Table) -> LakePath:
        """The path of part `number` of `job`, durable, with the rows of `table` (`CHUNK_SCHEMA`) in their order.

        Raises:
            LakeError: The disk is full, read-only or failing.
        """
        path = self.path(PartName(job, number))
        write_table_atomically(table.select(CHUNK_SCHEMA.names).cast(CHUNK_SCHEMA), path, checkpoint=self._checkpoint)
        return path

    def read(
        self,
        job: int,
        first: int,
        last: int,
        *,
        columns: Sequence[str] | None = None,
        sources: Iterable[str] | None = None,
    ) -> pa.Table:
        """Rows of the parts `first` to `last` (inclusive) of `job`, in document order.

        Args:
            job: The job.
            first: Its first part to read.
            last: Its last part to read.
            columns: Which columns, in this order; all of `CHUNK_SCHEMA` when None.
            sources: Only rows of these documents, when given. If a compaction has moved them to other parts, they are
                read from there.

        Raises:
            LakeError: A part is missing or damaged; the message names it.
        """
        names = list(columns) if columns is not None else CHUNK_SCHEMA.names
        wanted = None if sources is None else pa.array(sources, pa.string())
        nothing = pa.schema([CHUNK_SCHEMA.field(name) for name in names]).empty_table()
        try:
            parts = [self._read_one(PartName(job, number), names, wanted) for number in range(first, last + 1)]
        except PartMissing:
            if wanted is None or self._current_manifest is None:
                raise
            now = _locations_of(wanted, self._current_manifest())
            if any(location[0] == job for location in now):
                raise
            parts = [self.read(*location, columns=names, sources=some) for location, some in sorted(now.items())]
        return pa.concat_tables([nothing, *parts])

    def all(self) -> list[PartName]:
        """Every part in the folder, sorted by job and number."""
        if not self._folder.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted(PartName(int(m[1]), int(m[2])) for m in matches if m)

    def dangling(self, ranges: pa.Table) -> list[PartName]:
        """Parts that hold no row of a document. `ranges`: the `row_ranges` of the manifest, or rows of it.

        Before a run they are what interrupted runs left: some of their rows may be in the collection, and no document
        owns them. After a run has committed they are the parts that changed and removed documents have outlived.
        """
        live = ranges.filter(pc.greater(ranges["chunks"], 0))
        jobs, firsts, lasts = (live[name].to_pylist() for name in _RANGE)
        rows = {
            (job, number)
            for job, first, last in zip(jobs, firsts, lasts, strict=True)
            for number in range(first, last + 1)
        }
        return [part for part in self.all() if part not in rows]

    def unowned_rows(self, parts: Sequence[PartName], manifest: pa.Table) -> Iterator[tuple[PartName, pa.Table]]:
        """Each of `parts`, in order, with its rows (`id`, `source`) whose document, by `manifest`, is not in it.

        A part that holds a whole document and the beginning of the next is named by the first, and by the second only
        when all of that is in: a run that is killed between leaves such rows in a part that does not dangle.

        Raises:
            LakeError: A part is missing or damaged.
        """
        for first in range(0, len(parts), _PARTS_AT_A_TIME):
            some = parts[first : first + _PARTS_AT_A_TIME]
            owned = _live_rows(manifest, some[0].job, some[-1].job)
            jobs = owned["job"].to_numpy()
            for part in some:
                begin, end = np.searchsorted(jobs, [part.job, part.job + 1])
                here = owned.slice(begin, end - begin)
                within = pc.and_(
                    pc.less_equal(here["part_first"], part.number), pc.greater_equal(here["part_last"], part.number)
                )
                owners = here["source"].filter(within).combine_chunks()
                rows = self._read_one(part, ["id", "source"], None)
                yield part, rows.filter(pc.invert(pc.is_in(rows["source"], value_set=owners)))

    def remove(self, parts: Iterable[PartName]) -> None:
        """Delete the parts, durably. Raises LakeError when the folder cannot be written."""
        paths = [self.path(part) for part in parts]
        if paths:
            remove_files(paths)
            self._checkpoint("removed")

    def quarantine(self, part: PartName) -> None:
        """Rename the part's file to `*.damaged`, durably."""
        quarantine(self.path(part))

    def problem(self, part: PartName) -> str:
        """What is wrong with the part, as one sentence; "" when it can be read and its checksums agree.

        Raises:
            LakeUnreachable: The system does not let this process read it.
        """
        try:
            self._read_one(part, CHUNK_SCHEMA.names, None)
        except LakeUnreachable:
            raise
        except LakeError as error:
            return str(error)
        return ""

    def _read_one(self, part: PartName, names: list[str], wanted: pa.Array | None) -> pa.Table:
        path = self.path(part)
        read = names if wanted is None or "source" in names else [*names, "source"]
        try:
            with _reading(path), parquet_file(path) as file:
                table = file.read(columns=read).select(read)
        except FileNotFoundError as error:
            raise PartMissing(f"{path} is missing, though the manifest names it. {_REMEDY}") from error
        if wanted is not None:
            table = table.filter(pc.is_in(table["source"], value_set=wanted)).select(names)
        return table.cast(pa.schema([CHUNK_SCHEMA.field(name) for name in names]))


def _reading(path: LakePath) -> AbstractContextManager[None]:
    return translate_read_errors(path, lambda reason: damaged_error(path, reason, _REMEDY))


def _live_rows(manifest: pa.Table, first_job: int, last_job: int) -> pa.Table:
    """Where the documents of these jobs have their rows, sorted by job."""
    of_jobs = pc.and_(pc.greater_equal(manifest["job"], first_job), pc.less_equal(manifest["job"], last_job))
    live = manifest.select(["source", "job", "part_first", "part_last"]).filter(
        pc.and_(of_jobs, pc.greater(manifest["chunks"], 0))
    )
    return live.sort_by("job").combine_chunks()


def _locations_of(sources: pa.Array, manifest: pa.Table) -> dict[tuple[int, int, int], list[str]]:
    """Those of `sources` that have rows, by job, first and last part."""
    live = manifest.filter(pc.and_(pc.greater(manifest["chunks"], 0), pc.is_in(manifest["source"], sources)))
    locations: dict[tuple[int, int, int], list[str]] = {}
    for row in live.select(["job", "part_first", "part_last", "source"]).to_pylist():
        locations.setdefault((row["job"], row["part_first"], row["part_last"]), []).append(row["source"])
    return locations


def row_ranges(documents: Iterable[pa.Table]) -> pa.Table:
    """Where documents have their rows: job, first and last part, and how many (`chunks`), each range once, in order.

    `documents`: rows of the manifest with `ROW_LOCATION_COLUMNS`, a batch in memory at a time.
    """
    ranges = [_by_range(rows.filter(pc.greater(rows["chunks"], 0))) for rows in documents]
    nothing = _by_range(MANIFEST_SCHEMA.empty_table())
    return _by_range(pa.concat_tables([nothing, *ranges])).sort_by([(name, "ascending") for name in _RANGE])


def _by_range(rows: pa.Table) -> pa.Table:
    grouped = rows.group_by(_RANGE).aggregate([("chunks", "sum")])
    return grouped.rename_columns([*_RANGE, "chunks"])
