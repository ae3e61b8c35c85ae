"""What was refused and is still outstanding: a document's rejects are replaced when it is processed again."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.lake.collection.delta_table import DeltaTable
from millrace.tasks.lake.storage.atomic import Checkpoint, Damage, make_folder, no_checkpoint
from millrace.tasks.lake.storage.location import LakePath
from millrace.tasks.records import REJECT_SCHEMA

OUTSTANDING_SCHEMA = REJECT_SCHEMA.append(pa.field("run", pa.string(), nullable=False)).append(
    pa.field("first_run", pa.string())
)
"""`REJECT_SCHEMA`, the run that refused the item last, and the first of those that did so for the same reason."""

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
            order="source",
            remedy=_REMEDY,
            checkpoint=checkpoint,
        )
        self._by_source: dict[str, list[_Known]] | None = None

    def outstanding(self) -> pa.Table:
        """The rejects of every document as it was last processed: rows of `OUTSTANDING_SCHEMA`.

        Raises:
            LakeError: A file of the rejects is damaged.
        """
        table = self._table.read()
        position = OUTSTANDING_SCHEMA.get_field_index("first_run")  # null in what earlier versions wrote
        return table.set_column(
            position, OUTSTANDING_SCHEMA.field("first_run"), pc.coalesce(table["first_run"], table["run"])
        )

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
        if self._by_source is None:
            self._by_source = _by_source(self.outstanding())
        cleared = sorted((processed & self._by_source.keys()) - refused)
        tombstones = [dict.fromkeys(REJECT_SCHEMA.names, "") | {"stage": _CLEARED, "source": s} for s in cleared]
        delta = pa.concat_tables(
            [
                rejects.select(REJECT_SCHEMA.names).cast(REJECT_SCHEMA),
                pa.Table.from_pylist(tombstones, schema=REJECT_SCHEMA),
            ]
        )
        if delta.num_rows == 0:
            return
        first_runs = _first_runs(rejects, self._by_source, run) + [run] * len(tombstones)
        delta = delta.append_column(OUTSTANDING_SCHEMA.field("run"), [[run] * delta.num_rows])
        delta = delta.append_column(OUTSTANDING_SCHEMA.field("first_run"), [first_runs])
        make_folder(self._folder)
        self._table.commit(delta, name)
        for source in cleared:
            del self._by_source[source]
        self._by_source |= _by_source(delta.slice(0, rejects.num_rows))

    def fold(self) -> None:
        """At the end of a run: fold the changes into `rejects/rejects.parquet` when they are worth it."""
        self._table.fold()

    def check(self) -> list[Damage]:
        """The files of the rejects that cannot be read, each with the remedy."""
        return self._table.check()

    def quarantine(self) -> None:
        """Rename the files that cannot be read to `*.damaged`. What they alone said is forgotten."""
        self._table.quarantine()


_Known = tuple[str, str, str]
"""Item, reason and first run of a reject."""


def _by_source(rejects: pa.Table) -> dict[str, list[_Known]]:
    found: defaultdict[str, list[_Known]] = defaultdict(list)
    for source, item, reason, first_run in _rows(rejects, "source", "item", "reason", "first_run"):
        found[source].append((item, reason, first_run))
    return dict(found)


def _first_runs(rejects: pa.Table, known: Mapping[str, list[_Known]], run: str) -> list[str]:
    """The first run of each reject, in their order.

    Of a document and a reason, as many as are `known` stay so, whatever their items are called by now: rows are
    renumbered and chunks have other ids when a document changes. The others are new in `run`.
    """
    rows = _rows(rejects, "source", "item", "reason")
    same_item: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for source in {row[0] for row in rows}:
        for item, reason, first_run in known.get(source, ()):
            same_item[source, item, reason].append(first_run)
    found = [same_item[row].pop() if same_item.get(row) else "" for row in rows]
    same_reason: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for (source, _, reason), left in same_item.items():
        same_reason[source, reason] += left
    for i, (source, _, reason) in enumerate(rows):
        left = same_reason[source, reason]
        found[i] = found[i] or (left.pop() if left else run)
    return found


def _rows(table: pa.Table, *columns: str) -> list[tuple[str, ...]]:
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))
