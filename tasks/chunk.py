"""The chunk stage: files -> documents -> chunks -> parts of about 1,000 chunks, in processes that can be stopped.

Joins `documents`, `chunking` and `lake`. `chunk_job` runs in a worker process; `ChunkStage.run` is its side in the
pipeline: it starts a job again without the page or file that hung or crashed a worker, and so loses nothing else.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from tasks.chunking import ChunkOptions, Tokenizer, chunk_document
from tasks.documents import DocumentOptions, file_hash, read_documents
from tasks.lake import ChunkParts, PartName
from tasks.records import (
    MANIFEST_SCHEMA,
    METADATA_KEYS,
    Chunk,
    Document,
    Reject,
    SourceFile,
    chunk_table,
    reject_table,
)
from tasks.workers import Channel, WorkerLost, WorkerPool

SHARD_CHUNKS = 1_000
_FLUSH_AFTER_S = 5.0  # slow readers (PDF) hand over what they have, so that the embedding never waits long
_FLUSH_MIN_CHUNKS = 100
_MAX_RESTARTS_PER_FILE = 3


@dataclass(frozen=True, slots=True)
class ChunkJob:
    """Files that one worker reads in order. `skip` names, by path, units that already hung or crashed a worker."""

    number: int
    files: tuple[SourceFile, ...]
    first_part: int = 0
    skip: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """What shapes documents and chunks; the same for every job of a run."""

    documents: DocumentOptions
    chunking: ChunkOptions
    tokenizer: str
    fingerprint: str
    space: str
    run: str
    chunks_dir: Path


@dataclass(frozen=True, slots=True)
class Part:
    """One written part: rows of `job` number `number` in the lake, and the documents that ended in it.

    `documents` has `MANIFEST_SCHEMA`, `rejects` `REJECT_SCHEMA`. `files_done` counts the files of the job, in order,
    of which everything has been handed over.
    """

    job: int
    number: int
    chunks: int
    tokens: int
    documents: pa.Table
    rejects: pa.Table
    files_done: int

    @property
    def name(self) -> PartName:
        """What the part is called in the lake."""
        return PartName(self.job, self.number)


class ChunkStage:
    """Runs jobs on a pool of reading processes."""

    def __init__(self, settings: ChunkSettings, *, workers: int, deadline_s: float, memory_mb: int) -> None:
        self._settings = settings
        self._pool: WorkerPool[tuple[ChunkSettings, ChunkJob], Part] = WorkerPool(
            chunk_job, size=workers, deadline_s=deadline_s, memory_mb=memory_mb
        )

    @property
    def workers(self) -> int:
        """How many jobs run at once."""
        return self._pool.size

    async def run(self, job: ChunkJob, receive: Callable[[Part], Awaitable[None]]) -> int:
        """The number of parts the job made; each was handed to `receive`, in order."""
        parts = job.first_part
        done = 0

        async def note(part: Part) -> None:
            nonlocal parts, done
            parts, done = part.number + 1, part.files_done
            await receive(part)

        while True:
            base = done
            remaining = replace(job, files=job.files[base:], first_part=parts)

            async def note_from_base(part: Part, base: int = base) -> None:
                await note(replace(part, files_done=base + part.files_done))

            try:
                await self._pool.run((self._settings, remaining), note_from_base)
            except WorkerLost as lost:
                job = _without_unit(job, lost)
            else:
                return parts - job.first_part

    def close(self) -> None:
        """Stop the reading processes at once."""
        self._pool.close()


def _without_unit(job: ChunkJob, lost: WorkerLost) -> ChunkJob:
    """The job with the unit that was lost marked as skipped; after some tries, the whole file.

    Raises `WorkerLost` again when no file was being read: the process cannot work at all.
    """
    path, _, item = lost.unit.partition("\0")
    if not path:
        raise lost
    skip = {p: dict(items) for p, items in job.skip.items()}
    units = skip.setdefault(path, {})
    whole_file = len(units) + 1 >= _MAX_RESTARTS_PER_FILE or item in units or not item.startswith("page ")
    units["" if whole_file else item] = f"{lost.cause}: {lost.detail}"
    return replace(job, skip=skip)


def chunk_job(work: tuple[ChunkSettings, ChunkJob], channel: Channel[Part]) -> None:
    """Read and chunk every file of a job, writing parts and sending each as soon as it is whole."""
    settings, job = work
    shard = _Shard(settings, job, channel)
    tokenizer = Tokenizer.load(settings.tokenizer)
    for file in job.files:
        for outcome in _outcomes(file, settings.documents, job.skip.get(file.path, {}), channel):
            if isinstance(outcome, Reject):
                shard.add_reject(outcome)
            else:
                channel.at(f"{file.path}\0chunking {outcome.source}")
                shard.add_document(file, outcome, list(chunk_document(outcome, tokenizer, settings.chunking)))
        shard.end_file(file)
    shard.flush()


def _outcomes(
    file: SourceFile, options: DocumentOptions, skip: Mapping[str, str], channel: Channel[Part]
) -> Iterator[Document | Reject]:
    """What reading a file gives; a reader's own failure is that file's reject and nobody else's."""
    if "" in skip:
        yield _lost_file(file, skip[""])
        return
    try:
        yield from read_documents(file, options, skip=skip, at=lambda item: channel.at(f"{file.path}\0{item}"))
    except Exception as error:  # noqa: BLE001 - a bug that one file uncovers must not stop the others; it is recorded
        yield Reject(
            stage="read",
            source=file.name,
            item="",
            reason="reader_failed",
            message=f"the reader failed on this file: {type(error).__name__}: {error}",
            remedy="please report it with the file; the other documents are not affected",
        )


