"""What `ingest` would do and cost: the same scan, reading, cutting and packing, without a network call or a write.

Nothing of the lake is changed: chunks go to a temporary folder and are dropped as soon as they are counted.
"""

import asyncio
import json
import tempfile
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from millrace.configs.settings import Settings
from millrace.flows.commands.ingest.deletions import lie_in, with_rows
from millrace.flows.commands.ingest.diff import diff_sources
from millrace.flows.commands.ingest.rejected_files import rejected_files
from millrace.flows.commands.reject_list import lines_by_reason
from millrace.flows.monitoring.result import Result
from millrace.flows.monitoring.run_state import count_unchanged
from millrace.flows.monitoring.run_summary import ChunkCounts, DocumentCounts
from millrace.flows.wiring import components
from millrace.flows.wiring.batch_road import (
    MARGIN_S,
    Experience,
    deadline_in,
    seconds_at_once,
    why_at_once,
    why_not,
)
from millrace.flows.wiring.collection_settings import why_refused, with_remembered
from millrace.tasks.documents import NOT_RECOGNIZED
from millrace.tasks.embedding import Estimate, Estimator
from millrace.tasks.lake import ChunkParts, Lake, SeenKeys, VectorStore
from millrace.tasks.milvus import is_lite
from millrace.tasks.records import REJECT_SCHEMA, FileCounts, LeftOut, Reject, reject_table
from millrace.tasks.stages.chunk import ChunkJob
from millrace.tasks.stages.part_writer import Part
from millrace.tasks.stages.row_diff import RowDiff
from millrace.tasks.stages.scan import Scan

# Beside what the limits allow, measured on two cores: readers and collection are opened before the first request, and
# Milvus Lite builds its index when it is closed.
_AROUND_S = 2.0
_LITE_ROWS_PER_S = 1_000.0
RECOGNITION_CPU_S = 5.0
"""Of one page, measured on A4 pages of the samples."""

_ROW_OVERHEAD_BYTES = 100  # the id and the row's own bookkeeping


@dataclass(frozen=True, slots=True)
class BatchOutlook:
    """The same texts by Batch: within `window` for `cost_cny`, or `why_not`.

    `median_s` and `longest_s` are of the lake's own `jobs_before`, None while there are none. `chosen` says whether
    `ingest` would send them so; with a deadline, `way_back` is the moment from which the rest is embedded at once.
    """

    wanted: bool
    why_not: str
    window: str
    cost_cny: float
    jobs_before: int
    median_s: float | None
    longest_s: float | None
    chosen: bool
    why_at_once: str
    deadline: str = ""
    way_back: str = ""

    def lines(self) -> list[str]:
        """The outlook for people."""
        if self.why_not:
            return [f"by Batch   not to be had: {self.why_not}"] if self.wanted else []
        known = "no job of this lake has shown how long it takes"
        if self.median_s is not None and self.longest_s is not None:
            took = f"{_duration(self.median_s)} in the median, {_duration(self.longest_s)} at the most"
            known = f"{self.jobs_before:,} earlier {'job' if self.jobs_before == 1 else 'jobs'} took {took}"
        chosen = "chosen" if self.chosen else f"not chosen: {self.why_at_once}"
        lines = [f"by Batch   ¥{self.cost_cny:.4f} within {self.window}; {known}; {chosen}"]
        if self.way_back and self.chosen:
            lines.append(f"deadline   {self.deadline}: what no job has answered by {self.way_back} is embedded at once")
        return lines


