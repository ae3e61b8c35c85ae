"""The chunk stage: files -> documents -> chunks -> parts, in processes that can be stopped.

Joins `documents` and `chunking`; `part_writer` writes what comes out, and `pdf_ranges` reads long PDF files.
`chunk_job` runs in a worker process; `ChunkStage.run` is its side in the pipeline: it starts a job again without the
page or file that hung or crashed a worker, and so loses nothing else.
"""

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol

from millrace.tasks.chunking import ChunkOptions, Tokenizer, chunk_document
from millrace.tasks.documents import (
    NOTHING_KEPT,
    DocumentOptions,
    LeftOutMember,
    ParsedFiles,
    close_file,
    join_page_ranges,
    long_pdf_pages,
    may_be_long_pdf,
    read_documents,
    read_once,
)
from millrace.tasks.errors import LakeError
from millrace.tasks.lake import ScratchFiles
from millrace.tasks.records import Chunk, Document, Reject, SourceFile
from millrace.tasks.stages.part_writer import Part, PartContext, PartWriter
from millrace.tasks.stages.pdf_ranges import (
    LongPdfFound,
    RangeJob,
    RangeResult,
    range_job,
    read_in_ranges,
    spooled_ranges,
)
from millrace.tasks.stages.worker_pool import Channel, WorkerLost, WorkerPool

_MAX_RESTARTS_PER_FILE = 3
_MAX_RESTARTS_PER_FILE_OF_FILES = 10  # an archive may hold several that hang
_CHUNKING = "chunking "
_CHUNKS_PER_UNIT = 200


@dataclass(frozen=True, slots=True)
class ChunkJob:
    """Files that one worker reads in order. `skip` names, by path, units that already hung or crashed a worker.

    `ranges` has, by path, the scratch files with the page ranges of a long PDF file; none if it is to be read in one
    go after all.
    """

    number: int
    files: tuple[SourceFile, ...]
    first_part: int = 0
    skip: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """The options that shape documents and chunks; the same for every job of a run.

    With `reject_unknown`, a file within a file is a reject where no reader takes it, and is not counted as left out.
    """

    documents: DocumentOptions
    chunking: ChunkOptions
    tokenizer: str
    origin: PartContext
    parsed: ParsedFiles = NOTHING_KEPT
    reject_unknown: bool = False


_Work = tuple[ChunkSettings, ChunkJob | RangeJob]
_Message = Part | LongPdfFound | RangeResult | None


class Readers(Protocol):
    """Reads jobs: processes of this machine, or of others."""

    @property
    def readers(self) -> int:
        """How many jobs run at once."""

    def start(self) -> None:
        """Get ready, before there is a job."""

    async def run(self, job: ChunkJob, receive: Callable[[Part], Awaitable[None]]) -> int:
        """The number of parts the job made; each was handed to `receive`, in order."""

    def close(self) -> None:
        """Stop reading at once."""


class ChunkStage:
    """Runs jobs on a pool of reading processes, `jobs` of them in all."""

    def __init__(self, settings: ChunkSettings, *, jobs: int, workers: int, deadline_s: float, memory_mb: int) -> None:
        self._settings = settings
        self._spool = ScratchFiles(settings.origin.chunks_dir)
        self._pool: WorkerPool[_Work, _Message] = WorkerPool(
            work,
            size=workers,
            deadline_s=deadline_s,
            memory_mb=memory_mb,
            ready=partial(Tokenizer.load, settings.tokenizer),
        )
        self._jobs = jobs

    @property
    def readers(self) -> int:
        """How many jobs run at once; only long PDF files keep more processes busy."""
        return max(1, min(self._pool.size, self._jobs))

    def start(self) -> None:
        """Let reading processes start now, before there is a job; one core is left for opening the rest."""
        self._pool.start(max(1, min(self.readers, (os.cpu_count() or 1) - 1)))

    async def run(self, job: ChunkJob, receive: Callable[[Part], Awaitable[None]]) -> int:
        """The number of parts the job made; each was handed to `receive`, in order."""
        parts = job.first_part
        done = 0
        long: LongPdfFound | None = None

        async def note(message: _Message, base: int) -> None:
            nonlocal parts, done, long
            if isinstance(message, Part):
                parts, done = message.number + 1, base + message.files_done
                await receive(replace(message, files_done=done))
            elif isinstance(message, LongPdfFound):
                done, long = base + message.files_done, message

        if any(map(may_be_long_pdf, job.files)):
            self._pool.start(self._pool.size)  # processes that will read ranges of it start while it is opened
        try:
            while True:
                long = None
                remaining = replace(job, files=job.files[done:], first_part=parts)
                try:
                    await self._pool.run((self._settings, remaining), partial(note, base=done))
                except WorkerLost as lost:
                    job = _without_unit(job, lost)
                else:
                    if long is None:
                        return parts - job.first_part
                    job = await self._with_ranges(job, job.files[done], long.pages)
        finally:
            self._discard(job)

    async def _with_ranges(self, job: ChunkJob, file: SourceFile, pages: int) -> ChunkJob:
        """The job, with all pages of a long file read; or with the file given up."""
        self._discard(job)  # of the long file before this one

        async def run(ranges: RangeJob, receive: Callable[[RangeResult | None], Awaitable[None]]) -> None:
            async def note(message: _Message) -> None:
                assert message is None or isinstance(message, RangeResult)
                await receive(message)

            await self._pool.run((self._settings, ranges), note)

        read = await read_in_ranges(file, pages, run=run, readers=self._pool.size, scratch=self._spool)
        if read.failure:
            return replace(job, skip={**job.skip, file.path: {"": read.failure}}, ranges={})
        return replace(job, ranges={file.path: read.ranges})

    def _discard(self, job: ChunkJob) -> None:
        self._spool.discard(path for paths in job.ranges.values() for path in paths)

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
    nameless = not item or item.startswith(_CHUNKING)
    most = _MAX_RESTARTS_PER_FILE_OF_FILES if "#" in item else _MAX_RESTARTS_PER_FILE
    whole_file = nameless or item in units or len(units) + 1 >= most
    units["" if whole_file else item] = f"{lost.cause}: {lost.detail}"
    return replace(job, skip=skip)


