"""The chunk stage: files -> documents -> chunks -> parts, in processes that can be stopped.

Joins `documents` and `chunking`; `tasks.parts` writes what comes out. `chunk_job` runs in a worker process;
`ChunkStage.run` is its side in the pipeline: it starts a job again without the page or file that hung or crashed a
worker, and so loses nothing else.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from tasks.chunking import ChunkOptions, Tokenizer, chunk_document
from tasks.documents import DocumentOptions, read_documents
from tasks.parts import Part, PartOrigin, PartWriter
from tasks.records import Chunk, Document, Reject, SourceFile
from tasks.workers import Channel, WorkerLost, WorkerPool

_MAX_RESTARTS_PER_FILE = 3
_CHUNKING = "chunking "
_CHUNKS_PER_UNIT = 200


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
    origin: PartOrigin


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

    def start(self) -> None:
        """Let the reading processes start now, before there is a job."""
        self._pool.start()

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
    nameless = not item or item.startswith(_CHUNKING)
    whole_file = nameless or item in units or len(units) + 1 >= _MAX_RESTARTS_PER_FILE
    units["" if whole_file else item] = f"{lost.cause}: {lost.detail}"
    return replace(job, skip=skip)


def chunk_job(work: tuple[ChunkSettings, ChunkJob], channel: Channel[Part]) -> None:
    """Read and chunk every file of a job, writing parts and sending each as soon as it is whole."""
    settings, job = work
    parts = PartWriter(settings.origin, job=job.number, first=job.first_part, send=channel.send)
    tokenizer = Tokenizer.load(settings.tokenizer)
    for file in job.files:
        for outcome in _outcomes(file, settings.documents, job.skip.get(file.path, {}), channel):
            if isinstance(outcome, Reject):
                parts.add_reject(outcome)
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


def _announced(chunks: Iterator[Chunk], unit: str, channel: Channel[Part]) -> Iterator[Chunk]:
    """The chunks, with a deadline for every so many of them: a long document may take its time, but may not hang."""
    while True:
        channel.at(unit)
        some = list(islice(chunks, _CHUNKS_PER_UNIT))
        yield from some
        if len(some) < _CHUNKS_PER_UNIT:
            return


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