@dataclass(frozen=True, slots=True)
class Plan(Result):
    """The run that would follow: counts as in the run's report, and the estimate of what has to be embedded.

    `rejects` counts what it would not take, by reason; `rejected` are these items one by one, if they were asked for.
    Of the `tokens_read`, those of all chunks read, `context_tokens` are of what is embedded before their text.
    `pages_to_recognize` are pages and pictures whose text `ingest` recognizes first; it is in no other figure.
    `batch` is the other road for the texts. `mean_fill` is how full the chunks read are on average: the larger of the
    shares of both bounds, None without any.
    """

    collection: str
    model: str
    documents: DocumentCounts = field(default_factory=DocumentCounts)
    chunks: ChunkCounts = field(default_factory=ChunkCounts)
    left_out: LeftOut = field(default_factory=LeftOut)
    files: FileCounts = field(default_factory=FileCounts)
    rejects: Counter[str] = field(default_factory=Counter)
    rejected: tuple[dict[str, str], ...] = ()
    milvus_bytes: int = 0
    mean_fill: float | None = None
    pages_to_recognize: int = 0
    context_tokens: int = 0
    tokens_read: int = 0
    estimate: Estimate | None = None
    batch: BatchOutlook | None = None
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The plan for people."""
        d, c, e = self.documents, self.chunks, self.estimate
        assert e is not None
        lines = [
            f"documents  {d.seen:,} seen: {d.added:,} to add, {d.changed:,} to change, {d.unchanged:,} unchanged, "
            f"{d.rejected:,} rejected; {d.removed:,} to remove",
            *([f"files      {self.files.summary()}"] if self.files.summary() else []),
            f"chunks     {c.total:,}: {c.embedded:,} to embed, {c.reused:,} to reuse, {c.unchanged:,} unchanged; "
            f"{c.upserted:,} rows to upsert ({self.milvus_bytes / 1e6:,.1f} MB), {c.deleted:,} to delete",
            f"requests   {e.requests:,} of {self.model}; {e.tokens:,} tokens; ¥{e.cost_cny:.4f}",
        ]
        if self.mean_fill is not None:
            lines.append(f"fill       {self.mean_fill:.0%} of what a chunk may hold, on average of those read")
        if self.context_tokens:
            share = self.context_tokens / max(1, self.tokens_read - self.context_tokens)
            lines.append(f"context    {self.context_tokens:,} tokens of headings before the texts, {share:.1%} more")
        if e.seconds is not None:
            lines.append(f"time       about {_duration(e.seconds)}, by the limits")
        if self.batch is not None and e.texts:
            lines += self.batch.lines()
        if self.pages_to_recognize:
            took = f"about {_duration(self.pages_to_recognize * RECOGNITION_CPU_S)} on one core"
            lines.append(f"ocr        {self.pages_to_recognize:,} pages to recognize, {took}; their texts come on top")
        if self.left_out.total:
            lines.append(f"left out   {self.left_out.summary()}")
        if self.rejects:
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in self.rejects.most_common())
            named = "" if self.rejected else "; name them with: millrace plan --rejects"
            lines.append(f"rejects    {self.rejects.total():,}: {reasons}{named}")
            lines += [f"  {line}" for line in lines_by_reason(self.rejected, full=True)]
        return lines + [f"note       {note}" for note in self.notes]


def make_plan(settings: Settings, sources: Sequence[Path], *, name_rejects: bool = False) -> Plan:
    """Count what `ingest` would do with these settings and sources; no network, no write.

    With `name_rejects` the plan holds each item that would be rejected.
    """
    refusal = why_refused(settings)
    made = asyncio.run(_Planner(with_remembered(settings), sources, name_rejects=name_rejects).run())
    return replace(made, notes=(*made.notes, refusal)) if refusal else made


def around_s(settings: Settings, rows: int) -> float:
    """What a run takes beside what the limits allow, when it upserts so many rows."""
    return _AROUND_S + (rows / _LITE_ROWS_PER_S if is_lite(settings.milvus.uri) else 0.0)


def count_texts(settings: Settings, sources: Sequence[Path]) -> "array[int]":
    """The tokens of each text that `ingest` would embed, in the order of embedding; no network, no write."""
    planner = _Planner(with_remembered(settings), sources, name_rejects=False)
    asyncio.run(planner.run())
    return planner.tokens


class _Planner:
    def __init__(self, settings: Settings, sources: Sequence[Path], *, name_rejects: bool) -> None:
        self.tokens = array("I")
        self._settings = settings
        self._name_rejects = name_rejects
        self._sources = sources
        self._model = components.load_model(settings)
        self._estimator = Estimator(self._model.spec)
        self._seen = SeenKeys()
        self._half_read: set[str] = set()
        self._documents, self._chunks = DocumentCounts(), ChunkCounts()
        self._rejects: Counter[str] = Counter()
        self._rejected: list[dict[str, str]] = []
        self._left_out = LeftOut()  # of what lies within files
        self._milvus_bytes = 0
        self._pages_to_recognize = 0
        self._tokens_read = self._context_tokens = 0
        self._refused: list[Reject] = []
        self._fill, self._chunks_read = 0.0, 0

    async def run(self) -> Plan:
        settings, model = self._settings, self._model
        lake = Lake.open(components.lake_path(settings), settings.milvus.collection, read_only=True)
        diff = diff_sources(settings, model, lake, self._sources)
        found = diff.scan
        row_diff = RowDiff(lake.chunks, found.previous, diff.uncommitted.rows, space=model.space.name)
        store = lake.vectors(model.space)
        try:
            with tempfile.TemporaryDirectory(prefix="millrace-plan-") as folder:
                await self._read(found, Path(folder), row_diff, store)
        finally:
            store.close()
        count_unchanged(found.unchanged, self._documents, self._chunks)
        self._count_gone(found, row_diff)
        self._count_rejects(reject_table(list(found.rejects)))
        return Plan(
            settings.milvus.collection,
            model.spec.name,
            documents=self._documents,
            chunks=self._chunks,
            left_out=found.left_out + self._left_out,
            files=FileCounts.of(found.listed, self._refused_files(lake, found), found.left_out.unsupported),
            rejects=self._rejects,
            rejected=tuple(self._rejected),
            milvus_bytes=self._milvus_bytes,
            mean_fill=round(self._fill / self._chunks_read, 3) if self._chunks_read else None,
            pages_to_recognize=self._pages_to_recognize,
            context_tokens=self._context_tokens,
            tokens_read=self._tokens_read,
            estimate=self._with_time_around(estimate := self._estimator.estimate()),
            batch=self._outlook(lake, estimate),
            notes=model.notes,
        )

    def _refused_files(self, lake: Lake, found: Scan) -> set[str]:
        """The files of which nothing would be taken: those refused now, and unchanged ones that were refused before."""
        read_now = {file.name for file in found.jobs.each_file()}
        before = rejected_files(self._settings, lake.rejects.outstanding(), self._sources or None)
        now = rejected_files(self._settings, reject_table(self._refused), self._sources or None)
        return now | (before - read_now)

    def _outlook(self, lake: Lake, estimate: Estimate) -> BatchOutlook:
        settings, model = self._settings, self._model
        lacking, now = why_not(settings, model), datetime.now().astimezone()
        moment = deadline_in(settings, now)
        left_s = (moment - now).total_seconds() if moment else None
        at_once = why_at_once(settings, model.spec, estimate.tokens, estimate.requests, left_s=left_s)
        if settings.embedding.road == "never":
            at_once = "embedding.batch is not set"
        seconds = seconds_at_once(model.spec, estimate.tokens, estimate.requests)
        way_back = moment - timedelta(seconds=seconds + MARGIN_S) if moment else None
        known = Experience.of(lake.batch_jobs(model.space).all())
        return BatchOutlook(
            wanted=settings.embedding.road != "never",
            why_not=lacking,
            window=settings.embedding.batch_window,
            cost_cny=estimate.batch_cost_cny,
            jobs_before=known.jobs if known else 0,
            median_s=known.median_s if known else None,
            longest_s=known.longest_s if known else None,
            chosen=not lacking and not at_once,
            why_at_once=at_once,
            deadline=moment.isoformat(timespec="minutes") if moment else "",
            way_back=way_back.isoformat(timespec="minutes") if way_back else "",
        )

    def _with_time_around(self, estimate: Estimate) -> Estimate:
        if not estimate.seconds:
            return estimate
        return replace(estimate, seconds=round(estimate.seconds + around_s(self._settings, self._chunks.upserted), 1))

    async def _read(self, found: Scan, folder: Path, row_diff: RowDiff, store: VectorStore) -> None:
        parts = ChunkParts(folder)
        options = components.chunk_stage_options(self._settings, self._model, folder, run="plan", read_only=True)
        stage = components.open_readers(self._settings, options, len(found.jobs))

        async def count(part: Part) -> None:
            self._count(part, parts, row_diff, store)
            parts.remove([part.name])

        jobs = (ChunkJob(number, files) for number, files in enumerate(found.jobs))

        async def read_jobs() -> None:
            for job in jobs:
                await stage.run(job, count)

        try:
            await asyncio.gather(*(read_jobs() for _ in range(stage.readers)))
        finally:
            stage.close()

    def _count(self, part: Part, parts: ChunkParts, row_diff: RowDiff, store: VectorStore) -> None:
        rows = parts.read(part.job, part.number, part.number)
        documents, chunks = self._documents, self._chunks
        keys: list[bytes] = rows["text_key"].to_pylist()
        missing = store.missing(keys)
        to_embed = [missing[i] for i in self._seen.first_seen([keys[position] for position in missing])]
        for tokens in rows["tokens"].take(pa.array(to_embed, pa.int64())).to_pylist():
            self.tokens.append(tokens + self._model.spec.end_mark_tokens)
            self._estimator.add(self.tokens[-1])
        chunks.embedded += len(to_embed)
        chunks.total += rows.num_rows
        self._chunks_read += rows.num_rows
        self._fill += self._fill_of(rows)
        self._tokens_read += pc.sum(rows["tokens"]).as_py() or 0
        if self._settings.chunking.context == "headings":
            counted = zip(rows["tokens"].to_pylist(), rows["metadata"].to_pylist(), strict=True)
            self._context_tokens += sum(tokens - json.loads(metadata)["token_count"] for tokens, metadata in counted)
        chunks.reused += rows.num_rows - len(to_embed)
        changed = rows.take(row_diff.changed_positions(rows))
        chunks.upserted += changed.num_rows
        text_bytes = pc.sum(pc.binary_length(changed["content"])).as_py() or 0
        metadata_bytes = pc.sum(pc.binary_length(changed["metadata"])).as_py() or 0
        vector_bytes = changed.num_rows * (self._model.space.dimensions * 4 + _ROW_OVERHEAD_BYTES)
        self._milvus_bytes += text_bytes + metadata_bytes + vector_bytes
        refused = _refused(part.rejects)
        for document in part.documents.to_pylist():
            if document["source"] not in refused:  # all that was refused of it is to be recognized
                document["status"] = "live"
            verdict = row_diff.outcome(document)
            setattr(documents, verdict, getattr(documents, verdict) + 1)
            documents.seen += 1
            stale, _ = row_diff.stale_and_current_ids(document)
            chunks.deleted += len(stale)
        row_diff.finish(part.documents["source"].to_pylist())
        self._left_out += part.left_out
        self._half_read.update(part.partially_read())
        self._count_rejects(part.rejects)

    def _fill_of(self, rows: pa.Table) -> float:
        """The sum of the shares of a chunk's bounds that each row fills, the larger of the two."""
        bounds = components.chunk_options(self._settings)
        tokens = pc.divide(pc.cast(rows["tokens"], pa.float64()), bounds.max_tokens)
        sizes = pc.divide(pc.cast(pc.binary_length(rows["content"]), pa.float64()), bounds.max_bytes)
        return float(pc.sum(pc.max_element_wise(tokens, sizes)).as_py() or 0)

    def _count_rejects(self, rejects: pa.Table) -> None:
        later = pc.equal(rejects["reason"], NOT_RECOGNIZED)
        self._pages_to_recognize += pc.sum(later).as_py() or 0
        rejects = rejects.filter(pc.invert(later))
        self._rejects.update(rejects["reason"].to_pylist())
        self._refused += [Reject(**row) for row in rejects.select(REJECT_SCHEMA.names).to_pylist() if not row["item"]]
        if self._name_rejects:
            self._rejected += rejects.select(REJECT_SCHEMA.names).to_pylist()

    def _count_gone(self, found: Scan, row_diff: RowDiff) -> None:
        unfinished = row_diff.unfinished()
        stays = lie_in(unfinished, self._half_read)
        for documents in (found.removed, unfinished.filter(pc.invert(stays))):
            self._documents.removed += with_rows(documents)
            self._chunks.deleted += pc.sum(documents["chunks"]).as_py() or 0


def _refused(rejects: pa.Table) -> set[str]:
    """The documents of which something is refused for good."""
    return set(rejects.filter(pc.not_equal(rejects["reason"], NOT_RECOGNIZED))["source"].to_pylist())


def _duration(seconds: float) -> str:
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole} s" if minutes else f"{seconds:.1f} s"
