"""Old against new: which rows of a document the collection surely holds already, and which must be deleted.

Joins nothing but the lake: the manifest says which parts hold a document's rows, the parts say which rows those are.
Used by the load stage, which acts on it, and by the plan, which only counts.

A run may read a million documents again, most of them records of one file. In memory are their manifest rows as a
table, 17 bytes for each beside it, and the row hashes of those alone that are being compared.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.lake import ChunkParts
from millrace.tasks.records import ManifestRow

RowHashes = Mapping[str, bytes]
"""Row hash by id, of the rows of one document."""

_NO_ROWS: RowHashes = {}
_DOCUMENTS_AT_A_TIME = 10_000


class PreviousDocuments:
    """Manifest rows by source. A row that was fetched stays in memory until the document is finished."""

    def __init__(self, parts: ChunkParts, documents: pa.Table) -> None:
        """`documents` has `MANIFEST_SCHEMA`, each source once."""
        self._parts = parts
        self._documents = documents
        self._finished = np.zeros(documents.num_rows, np.bool_)
        self._names = documents["source"]
        names = (name for chunk in self._names.chunks for name in chunk.to_pylist())
        hashes = np.fromiter((hash(name) for name in names), np.int64, documents.num_rows)
        self._order = np.argsort(hashes)
        self._hashes = hashes[self._order]
        self._rows: dict[str, ManifestRow | None] = {}
        self._row_hashes: dict[str, RowHashes] = {}

    def fetch(self, sources: Sequence[str]) -> None:
        """Read these documents and their row hashes: each chunk part that they are in once."""
        missing = [source for source in sources if source not in self._rows]
        at = np.array([self._position(source) for source in missing], np.int64)
        # Slices, because taking rows would copy the columns whole.
        found = [
            row
            for first, count in _runs(np.sort(at[at >= 0]))
            for row in self._documents.slice(first, count).to_pylist()
        ]
        self._rows.update(dict.fromkeys(missing))
        self._rows.update({row["source"]: row for row in found})
        for some in hashes_by_source(self._parts, found):
            self._row_hashes.update(some)

    def row(self, source: str) -> ManifestRow | None:
        """The manifest row of the document, None where there was none."""
        if source not in self._rows:
            self.fetch([source])
        return self._rows[source]

    def row_hashes(self, source: str) -> RowHashes:
        """The document's rows as the lake has them; none for one that there was not."""
        if self.row(source) is None:
            return _NO_ROWS
        return self._row_hashes.get(source, _NO_ROWS)

    def finish(self, sources: Iterable[str]) -> None:
        """Forget these documents: they are done and are not asked for again."""
        for source in sources:
            if (at := self._position(source)) >= 0:
                self._finished[at] = True
            self._rows.pop(source, None)
            self._row_hashes.pop(source, None)

    def unfinished(self) -> pa.Table:
        """Manifest rows of the documents that were not finished."""
        return self._documents.filter(pa.array(~self._finished))

    def _position(self, source: str) -> int:
        """The number of the document's row; -1 where there is none."""
        digest = hash(source)
        at = int(np.searchsorted(self._hashes, digest))
        while at < len(self._hashes) and self._hashes[at] == digest:
            position = int(self._order[at])
            if self._names[position].as_py() == source:
                return position
            at += 1
        return -1


def hashes_by_source(parts: ChunkParts, documents: Iterable[ManifestRow]) -> Iterator[dict[str, dict[str, bytes]]]:
    """The row hashes by id of each document that has rows, all documents of the same parts together."""
    locations: dict[tuple[int, int, int], list[str]] = {}
    for row in documents:
        if row["chunks"]:
            locations.setdefault((row["job"], row["part_first"], row["part_last"]), []).append(row["source"])
    for location, sources in sorted(locations.items()):
        found: dict[str, dict[str, bytes]] = {source: {} for source in sources}
        rows = parts.read(*location, columns=["id", "source", "row_hash"], sources=sources)
        for row_id, source, digest in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            found[source][row_id] = digest
        yield found


def ids_of(parts: ChunkParts, documents: pa.Table) -> Iterator[set[str]]:
    """The ids of the rows of `documents`, of all documents of the same parts together. In memory are those of some."""
    locations = documents.select(["source", "job", "part_first", "part_last", "chunks"])
    locations = locations.filter(pc.greater(locations["chunks"], 0)).combine_chunks()
    job, first, last = (locations[name].to_numpy() for name in ("job", "part_first", "part_last"))
    order: npt.NDArray[np.int64] = np.lexsort((last, first, job))
    for start in range(0, len(order), _DOCUMENTS_AT_A_TIME):
        some = locations.take(pa.array(order[start : start + _DOCUMENTS_AT_A_TIME])).to_pylist()
        for found in hashes_by_source(parts, some):
            yield {row_id for rows in found.values() for row_id in rows}


