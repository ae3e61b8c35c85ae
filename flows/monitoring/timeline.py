"""How a run goes, second by second, for its report: samples of the progress, and what is known only at the end.

Counters are kept as sums since the beginning, so that leaving out every second sample loses detail and nothing else: of
a run of any length a few hundred remain.
"""

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Literal, get_args

from millrace.flows.monitoring.progress import Progress
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.tasks.embedding import LATENCY_BUCKETS_S, Activity, Usage
from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Lake, Timeline
from millrace.tasks.records import JsonValue

_log = logging.getLogger(__name__)

_LOOKED_EVERY_S = 0.25
_WRITTEN_EVERY_S = 10.0
_MOST = 600

Holdup = Literal[
    "requests", "tokens", "growth", "pause", "slots", "answers", "reading", "milvus", "comparing", "closing"
]
"""What a run can wait for: four limits of the provider's, its answers (or room for more of them), the readers, Milvus,
the comparison of the sources with the manifest, and the tidying up at the end."""

BOTTLENECKS: tuple[str, ...] = get_args(Holdup)
COUNTERS = (
    *("files_cut", "documents", "chunks_cut", "chunks_embedded", "chunks_loaded"),
    *("requests_sent", "requests_throttled", "requests_retried", "answers", "answers_s"),
    *("tokens_counted", "tokens_billed", "cost_cny"),
)
GAUGES = ("requests_in_flight", "requests_ceiling", "tokens_ceiling")
"""What is so at the moment of a sample; a ceiling is a rate per second, 0 where there is none."""

COLUMNS = ("seconds", *COUNTERS, *GAUGES, *(f"held_{name}_s" for name in BOTTLENECKS))
"""Of a timeline: since the beginning, except the gauges. `held_..._s` are the seconds that the run waited for that."""


def bottleneck(progress: Progress) -> Holdup:
    """What the run waits for now, so that doing it faster would make the run faster."""
    if progress.activity is None:
        return "comparing"
    now = progress.activity()
    waiting_for = now.waiting_for
    if waiting_for in BOTTLENECKS:
        return waiting_for  # type: ignore[return-value]
    if progress.files_cut < progress.files and not progress.readers_waiting and not now.texts_waiting:
        return "reading"
    if now.requests_in_flight or now.requests_backing_off or now.texts_waiting:
        return "answers"
    return "milvus" if progress.chunks_loaded < progress.chunks_cut else "closing"


@dataclass(slots=True)
class Samples:
    """At most `most` samples, evenly spaced: when there are more, every second one goes and the interval doubles."""

    most: int = _MOST
    interval_s: float = 1.0
    rows: list[tuple[float, ...]] = field(default_factory=list)  # the first number of each is its time

    def due(self, seconds: float) -> bool:
        """Whether it is time for another sample."""
        return not self.rows or seconds - self.rows[-1][0] >= self.interval_s

    def add(self, *row: float) -> None:
        """Take one more."""
        self.rows.append(row)
        if len(self.rows) > self.most:
            del self.rows[1::2]
            self.interval_s *= 2