def _lost_file(file: SourceFile, cause: str) -> Reject:
    if cause.startswith("timeout"):
        reason, remedy = (
            "timeout",
            "raise documents.timeout_s if the file is sound, or leave it out with sources.exclude",
        )
    else:
        reason, remedy = "reader_died", "raise documents.max_memory_mb if the file is sound, or convert it"
    return Reject("read", file.name, "", reason, f"reading was stopped ({cause})", remedy)


class _Shard:
    """Rows and documents on their way into the next part."""

    def __init__(self, settings: ChunkSettings, job: ChunkJob, channel: Channel[Part]) -> None:
        self._settings = settings
        self._channel = channel
        self._job = job.number
        self._number = job.first_part
        self._parts = ChunkParts(settings.chunks_dir)
        self._chunks: list[Chunk] = []
        self._documents: list[dict[str, object]] = []
        self._rejects: list[Reject] = []
        self._file_rejects: list[Reject] = []
        self._files_done = 0
        self._flushed_at = time.monotonic()
        self._record_file_hash = ("", "")

    def add_document(self, file: SourceFile, document: Document, chunks: list[Chunk]) -> None:
        """Take a document with all its chunks; parts that fill up are written on the way."""
        own = [r for r in self._file_rejects if r.source == document.source]
        self._file_rejects = [r for r in self._file_rejects if r.source != document.source]
        clash = sorted(METADATA_KEYS.intersection(document.extra))
        if clash:
            chunks = []
            own.append(_clash(document.source, clash))
        elif not chunks:
            own.append(_blank(document.source))
        first = self._append(chunks)
        self._rejects += own
        self._documents.append(
            self._row(file, document.source, document.document_hash)
            | {
                "status": "live" if chunks else "rejected",
                "part_first": first,
                "part_last": self._number,
                "chunks": len(chunks),
                "tokens": sum(c.tokens for c in chunks),
                "rejects": len(own),
            }
        )
        if len(chunks) > SHARD_CHUNKS:
            self.flush()
        self._flush_if_due()

    def _append(self, chunks: list[Chunk]) -> int:
        """Queue a document's chunks; the number of the part in which they begin.

        A part holds whole documents, or a piece of a single one that is longer than a part. So a part that the manifest
        does not name belongs to documents that were never finished, and to no others.
        """
        if len(self._chunks) + len(chunks) > SHARD_CHUNKS:
            self.flush()
        first = self._number
        for start in range(0, len(chunks), SHARD_CHUNKS):
            if start:
                self.flush()
            self._chunks += chunks[start : start + SHARD_CHUNKS]
        return first

    def add_reject(self, reject: Reject) -> None:
        """Keep a reject until it is known whether its document comes too."""
        self._file_rejects.append(reject)

    def end_file(self, file: SourceFile) -> None:
        """Give every source that ended without a document its row, so that the next run need not try again."""
        sources = dict.fromkeys(r.source for r in self._file_rejects)
        for source in sources:
            count = sum(r.source == source for r in self._file_rejects)
            self._documents.append(self._row(file, source, "") | {"status": "rejected", "rejects": count})
        self._rejects += self._file_rejects
        self._file_rejects = []
        self._files_done += 1
        self._flush_if_due()

    def flush(self) -> None:
        """Write the part and hand it over; nothing is done when there is nothing to hand over."""
        if not (self._chunks or self._documents or self._rejects):
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
        )
        self._channel.send(part)
        self._number += 1
        self._chunks, self._documents, self._rejects = [], [], []
        self._flushed_at = time.monotonic()

    def _flush_if_due(self) -> None:
        waited_s = time.monotonic() - self._flushed_at
        slow = waited_s > _FLUSH_AFTER_S and len(self._chunks) >= _FLUSH_MIN_CHUNKS
        if slow or len(self._chunks) >= SHARD_CHUNKS or len(self._documents) >= SHARD_CHUNKS:
            self.flush()

    def _row(self, file: SourceFile, source: str, document_hash: str) -> dict[str, object]:
        return {
            "source": source,
            "path": file.path,
            "size_bytes": file.size_bytes,
            "mtime_ns": file.mtime_ns,
            "file_hash": document_hash if document_hash and source == file.name else self._hash_of(file),
            "document_hash": document_hash,
            "fingerprint": self._settings.fingerprint,
            "space": self._settings.space,
            "job": self._job,
            "part_first": self._number,
            "part_last": self._number,
            "chunks": 0,
            "tokens": 0,
            "run": self._settings.run,
        }

    def _hash_of(self, file: SourceFile) -> str:
        """The file's own hash, read once for all the records in it; "" where it cannot be read."""
        if self._record_file_hash[0] != file.path:
            try:
                self._record_file_hash = (file.path, file_hash(file.path))
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


def _blank(source: str) -> Reject:
    return Reject(
        stage="chunk",
        source=source,
        item="",
        reason="blank",
        message="the document holds nothing but white space",
        remedy="nothing to do unless text was expected; then look at the file",
    )