def _runs(positions: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """First and count of each run of consecutive numbers among `positions`, which ascend."""
    starts = np.flatnonzero(np.diff(positions, prepend=-2) != 1)
    return list(zip(positions[starts].tolist(), np.diff(starts, append=len(positions)).tolist(), strict=True))


class RowDiff:
    """The earlier versions of the documents that a run reads again.

    `previous`: their manifest rows. `uncommitted`: by source, ids that an interrupted run may have upserted. `space`:
    name of the run's embedding space; rows with vectors of another are never taken for the same.
    """

    def __init__(
        self, parts: ChunkParts, previous: pa.Table, uncommitted: Mapping[str, frozenset[str]], *, space: str
    ) -> None:
        self._previous = PreviousDocuments(parts, previous)
        self._uncommitted = uncommitted
        self._space = space
        self._new_ids: dict[str, set[str]] = {}
        self.completed: set[str] = set()
        """Documents with uncommitted rows that are finished."""

    def previous_version(self, source: str) -> ManifestRow | None:
        """The manifest row of the version that stays when nothing of the new one can be taken, if there is one.

        A version whose deletion was interrupted stays no longer.
        """
        before = self._previous.row(source)
        return None if before is None or before["status"] == "leaving" else before

    def may_be_overwritten(self, source: str) -> bool:
        """Whether rows of the document may have been written over: by an interrupted run, or by this one.

        Parts of a long document are loaded while its end is still being cut, and that may fail.
        """
        return source in self._uncommitted or bool(self._new_ids.get(source))

    def changed_positions(self, rows: pa.Table) -> npt.NDArray[np.int64]:
        """Positions of the rows that the collection does not surely hold just as they are.

        `rows` has `CHUNK_SCHEMA`. Its ids are remembered as new until their document is finished.
        """
        sources = rows["source"].unique().to_pylist()
        self._previous.fetch(sources)
        known: dict[str, bytes] = {}
        for source in sources:
            known.update(self._known_rows(source))
        ids = rows["id"].to_pylist()
        for source, row_id in zip(rows["source"].to_pylist(), ids, strict=True):
            self._new_ids.setdefault(source, set()).add(row_id)
        pairs = enumerate(zip(ids, rows["row_hash"].to_pylist(), strict=True))
        return np.array([i for i, (row_id, digest) in pairs if known.get(row_id) != digest], dtype=np.int64)

    def stale_and_current_ids(self, document: ManifestRow) -> tuple[set[str], set[str]]:
        """The ids that a finished document no longer has, and those that it has now.

        A document of which nothing could be taken keeps the rows of its earlier version.
        """
        source = document["source"]
        new = self._new_ids.pop(source, set())
        old = set(self._previous.row_hashes(source))
        uncommitted = self._uncommitted.get(source, frozenset())
        if document["status"] == "rejected":
            current = old if self.previous_version(source) is not None else set()
            return (old | uncommitted | new) - current, set()
        return (old | uncommitted) - new, new

    def finish(self, sources: Sequence[str]) -> None:
        """Forget these documents: they are done, and their manifest rows are written."""
        self._previous.finish(sources)
        self.completed.update(self._uncommitted.keys() & set(sources))

    def unfinished(self) -> pa.Table:
        """Manifest rows of the documents that are to be read again and were not finished yet."""
        return self._previous.unfinished()

    def outcome(self, document: ManifestRow) -> str:
        """Of a finished document: "added", "changed", "unchanged" or "rejected"."""
        if document["status"] == "rejected":
            return "rejected"
        before = self._previous.row(document["source"])
        if before is None or not before["chunks"]:
            return "added"
        same = all(before[key] == document[key] for key in ("status", "document_hash", "fingerprint"))
        return "unchanged" if same else "changed"

    def _known_rows(self, source: str) -> RowHashes:
        """Row hash by id of what the collection surely holds of a document."""
        before = self.previous_version(source)
        sure = before is not None and source not in self._uncommitted and before["space"] == self._space
        return self._previous.row_hashes(source) if sure else _NO_ROWS
