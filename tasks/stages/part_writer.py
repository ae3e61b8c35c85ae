"""Parts: about 1,000 chunks and the documents that end among them, the unit in which a run moves.

Joins `documents` (file hashes) and `lake` (where parts are written). Runs in the reading processes.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

import pyarrow as pa

from millrace.tasks.documents import file_hash
from millrace.tasks.errors import Rejected
from millrace.tasks.lake import ChunkParts, LakePath, PartName
from millrace.tasks.milvus import check_metadata
from millrace.tasks.records import (
    CONTEXT_KEY,
    MANIFEST_SCHEMA,
    METADATA_KEYS,
    Chunk,
    Document,
    LeftOut,
    ManifestRow,
    Reject,
    SourceFile,
    chunk_table,
    metadata_json,
    reject_table,
)

PART_CHUNKS = 1_000
_FLUSH_AFTER_S = 5.0  # slow readers (PDF) hand over what they have, so that the embedding does not wait long
_FLUSH_MIN_CHUNKS = 100


@dataclass(frozen=True, slots=True)
class PartContext:
    """What the documents of a run's parts are stamped with, the folder that the parts go to, and their size."""

    chunks_dir: LakePath
    run: str
    fingerprint: str
    space: str
    part_chunks: int = PART_CHUNKS


@dataclass(frozen=True, slots=True)
class Part:
    """One written part: rows of `job` number `number` in the lake, and the documents that ended in it.

    `documents` has `MANIFEST_SCHEMA`, `rejects` `REJECT_SCHEMA`. `files_done` counts the files of the job, in order,
    of which everything has been handed over; `left_out` counts files within them that no reader takes.
    """

    job: int
    number: int
    chunks: int
    tokens: int
    documents: pa.Table
    rejects: pa.Table
    files_done: int
    left_out: LeftOut = field(default_factory=LeftOut)

    @property
    def name(self) -> PartName:
        """What the part is called in the lake."""
        return PartName(self.job, self.number)

    def partially_read(self) -> dict[str, ManifestRow]:
        """Files of which not every document is known, also such within others, by name, each with its own manifest row.

        They could not be read as a whole, or one of their rows has no id. A document that was known from such a file
        and was not read this time may be the one that could not be read: it is not taken for removed.
        """
        unidentified = {
            reject["source"]
            for reject in self.rejects.to_pylist()
            if not reject["item"] or (reject["item"].startswith("row ") and reject["reason"] != "duplicate_id")
        }
        return {
            row["source"]: row
            for row in self.documents.to_pylist()
            if row["status"] == "rejected" and row["source"] in unidentified
        }


