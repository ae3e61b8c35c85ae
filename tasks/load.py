"""The load stage: the rows of a part into the collection, then the old rows out, then the manifest.

Joins `lake` (parts, vectors, manifest, rejects) and `milvus`. The order of effects is the promise of law 6: new rows
are upserted and readable before old ones are deleted, and the manifest is written last, so it never claims what is
not so.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.chunk import Part
from tasks.errors import CollectionError, Rejected, TextsRefused
from tasks.lake import Lake, VectorStore
from tasks.milvus import Collection, check_rows
from tasks.records import MANIFEST_SCHEMA, REJECT_SCHEMA, Reject, Stage, reject_table


@dataclass(frozen=True, slots=True)
class Loaded:
    """Counts of one part: documents by what became of them, and rows."""

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
        previous: pa.Table,
        doubted_rows: Mapping[str, frozenset[str]],
        space: str,
        run: str,
    ) -> None:
        """A stage for one run.

        `previous`: manifest rows of the documents that this run reads again. `doubted_rows`: by source, ids that an
        interrupted run may have upserted. `space`: name of the embedding space of this run.
        """
        self._parts = lake.chunks
        self._store = store
        self._collection = collection
        self._manifest = lake.manifest
        self._rejects = lake.rejects
        self._run = run
        self._previous = {row["source"]: row for row in previous.to_pylist()}
        self._doubted = doubted_rows
        self._space = space
        self._known: dict[str, dict[str, bytes]] = {}
        self._new_ids: dict[str, set[str]] = {}
        self._losses: dict[str, list[Reject]] = {}
        self.finished: set[str] = set()

    def run(self, part: Part, refused: Mapping[bytes, TextsRefused]) -> Loaded:
        """Load one part; blocking. `refused` are texts without a vector, by key."""
        written = self._parts.read(part.job, part.number, part.number)
        rows, losses = _without_refused(written, refused)
        rows, vectors, unfit = self._fit_rows(rows)
        losses += unfit
        if losses:  # so that a part holds exactly what the collection does
            self._parts.write(part.job, part.number, rows)
        changed = self._changed_positions(rows)
        upserted = self._collection.upsert(rows.take(pa.array(changed)), vectors[changed]) if len(changed) else 0
        for source, row_id in zip(rows["source"].to_pylist(), rows["id"].to_pylist(), strict=True):
            self._new_ids.setdefault(source, set()).add(row_id)
        for loss in losses:  # kept until their document ends, perhaps parts later
            self._losses.setdefault(loss.source, []).append(loss)
        documents, ended = self._settled(part.documents)
        deleted = self._delete_stale(documents)
        counts = self._commit(documents, part, ended)
        return replace(counts, upserted=upserted, deleted=deleted, rejected_chunks=len(losses))

    def remove(self, documents: pa.Table, extra_ids: Mapping[str, frozenset[str]]) -> int:
        """Take the rows of documents that are gone out of the collection and the manifest; how many rows.

        `documents`: their manifest rows. `extra_ids`: by source, further ids that an interrupted run may have left.
        """
        ids: set[str] = set().union(*extra_ids.values()) if extra_ids else set()
        for row in documents.to_pylist():
            ids |= self._row_hashes(row).keys()
        if ids:
            self._collection.delete(sorted(ids))
        if documents.num_rows:
            position = MANIFEST_SCHEMA.get_field_index("status")
            tombstones = documents.set_column(
                position, MANIFEST_SCHEMA.field("status"), pa.array(["removed"] * documents.num_rows, pa.string())
            )
            self._rejects.replace(
                documents["source"].to_pylist(), REJECT_SCHEMA.empty_table(), run=self._run, name=self._run
            )
            self._manifest.commit(tombstones, self._run)
        return len(ids)

    def _fit_rows(self, rows: pa.Table) -> tuple[pa.Table, np.ndarray, list[Reject]]:
        """The rows that a server would take, with their vectors, and why the others are not among them."""
        vectors = self._store.read(rows["text_key"].to_pylist())
        unfit = dict(check_rows(rows, vectors, self._collection.shape))
        if not unfit:
            return rows, vectors, []
        losses = [
            _row_reject("load", rows["source"][position].as_py(), rows["id"][position].as_py(), rejected)
            for position, rejected in unfit.items()
        ]
        fit = np.array([position for position in range(rows.num_rows) if position not in unfit], dtype=np.int64)
        return rows.take(pa.array(fit)), vectors[fit], losses

    def _changed_positions(self, rows: pa.Table) -> np.ndarray:
        """Positions of the rows that the collection does not surely hold just as they are."""
        known: dict[str, bytes] = {}
        for source in rows["source"].unique().to_pylist():
            known |= self._known_rows(source)
        pairs = zip(rows["id"].to_pylist(), rows["row_hash"].to_pylist(), strict=True)
        return np.array([i for i, (row_id, digest) in enumerate(pairs) if known.get(row_id) != digest], dtype=np.int64)

    def _known_rows(self, source: str) -> dict[str, bytes]:
        """Row hash by id of what the collection surely holds of a document; kept until the document is finished."""
        if source not in self._known:
            before = self._previous.get(source)
            sure = before is not None and source not in self._doubted and before["space"] == self._space
            self._known[source] = self._row_hashes(before) if before is not None and sure else {}
        return self._known[source]

    def _row_hashes(self, document: Mapping[str, Any]) -> dict[str, bytes]:
        """Row hash by id of the rows that a manifest row stands for."""
        if not document["chunks"]:
            return {}
        rows = self._parts.read(
            document["job"],
            document["part_first"],
            document["part_last"],
            columns=["id", "source", "row_hash"],
            sources=[document["source"]],
        )
        return dict(zip(rows["id"].to_pylist(), rows["row_hash"].to_pylist(), strict=True))

    def _settled(self, documents: pa.Table) -> tuple[list[dict[str, Any]], list[Reject]]:
        """Manifest rows of the documents that ended in this part, and the chunks they lost since they were cut.

        A document of which nothing could be taken keeps the rows of its earlier version.
        """
        ended: list[Reject] = []
        settled: list[dict[str, Any]] = documents.to_pylist()
        for row in settled:
            lost = self._losses.pop(row["source"], [])
            ended += lost
            row["chunks"] -= len(lost)
            row["rejects"] += len(lost)
            if row["chunks"] == 0:
                row["status"] = "rejected"
                before = self._previous.get(row["source"])
                if before is not None:
                    row |= {key: before[key] for key in ("job", "part_first", "part_last", "chunks", "tokens", "space")}
        return settled, ended

    def _delete_stale(self, documents: list[dict[str, Any]]) -> int:
        """Delete the rows that finished documents no longer have, once the rows that they do have are readable."""
        stale: set[str] = set()
        replacing: set[str] = set()
        for row in documents:
            source = row["source"]
            new = self._new_ids.pop(source, set())
            before = self._previous.get(source)
            old = self._row_hashes(before).keys() if before is not None else set()
            doubted = self._doubted.get(source, frozenset())
            gone = doubted - old if row["status"] == "rejected" else (old | doubted) - new
            if gone:
                stale |= gone
                replacing |= new
            self._known.pop(source, None)
        if stale:
            self._require_readable(sorted(replacing))
            self._collection.delete(sorted(stale))
        return len(stale)

    def _require_readable(self, ids: Sequence[str]) -> None:
        unseen = len(ids) - len(self._collection.present(ids)) if ids else 0
        if unseen:
            raise CollectionError(
                f"{unseen} of {len(ids)} rows were acknowledged but cannot be read back; "
                "nothing was deleted. Look at the server's log, then run the same command again"
            )

    def _commit(self, documents: list[dict[str, Any]], part: Part, losses: list[Reject]) -> Loaded:
        """Write the rejects, then the manifest; only now are these documents done."""
        counts = Counter(self._verdict(row) for row in documents)
        rejects = pa.concat_tables([part.rejects, reject_table(losses)])
        sources = [row["source"] for row in documents]
        name = f"job-{part.job}-{part.number}"
        self._rejects.replace(sources, rejects, run=self._run, name=name)
        self._manifest.commit(pa.Table.from_pylist(documents, schema=MANIFEST_SCHEMA), name)
        self.finished.update(sources)
        return Loaded(
            added=counts["added"],
            changed=counts["changed"],
            unchanged=counts["unchanged"],
            rejected=counts["rejected"],
        )

    def _verdict(self, row: Mapping[str, Any]) -> str:
        if row["status"] == "rejected":
            return "rejected"
        before = self._previous.get(row["source"])
        if before is None or before["status"] == "rejected":
            return "added" if before is None or not before["chunks"] else "changed"
        same = all(before[key] == row[key] for key in ("document_hash", "fingerprint"))
        return "unchanged" if same else "changed"


def _without_refused(rows: pa.Table, refused: Mapping[bytes, TextsRefused]) -> tuple[pa.Table, list[Reject]]:
    """The rows that have a vector, and a reject for each that the provider refused."""
    if not refused:
        return rows, []
    keys = rows["text_key"].to_pylist()
    losses = [
        _row_reject("embed", rows["source"][i].as_py(), rows["id"][i].as_py(), refused[key])
        for i, key in enumerate(keys)
        if key in refused
    ]
    return rows.filter(pa.array([key not in refused for key in keys])), losses


def _row_reject(stage: Stage, source: str, row_id: str, rejected: Rejected) -> Reject:
    return Reject(stage, source, f"chunk {row_id}", rejected.reason, str(rejected), rejected.remedy)
