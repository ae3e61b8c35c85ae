"""The manifest by files: what is known of each, in the order of their paths, and sums over their documents.

A file is one document, or as many as it has records. In memory are some thousand documents at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.lake import Manifest
from millrace.tasks.records import MANIFEST_SCHEMA

STAT_COLUMNS = ("size_bytes", "mtime_ns", "ctime_ns", "inode")
"""Columns of the manifest that tell whether a file may have changed; the last two are not known of every file."""

_COLUMNS = ("source", "path", *STAT_COLUMNS, "file_hash", "fingerprint", "status", "chunks")
_MANY_FOLDERS = 16  # below it a pass over all names for each folder is the faster way


@dataclass(frozen=True, slots=True)
class DocumentSums:
    """How many documents, how many of them were refused and how many have rows, and their chunks."""

    documents: int = 0
    rejected: int = 0
    with_rows: int = 0
    chunks: int = 0

    @classmethod
    def of(cls, documents: pa.Table) -> "DocumentSums":
        """The sums over rows of the manifest."""
        status, chunks = documents["status"], documents["chunks"]
        counts = (pc.equal(status, "rejected"), pc.greater(chunks, 0), chunks)
        return cls(documents.num_rows, *(pc.sum(each).as_py() or 0 for each in counts))

    def __add__(self, other: "DocumentSums") -> "DocumentSums":
        return DocumentSums(*(a + b for a, b in zip(self._values(), other._values(), strict=True)))

    def __sub__(self, other: "DocumentSums") -> "DocumentSums":
        return DocumentSums(*(a - b for a, b in zip(self._values(), other._values(), strict=True)))

    def _values(self) -> tuple[int, ...]:
        return self.documents, self.rejected, self.with_rows, self.chunks


class KnownFiles:
    """The files of `manifest`, each with whether it lies under `folders` (None: all do) and can be kept as it is.

    It cannot when it was read under another `fingerprint`, or has a document in `again`. Iterated to the end, it has
    summed up: `under`, the documents under the folders; `staying_with_rows`, how many of all have rows that are not
    being deleted; `again`, the rows (source, status, chunks) of those under the folders that are in `again`.
    """

    def __init__(self, manifest: Manifest, *, folders: Sequence[str] | None, fingerprint: str, again: pa.Array) -> None:
        self._manifest = manifest
        self._folders = folders
        self._fingerprint = fingerprint
        self._again = again
        self.under = DocumentSums()
        self.staying_with_rows = 0
        self.again = MANIFEST_SCHEMA.empty_table().select(["source", "status", "chunks"])

    def __iter__(self) -> Iterator[pa.Table]:
        """Tables of some thousand files in order, each file once.

        Columns: `path`, `under`, `usable` (whether all its documents can be kept), and of its documents the latest of
        `STAT_COLUMNS`, the lowest and highest `file_hash`.
        """
        held: list[pa.Table] = []
        for documents in self._manifest.batches(_COLUMNS):
            if not documents.num_rows:
                continue
            files = _one_row_a_file(pa.concat_tables([*held, self._by_document(documents)]))
            if files.num_rows > 1:
                yield files.slice(0, files.num_rows - 1)
            held = [files.slice(files.num_rows - 1)]  # its documents may go on
        yield from held

    @cached_property
    def nothing(self) -> pa.Table:
        """An empty one of these tables."""
        return self._by_document(MANIFEST_SCHEMA.empty_table())

    def _by_document(self, documents: pa.Table) -> pa.Table:
        read_again = pc.is_in(documents["source"], value_set=self._again)
        leaving = pc.equal(documents["status"], "leaving")
        under = is_under(documents["path"], self._folders)
        here = documents if self._folders is None else documents.filter(under)
        self.under += DocumentSums.of(here)
        self.staying_with_rows += pc.sum(pc.and_not(pc.greater(documents["chunks"], 0), leaving)).as_py() or 0
        if len(self._again):
            some = documents.filter(pc.and_(read_again, under)).select(self.again.column_names)
            self.again = pa.concat_tables([self.again, some])
        usable = pc.and_not(pc.equal(documents["fingerprint"], self._fingerprint), pc.or_(read_again, leaving))
        usable = pc.and_(usable, pc.not_equal(documents["file_hash"], ""))  # no hash: it could not even be opened
        return pa.table(
            {
                "path": documents["path"],
                "under": under,
                "usable": usable,
                **{name: documents[name] for name in STAT_COLUMNS},
                "lowest_hash": documents["file_hash"],
                "highest_hash": documents["file_hash"],
            }
        )


def _one_row_a_file(documents: pa.Table) -> pa.Table:
    documents = documents.combine_chunks()
    paths = documents["path"]
    if pc.all(pc.greater(paths.slice(1), paths.slice(0, len(paths) - 1))).as_py():
        return documents
    how = {"usable": "min", "lowest_hash": "min"}
    columns = [name for name in documents.column_names if name != "path"]
    grouped = documents.group_by("path").aggregate([(name, how.get(name, "max")) for name in columns])
    names = [name.removesuffix("_min").removesuffix("_max") for name in grouped.column_names]
    return grouped.rename_columns(names).sort_by("path")  # groups come in any order


def is_under(paths: pa.ChunkedArray, folders: Sequence[str] | None) -> pa.ChunkedArray:
    """Which of `paths`, all of files, are one of `folders` or lie below it; all are when that is None."""
    if folders is None:
        return pa.chunked_array([pa.array(np.ones(len(paths), np.bool_))])
    if len(folders) > _MANY_FOLDERS:
        names = {folder.rstrip("/") or "/" for folder in folders}
        return pa.chunked_array(
            [pa.array([not names.isdisjoint(_and_above(p)) for p in paths.to_pylist()], pa.bool_())]
        )
    found = pa.chunked_array([pa.array(np.zeros(len(paths), np.bool_))])
    for folder in folders:
        below = pc.starts_with(paths, pattern=folder.rstrip("/") + "/")
        found = pc.or_(found, pc.or_(below, pc.equal(paths, folder)))
    return found


def _and_above(path: str) -> Iterator[str]:
    """The path, and every folder that it lies in.

    >>> list(_and_above("/a/b#/c.txt"))
    ['/a/b#/c.txt', '/a/b#', '/a', '/']
    """
    yield path
    for end in range(len(path) - 1, 0, -1):
        if path[end] == "/":
            yield path[:end]
    yield "/"