class PartWriter:
    """Rows and documents on their way into the next part."""

    def __init__(
        self,
        origin: PartContext,
        *,
        job: int,
        first: int,
        send: Callable[[Part], None],
        bytes_to_come: int,
        at: Callable[[str], None] = lambda _unit: None,
    ) -> None:
        """Write the parts of `job` from number `first` on, handing each to `send`; its files have `bytes_to_come`.

        `at` is called while a large file is hashed, so that the deadline is one for some MiB and not for the file.
        """
        self._origin = origin
        self._at = at
        self._send = send
        self._job = job
        self._number = first
        self._parts = ChunkParts(origin.chunks_dir)
        self._chunks: list[Chunk] = []
        self._documents: list[dict[str, object]] = []
        self._rejects: list[Reject] = []
        self._left_out = LeftOut()
        self._file_rejects: dict[str, list[Reject]] = {}  # by source
        self._files_done = 0
        self._flushed_at = time.monotonic()
        self._record_file_hash = ("", "")
        self._pending_document: dict[str, object] | None = None
        self._full = False  # no other document may join the last piece of a long one
        self._bytes_to_come = bytes_to_come
        self._bytes_read = 0
        self._chunks_cut = 0

    def add_document(self, file: SourceFile, document: Document, chunks: Iterable[Chunk]) -> None:
        """Take a document with all its chunks; it has its row when the next one comes, or its file ends.

        Until then rejects of its pages can still come. Of a document that is longer than a part, each full part is
        handed over while `chunks` are still being made; should making them fail, none of the document counts as taken,
        and the load stage has rows to delete.
        """
        self._finish_document()
        self._flush_if_due()
        clash = sorted((METADATA_KEYS | {CONTEXT_KEY}).intersection(document.extra))
        if clash:
            self.add_reject(_clash(document.source, clash))
            chunks = ()
        making = iter(chunks)
        head = list(islice(making, self._origin.part_chunks + 1))
        if not head and not clash:
            self.add_reject(_blank(document.source))
        if head and (refusal := check_metadata(metadata_json(head[0].metadata()))) is not None:
            self.add_reject(_unstorable(document.source, refusal))
            head, making = [], iter(())
        first, count, tokens = self._append(head, making)
        self._pending_document = self._row(file, document.source, document.document_hash) | {
            "status": "live" if count else "rejected",
            "part_first": first,
            "chunks": count,
            "tokens": tokens,
        }

    def _finish_document(self) -> None:
        """Queue the row of the pending document, with the rejects that came for it."""
        if self._pending_document is None:
            return
        row, self._pending_document = self._pending_document, None
        own = self._file_rejects.pop(str(row["source"]), [])
        self._rejects += own
        self._documents.append(row | {"part_last": self._number, "rejects": len(own)})

    def _append(self, head: list[Chunk], rest: Iterator[Chunk]) -> tuple[int, int, int]:
        """Queue a document's chunks: the number of the part in which they begin, how many they are, and their tokens.

        A part holds whole documents, or a piece of a single one that is longer than a part. So a part that the manifest
        does not name belongs to documents that were never finished, and to no others.
        """
        most = self._origin.part_chunks
        if len(head) > most or len(self._chunks) + len(head) > self._room():
            self.flush()
        first, before = self._number, len(self._chunks)
        count = tokens = 0
        making = chain(head, rest)
        try:
            while piece := list(islice(making, most)):
                if count:
                    self.flush()
                    before = 0
                self._chunks += piece
                count += len(piece)
                tokens += sum(chunk.tokens for chunk in piece)
        except MemoryError:
            del self._chunks[before:]
            raise
        self._full = self._full or count > most
        self._chunks_cut += count
        return first, count, tokens

    def _room(self) -> int:
        """How many chunks this part may have: half as many again if the job is likely to have no more than that."""
        most = self._origin.part_chunks
        to_come = self._bytes_to_come * self._chunks_cut / self._bytes_read if self._bytes_read else math.inf
        return most + most // 2 if to_come <= most // 2 else most

    def add_reject(self, reject: Reject) -> None:
        """Keep a reject until it is known whether its document comes too, or has just come."""
        self._file_rejects.setdefault(reject.source, []).append(reject)

    def add_left_out(self, left_out: LeftOut) -> None:
        """Count what was left out of the file that is being read."""
        self._left_out += left_out

    def end_file(self, file: SourceFile) -> None:
        """Give every source that ended without a document its row, so that the next run need not try again."""
        self._finish_document()
        for source, rejects in self._file_rejects.items():
            self._documents.append(self._row(file, source, "") | {"status": "rejected", "rejects": len(rejects)})
            self._rejects += rejects
        self._file_rejects = {}
        self._files_done += 1
        self._bytes_to_come -= file.size_bytes
        self._bytes_read += file.size_bytes
        self._flush_if_due()

    def flush(self) -> None:
        """Write the part and hand it over; nothing is done when there is nothing to hand over."""
        if not (self._chunks or self._documents or self._rejects or self._left_out.total):
            return
        self._parts.write(self._job, self._number, chunk_table(self._chunks))
        part = Part(
            job=self._job,
            number=self._number,
            chunks=len(self._chunks),
            tokens=sum(c.tokens for c in self._chunks),
            documents=pa.Table.from_pylist(self._documents, schema=MANIFEST_SCHEMA),
            rejects=reject_table(self._rejects),
            files_done=self._files_done,
            left_out=self._left_out,
        )
        self._send(part)
        self._number += 1
        self._chunks, self._documents, self._rejects, self._left_out = [], [], [], LeftOut()
        self._flushed_at = time.monotonic()
        self._full = False

    def _flush_if_due(self) -> None:
        waited_s = time.monotonic() - self._flushed_at
        slow = waited_s > _FLUSH_AFTER_S and len(self._chunks) >= _FLUSH_MIN_CHUNKS
        most = self._room()
        if slow or self._full or len(self._chunks) >= most or len(self._documents) >= most:
            self.flush()

    def _row(self, file: SourceFile, source: str, document_hash: str) -> dict[str, object]:
        return {
            "source": source,
            "path": file.path,
            "size_bytes": file.size_bytes,
            "mtime_ns": file.mtime_ns,
            "ctime_ns": file.ctime_ns,
            "inode": file.inode,
            "file_hash": document_hash if document_hash and source == file.name else self._hash_of(file),
            "document_hash": document_hash,
            "fingerprint": self._origin.fingerprint,
            "space": self._origin.space,
            "job": self._job,
            "part_first": self._number,
            "part_last": self._number,
            "chunks": 0,
            "tokens": 0,
            "run": self._origin.run,
        }

    def _hash_of(self, file: SourceFile) -> str:
        """The file's own hash, read once for all the records in it; "" where it cannot be read."""
        if self._record_file_hash[0] != file.path:
            try:
                self._record_file_hash = (file.path, file_hash(file, lambda: self._at(f"{file.path}\0")))
            except OSError:  # the reader has reported it; without a hash the next run tries again
                self._record_file_hash = (file.path, "")
        return self._record_file_hash[1]


def _clash(source: str, keys: list[str]) -> Reject:
    return Reject(
        stage="chunk",
        source=source,
        item="",
        reason="metadata_name_taken",
        message=f"its metadata columns {', '.join(keys)} have names that millrace uses itself",
        remedy="rename those columns or leave them out of documents.metadata_columns",
    )


def _unstorable(source: str, refusal: Rejected) -> Reject:
    return Reject(
        stage="chunk",
        source=source,
        item="",
        reason=refusal.reason,
        message=str(refusal),
        remedy=refusal.remedy,
    )


def _blank(source: str) -> Reject:
    return Reject(
        stage="chunk",
        source=source,
        item="",
        reason="blank",
        message="the document holds nothing but white space",
        remedy="nothing to do unless text was expected; then look at the file",
    )
