"""How a run goes, second by second: samples of its state for the page of the run, and the facts known at its end.

Counters are kept as sums since the beginning, so that leaving out every second sample loses detail and nothing else: of
a run of any length a few hundred remain.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from millrace.flows.monitoring.run_state import BOTTLENECKS, RunState
from millrace.tasks.embedding import LATENCY_BUCKETS_S, Usage
from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Lake, Timeline
from millrace.tasks.records import JsonValue

_log = logging.getLogger(__name__)

_TICK_S = 0.25
_WRITE_EVERY_S = 10.0
_MAX_SAMPLES = 600

COUNTERS = (
    *("files_cut", "documents", "chunks_cut", "chunks_embedded", "chunks_loaded"),
    *("requests_sent", "requests_throttled", "requests_retried", "answers", "answers_s"),
    *("tokens_counted", "tokens_billed", "cost_cny"),
)
GAUGES = ("requests_in_flight", "requests_ceiling", "tokens_ceiling")
"""Values at the moment of a sample; a ceiling is a rate per second, 0 where there is none."""

COLUMNS = ("seconds", *COUNTERS, *GAUGES, *(f"held_{name}_s" for name in BOTTLENECKS))
"""Of a timeline: since the beginning, except the gauges. `held_..._s` are the seconds that the run waited for that."""


@dataclass(slots=True)
class Samples:
    """At most `most` samples, evenly spaced: when there are more, every second one goes and the interval doubles."""

    most: int = _MAX_SAMPLES
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

    def columns(self) -> dict[str, list[float]]:
        """The samples of `COLUMNS`, by column."""
        return {
            name: [value if isinstance(value, int) else round(value, 4) for value in column]
            for name, column in zip(COLUMNS, zip(*self.rows, strict=True), strict=False)
        }


def sample(state: RunState) -> tuple[float, ...]:
    """One row of `COLUMNS`."""
    usage = state.usage
    return (
        state.seconds,
        state.files_cut,
        state.documents_loaded,
        state.chunks_cut,
        state.chunks_embedded,
        state.chunks_loaded,
        usage.requests_sent,
        usage.requests_throttled,
        usage.requests_retried,
        usage.latencies.answers,
        usage.latencies.total_s,
        usage.tokens_counted,
        usage.tokens_billed,
        usage.cost_cny,
        state.activity.requests_in_flight,
        *state.ceilings,
        *state.waiting_s.values(),
    )


@contextlib.asynccontextmanager
async def recorded_over_time(state: RunState, lake: Lake) -> AsyncIterator[None]:
    """Sample the run while the block goes on; write the timeline now and then, and once more at its end."""
    samples, over = Samples(), asyncio.Event()

    async def write() -> None:
        await asyncio.to_thread(_save, lake, _timeline(state, samples))

    async def take_samples() -> None:
        written = time.monotonic()
        while not over.is_set():
            state.tick()
            if samples.due(state.seconds):
                samples.add(*sample(state))
                if time.monotonic() - written >= _WRITE_EVERY_S:
                    await write()
                    written = time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), _TICK_S)
        state.tick()
        samples.add(*sample(state))
        await write()

    sampling = asyncio.create_task(take_samples(), name="timeline")
    try:
        yield
    finally:
        over.set()
        await sampling


def _save(lake: Lake, timeline: Timeline) -> None:
    try:
        lake.timelines.save(timeline)
    except LakeError as error:  # most likely a full disk, which stops the run itself where it matters
        _log.warning("the timeline of the run is not kept: %s", error)


def _timeline(state: RunState, samples: Samples) -> Timeline:
    return Timeline(
        run=state.run,
        updated=datetime.now(UTC).isoformat(timespec="seconds"),
        columns=samples.columns(),
        facts={
            "command": state.command,
            "collection": state.collection,
            "cores": os.cpu_count() or 1,
            "readers": state.readers,
            "files": state.files,
            "outages": [asdict(outage) for outage in state.outages],
            "report": state.summary().as_json(),  # type: ignore[dict-item]
            **_model_facts(state),
            **_answer_facts(state.usage),
            **state.formats.as_values(),
        },
    )


def _model_facts(state: RunState) -> Mapping[str, JsonValue]:
    spec = state.spec
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


def _answer_facts(usage: Usage) -> Mapping[str, JsonValue]:
    return {
        "latency": {"bounds_s": list(LATENCY_BUCKETS_S), **asdict(usage.latencies)},
        "throttled_by": {str(limit): count for limit, count in usage.throttled_by.items()},
        "unavailable": usage.unavailable,
        "unproven": usage.invalid_responses,
        "texts_refused": usage.texts_refused,
        "tokens_in_doubt": usage.tokens_in_doubt,
    }