def work(work: _Work, channel: Channel[_Message]) -> None:
    """Run in a reading process: one job, or one range of a long file's pages."""
    settings, job = work
    if isinstance(job, RangeJob):
        scratch = ScratchFiles(settings.origin.chunks_dir)
        range_job(job, settings.documents, scratch, settings.parsed, channel)
    else:
        chunk_job(settings, job, channel)


def chunk_job(settings: ChunkSettings, job: ChunkJob, channel: Channel[_Message]) -> None:
    """Read and chunk every file of a job, writing parts and sending each as soon as it is whole.

    It ends at a long PDF file of which the job has no ranges yet.
    """
    close_file()  # what ranges of pages were read from before
    parts = PartWriter(
        settings.origin,
        job=job.number,
        first=job.first_part,
        send=channel.send,
        bytes_to_come=sum(file.size_bytes for file in job.files),
        at=channel.at,
    )
    tokenizer = Tokenizer.load(settings.tokenizer)
    for done, file in enumerate(job.files):
        if pages := _pages_to_spread(file, job, settings, channel):
            parts.flush()
            channel.send(LongPdfFound(done, pages))
            return
        for outcome in _outcomes(file, settings, job, channel):
            if isinstance(outcome, Reject):
                parts.add_reject(outcome)
                continue
            if isinstance(outcome, LeftOutMember):
                if settings.reject_unknown and (reject := outcome.as_reject()) is not None:
                    parts.add_reject(reject)
                else:
                    parts.add_left_out(outcome.counted)
                continue
            if _is_reserved(outcome.source, file):
                parts.add_reject(_name_taken(outcome, file))
                continue
            chunks = chunk_document(outcome, tokenizer, settings.chunking)
            try:
                parts.add_document(
                    file, outcome, _announced(chunks, f"{file.path}\0{_CHUNKING}{outcome.source}", channel)
                )
            except MemoryError:
                parts.add_reject(_too_large(outcome))
        parts.end_file(file)
    parts.flush()


def _pages_to_spread(file: SourceFile, job: ChunkJob, settings: ChunkSettings, channel: Channel[_Message]) -> int:
    """How many pages are to be read in ranges before this file's turn; 0 when it can be taken now."""
    if file.path in job.ranges or file.path in job.skip or settings.documents.external_for(file.name):
        return 0

    def at(item: str) -> None:
        channel.at(f"{file.path}\0{item}")

    try:
        pages = long_pdf_pages(file, settings.documents, at=at)
        return 0 if pages and settings.parsed.read_before(file, lambda: at("")) is not None else pages
    except Exception:  # noqa: BLE001 - a bug that one file uncovers; reading it says so
        return 0


def _announced(chunks: Iterator[Chunk], unit: str, channel: Channel[Part]) -> Iterator[Chunk]:
    """The chunks, with a deadline for every so many of them: a long document may take its time, but may not hang."""
    while True:
        channel.at(unit)
        some = list(islice(chunks, _CHUNKS_PER_UNIT))
        yield from some
        if len(some) < _CHUNKS_PER_UNIT:
            return


def _outcomes(
    file: SourceFile, settings: ChunkSettings, job: ChunkJob, channel: Channel[_Message]
) -> Iterator[Document | LeftOutMember | Reject]:
    """The documents, rejects and left-out members of a file; a failure of the reader is a reject of that file alone."""
    skip = job.skip.get(file.path, {})
    if "" in skip:
        yield _lost_file(file, skip[""])
        return

    def at(item: str) -> None:
        channel.at(f"{file.path}\0{item}")

    try:
        if ranges := job.ranges.get(file.path):
            read = spooled_ranges(ranges, ScratchFiles(settings.origin.chunks_dir))
            cpu_s = sum(each.pages.cpu_s for each in read)
            joined = join_page_ranges(file, read, skip=skip, at=at)
            yield from joined if skip else read_once(file, joined, settings.parsed, lambda: at(""), cpu_s=cpu_s)
        else:
            yield from read_documents(file, settings.documents, skip=skip, at=at, parsed=settings.parsed)
    except LakeError:
        raise
    except Exception as error:  # noqa: BLE001 - a bug that one file uncovers must not stop the others; it is recorded
        yield Reject(
            stage="read",
            source=file.name,
            item="",
            reason="reader_failed",
            message=f"the reader failed on this file: {type(error).__name__}: {error}",
            remedy="please report it with the file; the other documents are not affected",
        )


def _is_reserved(source: str, file: SourceFile) -> bool:
    """Whether a record of `file` has the name of another file, or of a record in it."""
    return any(source == name or source.startswith(name + "#") for name in file.reserved)


def _name_taken(record: Document, file: SourceFile) -> Reject:
    return Reject(
        stage="read",
        source=file.name,
        item=f"record {record.source.removeprefix(file.name + '#')}",
        reason="duplicate_id",
        message=f"another file has the name of this record, {record.source}",
        remedy="rename that file, or give the record another id",
    )


def _too_large(document: Document) -> Reject:
    return Reject(
        stage="chunk",
        source=document.source,
        item="",
        reason="memory",
        message=f"cutting its {len(document.text):,} characters takes more memory than a reading process may use",
        remedy="split the document, or raise documents.max_memory_mb",
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
