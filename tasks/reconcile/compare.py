"""The collection against the lake, row by row: by id and by a hash of the content, not by counts.

Joins `lake` (through `expected_rows`) and `milvus`. Memory: 9 bytes a row of the collection, and one part at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millrace.tasks.milvus import Collection, StoredRow
from millrace.tasks.reconcile.expected_rows import ExpectedRows, RowsWithVectors, Vectors, VectorStores
from millrace.tasks.records import CONTEXT_KEY, SPARSE_PAIR, JsonValue, embedded_text, metadata_json, row_hash, text_key

Fault = Literal["missing", "content", "metadata", "vector", "sparse", "doubled"]
"""What is wrong with a row: it is not there; its content, metadata, vector or sparse vector is not the lake's; it is
there twice."""

_SERVER_TOLERANCE = 1e-6
"""Of each number of a vector. Lite gives back the very bits; an index that keeps vectors scaled may lose the last."""

_DIVIDED_BY = 16


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """The rows of one part beside those of the collection.

    `faults`: by row number. `lake`: what the lake has of the rows.
    """

    expected: ExpectedRows
    faults: Mapping[int, Fault]
    lake: RowsWithVectors

    def rows_to_repair(self) -> tuple[pa.Table, Vectors]:
        """The faulty rows as they should be, those that the lake has the vectors of."""
        return self.lake.taken(np.array([i for i in self.faults if self.lake.has_vector[i]], dtype=np.int64))


@dataclass(frozen=True, slots=True)
class OrphanRow:
    """A row that no document owns. `source` is what its metadata says, "" where it says nothing."""

    id: str
    source: str


class IdInventory:
    """The ids of a collection as they are now, and which of them have an owner. 9 bytes a row."""

    def __init__(self, collection: Collection) -> None:
        """List the ids. Raises `CollectionError` as the collection does."""
        self._collection = collection
        self._ids = np.fromiter((hash(row_id) for ids in collection.ids() for row_id in ids), np.int64)
        self._ids.sort()  # in place: `unique` would copy it once more
        if np.any(self._ids[1:] == self._ids[:-1]):
            self._ids = np.unique(self._ids)
        self._owned = np.zeros(len(self._ids), np.bool_)
        self.rows = collection.count()

    def own(self, ids: Sequence[str]) -> None:
        """Note that these rows have an owner; it is no error when they are not there."""
        if len(self._ids):
            positions, is_known = self._find(_hashes(ids))
            self._owned[positions[is_known]] = True

    def count_orphans(self) -> int:
        """How many ids have no owner among those noted so far."""
        return int(len(self._owned) - np.count_nonzero(self._owned))

    def count_owned(self) -> int:
        """How many of the ids noted so far are in the collection."""
        return int(np.count_nonzero(self._owned))

    def orphans(self) -> Iterator[list[OrphanRow]]:
        """The rows without an owner, in batches. Rows that came after the inventory was made are not among them."""
        if not self.count_orphans():
            return
        for ids in self._collection.ids():
            positions, is_known = self._find(_hashes(ids))
            unowned = [ids[i] for i in np.flatnonzero(is_known & ~self._owned[positions])]
            stored = {row.id: row for row in self._collection.fetch(unowned)}
            if unowned:
                yield [OrphanRow(i, _source(stored.get(i))) for i in unowned]

    def doubled(self) -> frozenset[str]:
        """The ids that several rows have: a server shows one of them, and counts them all."""
        if self.rows <= len(self._ids):
            return frozenset()
        return frozenset(row_id for ids in self._collection.ids() for row_id in self._doubled_among(ids))

    def _doubled_among(self, ids: Sequence[str]) -> list[str]:
        """Those of `ids`, all of them there, that several rows have; divided until they are found."""
        if self._collection.count(ids) <= len(ids):
            return []
        if len(ids) == 1:
            return list(ids)
        step = max(1, len(ids) // _DIVIDED_BY)
        return [found for i in range(0, len(ids), step) for found in self._doubled_among(ids[i : i + step])]

    def _find(self, hashes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        positions = np.minimum(np.searchsorted(self._ids, hashes), len(self._ids) - 1)
        return positions, self._ids[positions] == hashes


class Comparison:
    """One comparison of a collection with what documents own."""

    def __init__(self, collection: Collection, stores: VectorStores) -> None:
        """Take the census, and look for rows that are there twice."""
        self._collection = collection
        self._stores = stores
        self.inventory = IdInventory(collection)
        self._doubled = self.inventory.doubled()

    def compare(self, expected: ExpectedRows) -> Compared:
        """The rows of one part, each against the row of the collection that has its id."""
        rows = expected.rows
        ids = rows["id"].to_pylist()
        self.inventory.own(ids)
        stored = {row.id: row for row in self._collection.fetch(ids, with_vectors=True)}
        lake = self._stores.read(expected)
        found = [stored.get(row_id) for row_id in ids]
        same_vector, same_sparse = self._same_vectors(found, lake.vectors), self._same_sparse(found, lake.rows)
        faults: dict[int, Fault] = {}
        columns = zip(ids, rows["row_hash"].to_pylist(), rows["text_key"].to_pylist(), strict=True)
        for position, (row_id, digest, key) in enumerate(columns):
            fault = _fault(stored.get(row_id), digest, key)
            if fault is None and row_id in self._doubled:
                fault = "doubled"
            if fault is None and lake.has_vector[position] and not same_vector[position]:
                fault = "vector"
            if fault is None and lake.has_vector[position] and not same_sparse[position]:
                fault = "sparse"
            if fault is not None:
                faults[position] = fault
        return Compared(expected, faults, lake)

    def _same_vectors(self, stored: Sequence[StoredRow | None], vectors: Vectors) -> npt.NDArray[np.bool_]:
        """Whether each row has this vector: bool (n,); what is not there has not."""
        same = np.zeros(len(stored), np.bool_)
        for position, row in enumerate(stored):
            if row is None or row.vector is None or row.vector.shape != vectors[position].shape:
                continue
            same[position] = np.array_equal(row.vector, vectors[position])
            if not same[position] and not self._collection.is_lite:
                same[position] = np.allclose(row.vector, vectors[position], rtol=_SERVER_TOLERANCE, atol=0)
        return same

    def _same_sparse(self, stored: Sequence[StoredRow | None], rows: pa.Table) -> npt.NDArray[np.bool_]:
        """Whether each row has this sparse vector: bool (n,), all of them in a collection that takes none from rows."""
        if self._collection.shape.hybrid != "sparse":
            return np.ones(len(stored), np.bool_)
        wanted = rows["sparse"].to_pylist() if "sparse" in rows.column_names else [None] * len(stored)
        pairs = zip(stored, wanted, strict=True)
        return np.array([row is not None and self._is_same_sparse(row.sparse, want) for row, want in pairs], np.bool_)

    def _is_same_sparse(self, stored: bytes | None, wanted: bytes | None) -> bool:
        if stored is None or wanted is None or len(stored) != len(wanted):
            return False
        if stored == wanted or self._collection.is_lite:
            return stored == wanted
        ours, theirs = np.frombuffer(wanted, SPARSE_PAIR), np.frombuffer(stored, SPARSE_PAIR)
        close = np.allclose(theirs["value"], ours["value"], rtol=_SERVER_TOLERANCE, atol=0)
        return bool(close and np.array_equal(theirs["index"], ours["index"]))


def _fault(row: StoredRow | None, digest: bytes, key: bytes) -> Fault | None:
    """What is wrong with the content or the metadata of a row."""
    if row is None:
        return "missing"
    if _row_hash(row) == digest:
        return None
    context = (row.metadata or {}).get(CONTEXT_KEY)
    texts = {row.content, embedded_text(row.content, context)} if isinstance(context, str) else {row.content}
    return "metadata" if key in map(_text_key, texts) else "content"


def _row_hash(row: StoredRow) -> bytes:
    """The row's hash; b"" where its metadata is nothing that we ever write."""
    if row.metadata is None:
        return b""
    try:
        return row_hash(row.content, metadata_json(row.metadata))
    except ValueError:  # NaN, or characters that no UTF-8 has
        return b""


def _text_key(content: str) -> bytes:
    try:
        return text_key(content)
    except UnicodeEncodeError:
        return b""


def _source(row: StoredRow | None) -> str:
    source: JsonValue = (row.metadata or {}).get("source") if row is not None else None
    return source if isinstance(source, str) else ""


def _hashes(ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Python's own 64-bit hash of each id, seeded by the process.

    With 10 million rows owned and 1,000 not, one of these is taken for owned with odds of 1 in 10^9.
    """
    return np.fromiter((hash(row_id) for row_id in ids), np.int64, len(ids))
