"""Old against new: which rows of a document the collection surely holds already, and which must go.

Joins nothing but the lake: the manifest says which parts hold a document's rows, the parts say which rows those are.
Used by the load stage, which acts on it, and by the plan, which only counts.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.earlier import EarlierDocuments, RowHashes
from tasks.lake import ChunkParts
from tasks.records import ManifestRow

_NO_ROWS: RowHashes = {}


class Versions:
    """The earlier versions of the documents that a run reads again.

    `previous`: their manifest rows. `doubted`: by source, ids that an interrupted run may have upserted. `space`: name
    of the run's embedding space; rows with vectors of another are never taken for the same.
    """

    def __init__(
        self, parts: ChunkParts, previous: pa.Table, doubted: Mapping[str, frozenset[str]], *, space: str
    ) -> None:
        self._earlier = EarlierDocuments(parts, previous)
        self._doubted = doubted
        self._space = space
        self._new_ids: dict[str, set[str]] = {}
        self.cleared: set[str] = set()
        """Documents with doubted rows that are finished."""

    def kept_version(self, source: str) -> ManifestRow | None:
        """The manifest row of the version that stays when nothing of the new one can be taken, if there is one.

        A version whose deletion was interrupted stays no longer.
        """
        before = self._earlier.row(source)
        return None if before is None or before["status"] == "leaving" else before

    def is_doubted(self, source: str) -> bool:
        """Whether rows of the document may have been written over: by an interrupted run, or by this one.

        Parts of a long document are loaded while its end is still being cut, and that may fail.
        """
        return source in self._doubted or bool(self._new_ids.get(source))

    def changed_positions(self, rows: pa.Table) -> npt.NDArray[np.int64]:
        """Positions of the rows that the collection does not surely hold just as they are.

        `rows` has `CHUNK_SCHEMA`. Its ids are remembered as new until `settle` is asked about their document.
        """
        sources = rows["source"].unique().to_pylist()
        self._earlier.fetch(sources)
        known: dict[str, bytes] = {}
        for source in sources:
            known.update(self._known_rows(source))
        ids = rows["id"].to_pylist()
        for source, row_id in zip(rows["source"].to_pylist(), ids, strict=True):
            self._new_ids.setdefault(source, set()).add(row_id)
        pairs = enumerate(zip(ids, rows["row_hash"].to_pylist(), strict=True))
        return np.array([i for i, (row_id, digest) in pairs if known.get(row_id) != digest], dtype=np.int64)

    def settle(self, document: ManifestRow) -> tuple[set[str], set[str]]:
        """The ids that a finished document no longer has, and those that it has now.

        A document of which nothing could be taken keeps the rows of its earlier version.
        """
        source = document["source"]
        new = self._new_ids.pop(source, set())
        old = set(self._earlier.row_hashes(source))
        doubted = self._doubted.get(source, frozenset())
        if document["status"] == "rejected":
            stays = old if self.kept_version(source) is not None else set()
            return (old | doubted | new) - stays, set()
        return (old | doubted) - new, new

    def finish(self, sources: Sequence[str]) -> None:
        """These documents are done, their manifest rows written; nothing of them is remembered."""
        self._earlier.finish(sources)
        self.cleared.update(self._doubted.keys() & set(sources))

    def unfinished(self) -> pa.Table:
        """Manifest rows of the documents that are to be read again and were not finished yet."""
        return self._earlier.unfinished()

    def verdict(self, document: ManifestRow) -> str:
        """What became of a finished document: "added", "changed", "unchanged" or "rejected"."""
        if document["status"] == "rejected":
            return "rejected"
        before = self._earlier.row(document["source"])
        if before is None or not before["chunks"]:
            return "added"
        same = all(before[key] == document[key] for key in ("status", "document_hash", "fingerprint"))
        return "unchanged" if same else "changed"

    def _known_rows(self, source: str) -> RowHashes:
        """Row hash by id of what the collection surely holds of a document."""
        before = self.kept_version(source)
        sure = before is not None and source not in self._doubted and before["space"] == self._space
        return self._earlier.row_hashes(source) if sure else _NO_ROWS
