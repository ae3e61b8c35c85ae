"""The load stage: the rows of a part into the collection, then the old rows out, then the manifest.

Joins `lake` (parts, vectors, manifest, rejects) and `milvus`. The order of effects is the law "a live document never
vanishes": new rows are upserted and readable before old ones are deleted, and the manifest is written last, so that it
is never ahead of the collection.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.embedding import Vectors
from millrace.tasks.errors import CollectionError, Rejected, TextsRefused
from millrace.tasks.lake import Checkpoint, Lake, VectorStore, no_checkpoint
from millrace.tasks.lake.vectors.store import with_sparse
from millrace.tasks.milvus import Collection, check_rows
from millrace.tasks.records import MANIFEST_SCHEMA, REJECT_SCHEMA, ManifestRow, Reject, Stage, reject_table
from millrace.tasks.stages.part_writer import Part
from millrace.tasks.stages.row_diff import RowDiff, ids_of


@dataclass(frozen=True, slots=True)
class Loaded:
    """Counts of one part: documents by outcome, and rows."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    upserted: int = 0
    deleted: int = 0
    rejected_chunks: int = 0


class LoadStage:
    """Brings parts into the collection, one after the other, in the order in which they were made."""

    def __init__(
        self,
        *,
        lake: Lake,
        store: VectorStore,
        collection: Collection,
        row_diff: RowDiff,
        run: str,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._lake = lake
        self._store = store
        self._collection = collection
        self._row_diff = row_diff
        self._run = run
        self._checkpoint = checkpoint
        self._lost_chunks: dict[str, list[Reject]] = {}

    def run(self, part: Part, refused: Mapping[bytes, TextsRefused]) -> Loaded:
        """Load one part; blocking. `refused` are texts without a vector, by key."""
        written = self._lake.chunks.read(part.job, part.number, part.number)
        rows, lost = _without_refused(written, refused)
        rows, vectors, invalid = self._valid_rows(rows)
        lost += invalid
        if lost:  # so that a part holds exactly what the collection does
            self._lake.chunks.write(part.job, part.number, rows)
        changed = self._row_diff.changed_positions(rows)
        self._lake.require_lease()
        upserted = self._collection.upsert(rows.take(pa.array(changed)), vectors[changed]) if len(changed) else 0
        for reject in lost:  # until their document ends, perhaps parts later
            self._lost_chunks.setdefault(reject.source, []).append(reject)
        documents, rejects = self._without_lost_chunks(part.documents)
        upserted += self._restore_previous(documents)
        deleted = self._delete_stale(documents)
        counts = self._commit(documents, part, rejects)
        return replace(counts, upserted=upserted, deleted=deleted, rejected_chunks=len(lost))

    def remove(self, documents: pa.Table, extra_ids: Mapping[str, frozenset[str]]) -> int:
        """Delete the rows of removed documents from the collection and the manifest; how many rows.

        The manifest calls them leaving first: if this is interrupted and their files come back just as they were, they
        are not taken for unchanged.

        `documents`: their manifest rows. `extra_ids`: by source, further ids that an interrupted run may have left.
        """
        with_rows = documents.filter(pc.greater(documents["chunks"], 0))
        self._lake.manifest.commit(_with_status(with_rows, "leaving"), self._run)
        self._checkpoint("marked as leaving")
        extra = frozenset[str]().union(*extra_ids.values())
        deleted = len(extra)
        if extra:
            self._collection.delete(sorted(extra))
        for ids in ids_of(self._lake.chunks, documents):
            self._collection.delete(sorted(ids))
            deleted += len(ids - extra)
        if deleted:
            self._checkpoint("gone rows deleted")
        if documents.num_rows:
            sources = documents["source"].to_pylist()
            self._lake.rejects.replace(sources, REJECT_SCHEMA.empty_table(), run=self._run, name=self._run)
            self._lake.manifest.commit(_with_status(documents, "removed"), self._run)
            self._checkpoint("removed")
        return deleted

    def _valid_rows(self, rows: pa.Table) -> tuple[pa.Table, Vectors, list[Reject]]:
        """The rows that a server accepts, with their vectors, and a reject for each of the others."""
        vectors = self._store.read(rows["text_key"].to_pylist())
        rows = with_sparse(rows, self._store)
        invalid = dict(check_rows(rows, vectors, self._collection.shape))
        if not invalid:
            return rows, vectors, []
        rejects = [
            _row_reject("load", rows["source"][position].as_py(), rows["id"][position].as_py(), rejected)
            for position, rejected in invalid.items()
        ]
        valid = np.array([position for position in range(rows.num_rows) if position not in invalid], dtype=np.int64)
        return rows.take(pa.array(valid)), vectors[valid], rejects

    def _without_lost_chunks(self, documents: pa.Table) -> tuple[list[ManifestRow], list[Reject]]:
        """Manifest rows of the documents that ended in this part, and a reject for each chunk lost since it was cut.

        A document of which nothing could be taken keeps the rows of its earlier version.
        """
        rejects: list[Reject] = []
        rows: list[ManifestRow] = documents.to_pylist()
        for row in rows:
            lost = self._lost_chunks.pop(row["source"], [])
            rejects += lost
            row["chunks"] -= len(lost)
            row["rejects"] += len(lost)
            if row["chunks"] == 0:
                row["status"] = "rejected"
                before = self._row_diff.previous_version(row["source"])
                if before is not None:
                    row |= {key: before[key] for key in ("job", "part_first", "part_last", "chunks", "tokens", "space")}
        return rows, rejects

    def _restore_previous(self, documents: list[ManifestRow]) -> int:
        """Upsert the rows of previous versions that stay and may have been overwritten; how many rows."""
        restored = 0
        for row in documents:
            if row["status"] == "rejected" and row["chunks"] and self._row_diff.may_be_overwritten(row["source"]):
                previous = self._lake.chunks.read(
                    row["job"], row["part_first"], row["part_last"], sources=[row["source"]]
                )
                if row["space"] == self._store.space.name:  # vectors of another space are not in this store
                    vectors = self._store.read(previous["text_key"].to_pylist())
                    restored += self._collection.upsert(with_sparse(previous, self._store), vectors)
        return restored

    def _delete_stale(self, documents: list[ManifestRow]) -> int:
        """Delete the rows that finished documents no longer have, once the rows that they do have are readable."""
        stale: set[str] = set()
        replacing: set[str] = set()
        for row in documents:
            old, new = self._row_diff.stale_and_current_ids(row)
            if old:
                stale |= old
                replacing |= new
        if stale:
            self._require_readable(sorted(replacing))
            self._checkpoint("readable")
            self._lake.require_lease()
            self._collection.delete(sorted(stale))
        return len(stale)

    def _require_readable(self, ids: Sequence[str]) -> None:
        unseen = len(ids) - len(self._collection.present(ids)) if ids else 0
        if unseen:
            raise CollectionError(
                f"{unseen} of {len(ids)} rows were acknowledged but cannot be read back; "
                "nothing was deleted. Look at the server's log, then run the same command again"
            )

    def _commit(self, documents: list[ManifestRow], part: Part, lost: list[Reject]) -> Loaded:
        """Write the rejects, then the manifest; only now are these documents done."""
        counts = Counter(self._row_diff.outcome(row) for row in documents)
        rejects = pa.concat_tables([part.rejects, reject_table(lost)])
        sources = [row["source"] for row in documents]
        name = f"job-{part.job}-{part.number}"
        self._lake.rejects.replace(sources, rejects, run=self._run, name=name)
        self._lake.manifest.commit(pa.Table.from_pylist(documents, schema=MANIFEST_SCHEMA), name)
        self._row_diff.finish(sources)
        return Loaded(
            added=counts["added"],
            changed=counts["changed"],
            unchanged=counts["unchanged"],
            rejected=counts["rejected"],
        )


def _with_status(documents: pa.Table, status: str) -> pa.Table:
    position = MANIFEST_SCHEMA.get_field_index("status")
    return documents.set_column(
        position, MANIFEST_SCHEMA.field("status"), pa.array([status] * documents.num_rows, pa.string())
    )


def _without_refused(rows: pa.Table, refused: Mapping[bytes, TextsRefused]) -> tuple[pa.Table, list[Reject]]:
    """The rows that have a vector, and a reject for each that the provider refused."""
    if not refused:
        return rows, []
    keys = rows["text_key"].to_pylist()
    rejects = [
        _row_reject("embed", rows["source"][i].as_py(), rows["id"][i].as_py(), refused[key])
        for i, key in enumerate(keys)
        if key in refused
    ]
    return rows.filter(pa.array([key not in refused for key in keys])), rejects


def _row_reject(stage: Stage, source: str, row_id: str, rejected: Rejected) -> Reject:
    return Reject(stage, source, f"chunk {row_id}", rejected.reason, str(rejected), rejected.remedy)
