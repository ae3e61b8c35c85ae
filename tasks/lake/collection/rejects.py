"""What was refused and is still outstanding: a document's rejects are replaced when it is processed again."""

from collections.abc import Iterable

import pyarrow as pa

from millrace.tasks.lake.collection.delta_table import DeltaTable
from millrace.tasks.lake.storage.atomic import Checkpoint, Damage, make_folder, no_checkpoint
from millrace.tasks.lake.storage.location import LakePath
from millrace.tasks.records import REJECT_SCHEMA

OUTSTANDING_SCHEMA = REJECT_SCHEMA.append(pa.field("run", pa.string(), nullable=False))
"""`REJECT_SCHEMA`, and the run that refused it."""

_CLEARED = "cleared"
_REMEDY = (
    "Restore it from a copy, or delete it: rejects are found again when their documents are processed again "
    "(`millrace rejects retry`)."
)


class Rejects:
    """The rejects of the collection whose folder is `collection_dir`, in `rejects/`."""

    def __init__(self, collection_dir: LakePath, *, checkpoint: Checkpoint = no_checkpoint) -> None:
        self._folder = collection_dir / "rejects"
        self._table = DeltaTable(
            self._folder / "rejects.parquet",
            OUTSTANDING_SCHEMA,
            tombstone=("stage", _CLEARED),
            remedy=_REMEDY,
            checkpoint=checkpoint,
        )
        self._sources: set[str] | None = None

    def outstanding(self) -> pa.Table:
        """The rejects of every document as it was last processed: rows of `OUTSTANDING_SCHEMA`.

        Raises:
            LakeError: A file of the rejects is damaged.
        """
        return self._table.read()

    def replace(self, sources: Iterable[str], rejects: pa.Table, *, run: str, name: str) -> None:
        """Make `rejects` all that is outstanding for `sources`, durably. Where nothing changes nothing is written.

        Args:
            sources: Every document that was processed, also those without a reject, and those removed.
            rejects: Rows of `REJECT_SCHEMA`; their sources are among `sources`.
            run: The run that refused them.
            name: What to call the change on disk, for people: a run or a job.

        Raises:
            ValueError: A reject belongs to none of `sources`.
            LakeError: The disk is full, read-only or failing.
        """
        processed = set(sources)
        refused = set(rejects["source"].to_pylist())
        if not refused <= processed:
            raise ValueError(f"rejects of {min(refused - processed)}, which is not among the processed sources")
        if self._sources is None:
            self._sources = set(self.outstanding()["source"].to_pylist())
        cleared = sorted((processed & self._sources) - refused)
        tombstones = [dict.fromkeys(REJECT_SCHEMA.names, "") | {"stage": _CLEARED, "source": s} for s in cleared]
        delta = pa.concat_tables(
            [
                rejects.select(REJECT_SCHEMA.names).cast(REJECT_SCHEMA),
                pa.Table.from_pylist(tombstones, schema=REJECT_SCHEMA),
            ]
        )
        if delta.num_rows == 0:
            return
        make_folder(self._folder)
        self._table.commit(delta.append_column(OUTSTANDING_SCHEMA.field("run"), [[run] * delta.num_rows]), name)
        self._sources |= refused
        self._sources.difference_update(cleared)

    def fold(self) -> None:
        """Fold the changes into `rejects/rejects.parquet`, as at the end of a run."""
        self._table.fold()

    def check(self) -> list[Damage]:
        """The files of the rejects that cannot be read, each with the remedy."""
        return self._table.check()

    def quarantine(self) -> None:
        """Rename the files that cannot be read to `*.damaged`. What they alone said is forgotten."""
        self._table.quarantine()
