"""The documents that a run reads again, as the manifest had them: found by source, and read a part's worth at a time.

A run may read a million of them again, records of one file above all. In memory are their table, 17 bytes for each
beside it, and whole rows of those alone that are being looked at. Knows the lake alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.lake import ChunkParts
from tasks.records import ManifestRow

RowHashes = Mapping[str, bytes]
"""Row hash by id, of the rows of one document."""

_NO_ROWS: RowHashes = {}
_DOCUMENTS_AT_A_TIME = 10_000


class EarlierDocuments:
    """Manifest rows by source. What is fetched stays at hand until the document is finished."""

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
        """Have these documents and their row hashes at hand: one reading of each chunk part they are in."""
        lacking = [source for source in sources if source not in self._rows]
        at = np.array([self._position(source) for source in lacking], np.int64)
        # Slices, because taking rows would copy the columns whole.
        found = [
            row
            for first, count in _runs(np.sort(at[at >= 0]))
            for row in self._documents.slice(first, count).to_pylist()
        ]
        self._rows.update(dict.fromkeys(lacking))
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
        """These documents have been dealt with; nobody will ask for them again."""
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
    places: dict[tuple[int, int, int], list[str]] = {}
    for row in documents:
        if row["chunks"]:
            places.setdefault((row["job"], row["part_first"], row["part_last"]), []).append(row["source"])
    for place, sources in sorted(places.items()):
        found: dict[str, dict[str, bytes]] = {source: {} for source in sources}
        rows = parts.read(*place, columns=["id", "source", "row_hash"], sources=sources)
        for row_id, source, digest in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            found[source][row_id] = digest
        yield found


def ids_of(parts: ChunkParts, documents: pa.Table) -> Iterator[set[str]]:
    """The ids of the rows of `documents`, of all documents of the same parts together. In memory are those of some."""
    places = documents.select(["source", "job", "part_first", "part_last", "chunks"])
    places = places.filter(pc.greater(places["chunks"], 0)).combine_chunks()
    job, first, last = (places[name].to_numpy() for name in ("job", "part_first", "part_last"))
    order: npt.NDArray[np.int64] = np.lexsort((last, first, job))
    for start in range(0, len(order), _DOCUMENTS_AT_A_TIME):
        some = places.take(pa.array(order[start : start + _DOCUMENTS_AT_A_TIME])).to_pylist()
        for found in hashes_by_source(parts, some):
            yield {row_id for rows in found.values() for row_id in rows}


def _runs(positions: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """First and count of each run of consecutive numbers among `positions`, which ascend."""
    starts = np.flatnonzero(np.diff(positions, prepend=-2) != 1)
    return list(zip(positions[starts].tolist(), np.diff(starts, append=len(positions)).tolist(), strict=True))
