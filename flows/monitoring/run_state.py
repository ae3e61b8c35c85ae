"""One run as it goes: the stages change it, and whoever shows, records or exports the run reads it.

An observer is an async context manager over a `RunState`: it reads the state while its block goes on, and once more at
the end. The stages know no observer. Counters only grow; each is written by one thread at a time and read by any.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self, TypeAlias, get_args

from millrace.configs.settings import FailOn
from millrace.flows.monitoring.forecast import ChunkForecast
from millrace.flows.monitoring.format_stats import FormatStats
from millrace.flows.monitoring.run_summary import (
    BatchCounts,
    ChunkCounts,
    DocumentCounts,
    LeftCounts,
    Outcome,
    RequestCounts,
    RowCounts,
    RunSummary,
    TokenCounts,
)
from millrace.tasks.embedding import Activity, Dispatcher, ModelSpec, Usage
from millrace.tasks.lake import BatchJob, Lake
from millrace.tasks.outages import Outage, Service
from millrace.tasks.records import FileCounts, LeftOut, SourceFile
from millrace.tasks.stages.embed import Embedded
from millrace.tasks.stages.known_files import DocumentSums
from millrace.tasks.stages.load import Loaded
from millrace.tasks.stages.part_writer import Part
from millrace.tasks.stages.scan import Scan

_log = logging.getLogger(__name__)

Bottleneck = Literal[
    "requests", "tokens", "growth", "pause", "slots", "answers", "reading", "milvus", "comparing", "batch", "closing"
]
"""What a run can wait for: four limits of the provider's, its answers (or room for more of them), the readers, Milvus,
the comparison of the sources with the manifest, Batch jobs, and the tidying up at the end."""

BOTTLENECKS: tuple[Bottleneck, ...] = get_args(Bottleneck)

Phase = Literal["comparing", "moving", "ended"]
"""How far a run is: it compares the sources with the manifest; it moves documents into the collection; it is over."""

_ENOUGH_TO_GO_BY = 0.1


@dataclass(frozen=True, slots=True)
class SourceDiffSummary:
    """How many files a run has to read, and how many documents are removed from the sources or unchanged."""

    sources: Sequence[Path]
    new: int
    changed: int
    removed: int
    unchanged: int

    @classmethod
    def of(cls, sources: Sequence[Path], found: Scan) -> Self:
        """The counts of a scan of `sources`."""
        return cls(
            sources=sources,
            new=found.jobs.files - found.changed,
            changed=found.changed,
            removed=found.removed.num_rows,
            unchanged=found.unchanged.documents,
        )

    @property
    def files(self) -> int:
        """Files to read."""
        return self.new + self.changed

    def __str__(self) -> str:
        """`docs: 312 new, 4 changed`, or `docs: nothing changed`."""
        names = ", ".join(source.name or str(source) for source in self.sources[:3])
        more = f" and {len(self.sources) - 3} more" if len(self.sources) > 3 else ""
        counts = {"new": self.new, "changed": self.changed, "removed": self.removed}
        message = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        return f"{names}{more}: {message or 'nothing changed'}"


SERVICE_NAMES: Mapping[Service, str] = {
    "milvus": "Milvus",
    "provider": "the provider",
    "storage": "the storage of the lake",
}


@dataclass(frozen=True, slots=True)
class PastOutage:
    """A service that was away for `away_s` seconds, of which the run heard `at_s` seconds after its beginning."""

    service: Service
    at_s: float
    away_s: float


@dataclass(slots=True)
class RunState:
    """The counters, the phase and the bottleneck of one run; `summary` freezes it.

    `documents` and `chunks` are counted when their part is in the collection; `documents_loaded` are in it, and
    `documents_rejected` were refused in this run. `files_cut` and `chunks_cut` count what
    the readers have handed over, `chunks_reused` those among them whose vector was in the lake. `waiting_s` has the
    seconds that the run waited, by bottleneck. `rejects` are the rejected items outstanding in the collection's lake,
    `rejects_new` those that are new in this run. `usage` is what was asked of the provider, over both roads; `batch`
    are the Batch jobs of this run, and those of earlier ones that it met, as they were last.
    """

    run: str
    collection: str
    model: str
    command: str = "ingest"
    notes: list[str] = field(default_factory=list)
    source_diff: SourceDiffSummary | None = None
    documents: DocumentCounts = field(default_factory=DocumentCounts)
    chunks: ChunkCounts = field(default_factory=ChunkCounts)
    files_cut: int = 0
    documents_loaded: int = 0
    documents_rejected: int = 0
    chunks_cut: int = 0
    chunks_reused: int = 0
    chunks_loaded: int = 0
    readers: int = 0
    readers_waiting: int = 0  # for room for the part that they have cut
    formats: FormatStats = field(default_factory=FormatStats)
    waiting_s: dict[Bottleneck, float] = field(default_factory=lambda: dict.fromkeys(BOTTLENECKS, 0.0))
    left_out: LeftOut = field(default_factory=LeftOut)
    listed: Mapping[str, int] = field(default_factory=dict)
    file_counts: FileCounts = field(default_factory=FileCounts)
    rows: RowCounts | None = None
    rejects: int = 0
    rejects_new: int = 0
    fail_on: FailOn = "any"
    detached: bool = False
    outcome: Outcome = "running"
    error: str = ""
    spec: ModelSpec | None = None
    outages: list[PastOutage] = field(default_factory=list)
    away_since: dict[Service, float] = field(default_factory=dict)  # seconds of the run
    batch: dict[str, BatchJob] = field(default_factory=dict)  # by name: those that the run has had to do with
    batch_asked: int = 0  # how often anything was heard of them
    usage: Usage = field(default_factory=Usage)
    _dispatcher: Dispatcher | None = None
    _files_loaded: dict[int, int] = field(default_factory=dict)  # by job
    _forecast: ChunkForecast = field(default_factory=ChunkForecast)
    _opened: float | None = None
    _began: float = field(default_factory=time.monotonic)
    _ended: float | None = None
    _ticked: float = field(default_factory=time.monotonic)

    # What the stages say.

    def sources_compared(self, sources: Sequence[Path], found: Scan) -> None:
        """The sources were compared with the manifest."""
        self.source_diff, self.left_out = SourceDiffSummary.of(sources, found), found.left_out
        self.listed, self.file_counts = found.listed, FileCounts(ignored=found.left_out.unsupported)
        count_unchanged(found.unchanged, self.documents, self.chunks)
        self._forecast.files_found(found.jobs.each_file())

    def stages_opened(self, dispatcher: Dispatcher, spec: ModelSpec, *, readers: int) -> None:
        """Work begins with so many readers; `dispatcher` is asked how the embedding goes."""
        self.spec, self.readers, self._dispatcher, self._opened = spec, readers, dispatcher, time.monotonic()
        self.usage = dispatcher.usage

    def part_cut(self, part: Part, seconds: float, *, files: Sequence[SourceFile]) -> None:
        """A reader took `seconds` to make the part, and has read `files` to their end since the one before."""
        self.formats.part_cut(part, seconds)
        self.chunks_cut += part.chunks
        self.left_out += part.left_out
        self.files_cut += len(files)
        self._forecast.part_cut(part, files)

    def part_embedded(self, embedded: Embedded) -> None:
        """Every text of a part has a vector on disk, or was refused."""
        self.chunks_reused += embedded.reused

    def part_loaded(self, part: Part, embedded: Embedded, loaded: Loaded, seconds: float) -> None:
        """A part is in the collection, which took `seconds`."""
        documents, chunks = self.documents, self.chunks
        documents.added += loaded.added
        documents.changed += loaded.changed
        documents.unchanged += loaded.unchanged
        documents.rejected += loaded.rejected
        documents.seen += part.documents.num_rows
        accepted = part.chunks - loaded.rejected_chunks
        chunks.total += part.chunks
        chunks.rejected += loaded.rejected_chunks
        chunks.embedded += min(embedded.embedded, accepted)
        chunks.reused += accepted - min(embedded.embedded, accepted)
        chunks.upserted += loaded.upserted
        chunks.deleted += loaded.deleted
        self.chunks_loaded += part.chunks
        self.documents_loaded += part.documents.num_rows - loaded.rejected
        self.documents_rejected += loaded.rejected
        self._files_loaded[part.job] = part.files_done
        self.formats.part_loaded(part, seconds)

    def documents_removed(self, documents: int, *, rows: int) -> None:
        """Documents that are no longer in the sources are out of the collection, with so many rows."""
        self.documents.removed = documents
        self.chunks.deleted += rows

    def heard(self, outage: Outage) -> None:
        """A service is away, or back: logged, counted and, once it is back, noted. From any thread."""
        fields: dict[str, object] = {"service": outage.service}
        if outage.away_s is None:
            self.away_since[outage.service] = self.seconds
            event = "away"
        else:
            at_s = self.away_since.pop(outage.service, self.seconds)
            self.outages.append(PastOutage(outage.service, round(at_s, 3), round(outage.away_s, 3)))
            event, fields["away_s"] = "back", round(outage.away_s, 3)
            self.notes.append(f"{SERVICE_NAMES[outage.service]} was away for {outage.away_s:,.0f} s")
        message = f"{SERVICE_NAMES[outage.service]} is {event}: {outage.message}"
        _log.warning("%s", message, extra={"fields": {"event": event, **fields}})

    def end(self, outcome: Outcome, error: str = "") -> None:
        """The run is over."""
        self.outcome, self.error, self._ended = outcome, error, time.monotonic()

    def tick(self) -> None:
        """Count the time since the last tick to what the run waits for now; asked regularly, by one observer."""
        now = time.monotonic()
        self.waiting_s[self.bottleneck] += now - self._ticked
        self._ticked = now

    # What observers read.

    @property
    def phase(self) -> Phase:
        """How far the run is."""
        if self.outcome != "running":
            return "ended"
        return "comparing" if self.source_diff is None else "moving"

    @property
    def seconds(self) -> float:
        """How long the run has taken by now, or took."""
        return (self._ended or time.monotonic()) - self._began

    @property
    def files(self) -> int:
        """Files that the run has to read."""
        return self.source_diff.files if self.source_diff else 0

    @property
    def activity(self) -> Activity:
        """What the embedding does at the moment."""
        return self._dispatcher.activity if self._dispatcher else Activity(0, 0, 0, "")

    @property
    def ceilings(self) -> tuple[float, float]:
        """Requests and tokens a second that may go out; 0 where there is no limit."""
        requests, tokens = self._dispatcher.current_rates if self._dispatcher else (0.0, 0.0)
        return requests if math.isfinite(requests) else 0.0, tokens if math.isfinite(tokens) else 0.0

    @property
    def chunks_embedded(self) -> int:
        """Chunks whose vector is on disk, made in this run or reused; those by Batch are found again, and so reused."""
        return self.usage.texts_embedded - self.usage.batch_texts + self.chunks_reused

    @property
    def bottleneck(self) -> Bottleneck:
        """What the run waits for now, so that doing it faster would make the run faster."""
        if self._dispatcher is None:
            return "batch" if self.batch_counts().open else "comparing"
        now = self.activity
        for limit in BOTTLENECKS:
            if now.waiting_for == limit:
                return limit
        if self.files_cut < self.files and not self.readers_waiting and not now.texts_waiting:
            return "reading"
        if now.requests_in_flight or now.requests_backing_off or now.texts_waiting:
            return "answers"
        return "milvus" if self.chunks_loaded < self.chunks_cut else "closing"

    @property
    def remaining(self) -> LeftCounts | None:
        """What is not in the collection yet; None before it is known what there is to do."""
        if self.source_diff is None:
            return None
        files = self.files - sum(self._files_loaded.values())
        return LeftCounts(files=files, chunks=self.chunks_cut - self.chunks_loaded)

    def share_done(self) -> float | None:
        """The share of the work that is done, by the chunks of all files; None before the first file is read."""
        chunks = self._chunks_in_the_end()
        return min(0.5 * (self.chunks_embedded + self.chunks_loaded) / chunks, 1.0) if chunks else None

    def seconds_left(self) -> float | None:
        """How long the run will go on; None while a tenth of the work is not done."""
        share = self.share_done()
        if share is None or share < _ENOUGH_TO_GO_BY or self._opened is None:
            return None
        return (time.monotonic() - self._opened) * (1 - share) / share

    def cost_in_the_end_cny(self) -> float | None:
        """What the run will have cost; None while a tenth of the chunks is not embedded."""
        chunks = self._chunks_in_the_end()
        if not chunks or self.chunks_embedded < _ENOUGH_TO_GO_BY * chunks:
            return None
        return self.usage.cost_cny * max(chunks / self.chunks_embedded, 1.0)

    def _chunks_in_the_end(self) -> float | None:
        return self.chunks_cut if self.files_cut == self.files else self._forecast.chunks(self.chunks_cut)

    def figures(self) -> dict[str, float]:
        """Counts since the beginning, by the names that log lines and the timeline have for them."""
        usage = self.usage
        return {
            "files": self.files,
            "files_read": self.files_cut,
            "documents": self.documents_loaded,
            "chunks_cut": self.chunks_cut,
            "chunks_embedded": self.chunks_embedded,
            "chunks_loaded": self.chunks_loaded,
            "requests": usage.requests_sent,
            "requests_throttled": usage.requests_throttled,
            "requests_retried": usage.requests_retried,
            "tokens_counted": usage.tokens_counted,
            "tokens_billed": usage.tokens_billed,
            "cost_cny": usage.cost_cny,
            "batch_texts": usage.batch_texts,
            "batch_asked": self.batch_asked,
        }

    def batch_counts(self) -> BatchCounts:
        """What the Batch jobs have brought by now, and what is still to come."""
        still_open = [job for job in self.batch.values() if job.open]
        return BatchCounts(
            jobs=len(self.batch),
            open=len(still_open),
            texts_open=sum(job.texts for job in still_open),
            texts=self.usage.batch_texts,
            tokens_billed=self.usage.batch_tokens_billed,
            saved_cny=round(self.usage.batch_saved_cny, 6),
        )

    def summary(self) -> RunSummary:
        """What the run has done by now."""
        usage = self.usage
        return RunSummary(
            run=self.run,
            collection=self.collection,
            model=self.model,
            documents=replace(self.documents),
            chunks=replace(self.chunks),
            requests=RequestCounts(usage.requests_sent, usage.requests_throttled, usage.requests_retried),
            tokens=TokenCounts(usage.tokens_counted, usage.tokens_billed, round(usage.drift, 6)),
            left=self.remaining,
            left_out=self.left_out,
            files=self.file_counts,
            rows=self.rows,
            batch=self.batch_counts(),
            rejects=self.rejects,
            rejects_new=self.rejects_new,
            fail_on=self.fail_on,
            cost_cny=usage.cost_cny,
            seconds=round(self.seconds, 3),
            outcome=self.outcome,
            error=self.error,
            notes=list(self.notes),
        )


RunObserver: TypeAlias = Callable[[RunState, Lake], AbstractAsyncContextManager[None]]
"""Shows, records or exports the run while the block goes on. Nothing that it does may stop the run."""


def count_unchanged(unchanged: DocumentSums, documents: DocumentCounts, chunks: ChunkCounts) -> None:
    """Count the documents that stay as they are, and their chunks."""
    documents.seen += unchanged.documents
    documents.rejected += unchanged.rejected
    documents.unchanged += unchanged.documents - unchanged.rejected
    chunks.unchanged += unchanged.chunks
    chunks.total += unchanged.chunks