class Recorder:
    """Takes the samples of one run. Belongs to its event loop; `now` can be read from elsewhere."""

    def __init__(self, progress: Progress, *, interval_s: float = 1.0) -> None:
        self._progress = progress
        self._began = self._looked = time.monotonic()
        self._held_s: dict[str, float] = dict.fromkeys(BOTTLENECKS, 0.0)
        self._samples = Samples(interval_s=interval_s)
        self.now: Mapping[str, float] = dict.fromkeys(COLUMNS, 0.0)
        """What was so at the last look, by column."""

    def look(self, *, last: bool = False) -> bool:
        """Note how far the run is and what it waits for; whether a sample was due, or was taken as the `last`."""
        looked = time.monotonic()
        self._held_s[bottleneck(self._progress)] += looked - self._looked
        self._looked = looked
        seconds = looked - self._began
        row = (seconds, *self._counters(), *self._gauges(), *self._held_s.values())
        self.now = dict(zip(COLUMNS, row, strict=True))
        due = last or self._samples.due(seconds)
        if due:
            self._samples.add(*row)
        return due

    def columns(self) -> dict[str, list[float]]:
        """The samples, by column."""
        return {
            name: [value if isinstance(value, int) else round(value, 4) for value in column]
            for name, column in zip(COLUMNS, zip(*self._samples.rows, strict=True), strict=False)
        }

    def _counters(self) -> tuple[float, ...]:
        progress = self._progress
        tally = progress.tally or Usage()
        return (
            progress.files_cut,
            progress.documents,
            progress.chunks_cut,
            progress.chunks_embedded,
            progress.chunks_loaded,
            tally.requests_sent,
            tally.requests_throttled,
            tally.requests_retried,
            tally.latencies.answers,
            tally.latencies.total_s,
            tally.tokens_counted,
            tally.tokens_billed,
            tally.cost_cny,
        )

    def _gauges(self) -> tuple[float, ...]:
        progress = self._progress
        activity = progress.activity() if progress.activity else Activity(0, 0, 0, "")
        ceilings = progress.ceilings() if progress.ceilings else (0.0, 0.0)
        return activity.requests_in_flight, *(rate if math.isfinite(rate) else 0.0 for rate in ceilings)


@contextlib.asynccontextmanager
async def kept(lake: Lake, report: RunSummary, progress: Progress, *, command: str) -> AsyncIterator[Recorder]:
    """Sample the run while the block goes on; write the timeline now and then, and once more at its end."""
    recorder = Recorder(progress)
    over = asyncio.Event()

    async def write() -> None:
        await asyncio.to_thread(_save, lake, _timeline(report, progress, recorder, command))

    async def sample() -> None:
        written = time.monotonic()
        while not over.is_set():
            if recorder.look() and time.monotonic() - written >= _WRITTEN_EVERY_S:
                await write()
                written = time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), _LOOKED_EVERY_S)
        recorder.look(last=True)
        await write()

    sampling = asyncio.create_task(sample(), name="timeline")
    try:
        yield recorder
    finally:
        over.set()
        await sampling


def _save(lake: Lake, timeline: Timeline) -> None:
    try:
        lake.timelines.save(timeline)
    except LakeError as error:  # of all that a full disk stops, the least
        _log.warning("the timeline of the run is not kept: %s", error)


def _timeline(report: RunSummary, progress: Progress, recorder: Recorder, command: str) -> Timeline:
    return Timeline(
        run=report.run,
        updated=datetime.now(UTC).isoformat(timespec="seconds"),
        columns=recorder.columns(),
        facts={
            "command": command,
            "collection": report.collection,
            "cores": os.cpu_count() or 1,
            "readers": progress.readers,
            "files": progress.files,
            "report": report.as_json(),  # type: ignore[dict-item]
            **_model(progress),
            **_answers(progress.tally),
            **progress.observations.as_values(),
        },
    )


def _model(progress: Progress) -> Mapping[str, JsonValue]:
    spec = progress.spec
    if spec is None:
        return {}
    return {
        "provider": spec.provider,
        "price_cny_per_1k_tokens": spec.price_cny_per_1k_tokens,
        "limits": {
            "requests_per_second": spec.requests_per_second,
            "tokens_per_second": spec.tokens_per_second,
            "requests_per_minute": spec.requests_per_minute,
            "tokens_per_minute": spec.tokens_per_minute,
        },
    }


def _answers(tally: Usage | None) -> Mapping[str, JsonValue]:
    if tally is None:
        return {}
    return {
        "latency": {"bounds_s": list(LATENCY_BUCKETS_S), **asdict(tally.latencies)},
        "throttled_by": {str(limit): count for limit, count in tally.throttled_by.items()},
        "unavailable": tally.unavailable,
        "unproven": tally.invalid_responses,
        "texts_refused": tally.texts_refused,
        "tokens_in_doubt": tally.tokens_in_doubt,
    }
