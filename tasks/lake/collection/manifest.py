"""The manifest: one row a document, as of the last commit. It is written last, so it never claims what is not so."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.lake.collection.delta_table import DeltaTable
from millrace.tasks.lake.storage.atomic import Checkpoint, Damage, no_checkpoint
from millrace.tasks.lake.storage.location import LakePath
from millrace.tasks.records import MANIFEST_SCHEMA

_REMEDY = (
    "Restore it from a copy, or delete it: the next ingest then reads every document again and buys no vector twice."
)


class Manifest:
    """The manifest of the collection whose folder is `collection_dir`."""

    def __init__(self, collection_dir: LakePath, *, checkpoint: Checkpoint = no_checkpoint) -> None:
        self._table = DeltaTable(
            collection_dir / "manifest.parquet",
            MANIFEST_SCHEMA,
            tombstone=("status", "removed"),
            order="path",
            remedy=_REMEDY,
            checkpoint=checkpoint,
        )

    def read(
        self, columns: Sequence[str] | None = None, *, where: Callable[[pa.Table], pa.ChunkedArray] | None = None
    ) -> pa.Table:
        """One row of `MANIFEST_SCHEMA` for each document that is not removed; base and deltas together.

        `columns`: which of them, in this order; all when None. All of a million documents take 350 MB. `where`: which
        of some rows to keep; the others are not in memory together.

        Raises:
            LakeError: A file of the manifest is damaged.
        """
        if where is None:
            return self._table.read(columns)
        some = (rows.filter(where(rows)) for rows in self.batches(columns))
        return pa.concat_tables([self._table.nothing(columns), *some])

    def batches(
        self, columns: Sequence[str] | None = None, *, paths: Iterable[str] | None = None
    ) -> Iterator[pa.Table]:
        """What `read` gives, some thousand rows at a time and in the order of the paths' bytes; raises as it does.

        `paths`: only the documents of these files, of which a few are found without reading the others.
        """
        return self._table.batches(columns, only=paths)

    def sums(self, *columns: str) -> list[int]:
        """The sum of each of these columns; raises as `read`."""
        batches = self.batches(columns)
        found = [[pc.sum(rows[name]).as_py() or 0 for name in columns] for rows in batches]
        return [sum(each) for each in zip([0] * len(columns), *found, strict=True)]

    def has_rows(self) -> bool:
        """Whether a document has rows; raises as `read`."""
        return any(pc.any(pc.greater(rows["chunks"], 0)).as_py() for rows in self.batches(["chunks"]))

    def spaces(self) -> Counter[str]:
        """How many documents have rows in each embedding space, by its name; raises as `read`."""
        found: Counter[str] = Counter()
        for rows in self.batches(["space", "chunks"]):
            counts = pc.value_counts(rows["space"].filter(pc.greater(rows["chunks"], 0)))
            found.update({entry["values"]: entry["counts"] for entry in counts.to_pylist()})
        return found

    def commit(self, delta: pa.Table, name: str) -> None:
        """Make the rows of `delta` those of their sources, durably; `status` "removed" takes a source off.

        Args:
            delta: Rows of `MANIFEST_SCHEMA`, each source at most once.
            name: What to call it on disk, for people: a run or a job.

        Raises:
            ValueError: A source comes twice.
            LakeError: The disk is full, read-only or failing.
        """
        if pc.count_distinct(delta["source"]).as_py() != delta.num_rows:
            raise ValueError(f"delta {name} of the manifest names a source twice")
        self._table.commit(delta, name)

    def fold(self) -> None:
        """At the end of a run: fold the deltas into `manifest.parquet` when they are worth it."""
        self._table.fold()

    def check(self) -> list[Damage]:
        """The files of the manifest that cannot be read, each with the remedy."""
        return self._table.check()

    def quarantine(self) -> None:
        """Rename the files that cannot be read to `*.damaged`. What they alone said is forgotten."""
        self._table.quarantine()
