"""The metrics of a run: Prometheus text, over HTTP while the run goes on, and in a file that outlives it.

The file is for node_exporter's textfile collector, as is usual for batch jobs: they are gone when the scraper comes.
Names and units follow Prometheus's conventions; every series has the label `collection`. A counter begins at 0 with
each run.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import start_http_server, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from millrace.configs.settings import MetricsSettings
from millrace.flows.monitoring.run_state import SERVICE_NAMES, RunState
from millrace.tasks.embedding import LATENCY_BUCKETS_S, Usage
from millrace.tasks.errors import ExitCode
from millrace.tasks.lake import Lake, RunRecord

_log = logging.getLogger(__name__)

_WRITE_EVERY_S = 15.0
_LAST_SUCCESS = "run_last_success_timestamp_seconds"
_FINISHED = frozenset({ExitCode.DONE, ExitCode.REJECTS})


class RunMetrics(Collector):
    """The metrics of one run, made when they are asked for."""

    def __init__(self, state: RunState, *, last_success: float) -> None:
        """`last_success`: when a run of the collection finished last, in seconds since the epoch; 0 is never."""
        self._state = state
        self.last_success = last_success
        self._started = time.time()
        self.ended: float | None = None

    @property
    def collection(self) -> str:
        """The collection that the run fills."""
        return self._state.collection

    def collect(self) -> Iterator[Metric]:
        """Every metric, as it is now."""
        yield from self._of_run()
        yield from self._of_outages()
        yield from self._of_documents()
        yield from self._of_provider()

    def _of_run(self) -> Iterator[Metric]:
        yield self._gauge("run_start_timestamp_seconds", "When the run began.", self._started)
        if self.ended is not None:
            yield self._gauge("run_end_timestamp_seconds", "When the run ended, however it did.", self.ended)
            exit_code = self._state.summary().exit_code
            yield self._gauge("run_exit_code", "Its exit code: 0 all in, 3 with rejects.", exit_code)
            if exit_code in _FINISHED and not self._state.detached:
                self.last_success = self.ended
        yield self._gauge(_LAST_SUCCESS, "When a run finished last; 0 is never.", self.last_success)
        yield self._info()
        waiting = self._state.waiting_s
        yield self._counters("run_waiting_seconds", "Seconds by what the run waited for.", "by", waiting)

    def _of_outages(self) -> Iterator[Metric]:
        past, away = self._state.outages, self._state.away_since
        now = {service: float(service in away) for service in SERVICE_NAMES}
        count = {service: sum(one.service == service for one in past) for service in SERVICE_NAMES}
        seconds = {service: sum(one.away_s for one in past if one.service == service) for service in SERVICE_NAMES}
        family = GaugeMetricFamily("millrace_service_away", "1 while away.", labels=["collection", "service"])
        for service, value in now.items():
            family.add_metric([self._state.collection, service], value)
        yield family
        yield self._counters("outages", "Outages that are over, by service.", "service", count)
        yield self._counters("outage_seconds", "Seconds that a service was away.", "service", seconds)

    def _of_documents(self) -> Iterator[Metric]:
        state = self._state
        d, c = state.documents, state.chunks
        outcomes = {name: getattr(d, name) for name in ("added", "changed", "unchanged", "removed", "rejected")}
        yield self._counters("documents", "Documents by what became of them.", "outcome", outcomes)
        yield self._gauge("files", "Files that the run has to read.", state.files)
        yield self._counter("files_read", "Files that were read and cut.", state.files_cut)
        steps = {
            "cut": state.chunks_cut,
            "embedded": state.chunks_embedded,
            "loaded": state.chunks_loaded,
            "rejected": c.rejected,
        }
        yield self._counters("chunks", "Chunks of what was read, by how far they are.", "step", steps)
        yield self._counter("rows_upserted", "Rows upserted into the collection.", c.upserted)
        yield self._counter("rows_deleted", "Rows deleted from the collection.", c.deleted)
        if state.rows is not None:
            yield self._gauge("rows_expected", "Rows that the collection should have.", state.rows.expected)
            yield self._gauge("rows_counted", "Rows of the collection, counted at the end.", state.rows.counted)
        yield self._gauge("left_out", "Files and folders below the sources that no run reads.", state.left_out.total)
        yield self._gauge("rejects_outstanding", "Rejected items that wait for a remedy.", state.rejects)
        yield self._gauge("rejects_new", "Those of them that were not known before the run.", state.rejects_new)

    def _of_provider(self) -> Iterator[Metric]:
        state, usage = self._state, self._state.usage
        yield self._counter("requests", "Requests sent to the provider.", usage.requests_sent)
        throttled = {str(limit): count for limit, count in usage.throttled_by.items()}
        yield self._counters("requests_throttled", "Requests answered 429, by the limit named.", "limit", throttled)
        yield self._counter("requests_retried", "Requests sent again after a failure.", usage.requests_retried)
        yield self._gauge("requests_in_flight", "Requests under way.", state.activity.requests_in_flight)
        yield self._counter("tokens_counted", "Tokens of embedded texts, as counted here.", usage.tokens_counted)
        yield self._counter("tokens_billed", "Tokens as billed by the provider.", usage.tokens_billed)
        yield self._counter("cost_cny", "What was billed, in yuan.", usage.cost_cny)
        batch = state.batch_counts()
        yield self._counter("batch_tokens_billed", "Those among them that came by Batch.", batch.tokens_billed)
        yield self._counter("batch_saved_cny", "How much less these cost than at once, in yuan.", batch.saved_cny)
        yield self._gauge("batch_jobs_open", "Batch jobs that have not come to their end.", batch.open)
        yield self._gauge("batch_texts_open", "Texts in these jobs.", batch.texts_open)
        for unit, ceiling in zip(("requests", "tokens"), state.ceilings, strict=True):
            help_text = f"{unit.capitalize()} a second that may go, with what was learned; 0 is no limit."
            yield self._gauge(f"ceiling_{unit}_per_second", help_text, ceiling)
        yield self._answers(usage)

    def _answers(self, usage: Usage) -> Metric:
        latencies, reached, buckets = usage.latencies, 0, []
        for bound, count in zip([*map(str, LATENCY_BUCKETS_S), "+Inf"], latencies.counts, strict=True):
            reached += count
            buckets.append((bound, reached))
        family = HistogramMetricFamily(
            "millrace_answer_duration_seconds", "From a request to its answer with vectors.", labels=["collection"]
        )
        family.add_metric([self._state.collection], buckets, latencies.total_s)
        return family

    def _info(self) -> Metric:
        labels = {"run": self._state.run, "model": self._state.model, "command": self._state.command}
        family = GaugeMetricFamily(
            "millrace_run_info", "The run, its model and its command.", labels=["collection", *labels]
        )
        family.add_metric([self._state.collection, *labels.values()], 1)
        return family

    def _gauge(self, name: str, help_text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"millrace_{name}", help_text, labels=["collection"])
        family.add_metric([self._state.collection], value)
        return family

    def _counter(self, name: str, help_text: str, value: float) -> Metric:
        family = CounterMetricFamily(f"millrace_{name}", help_text, labels=["collection"])
        family.add_metric([self._state.collection], value)
        return family

    def _counters(self, name: str, help_text: str, label: str, values: Mapping[Any, float]) -> Metric:
        family = CounterMetricFamily(f"millrace_{name}", help_text, labels=["collection", label])
        for of, value in values.items():
            family.add_metric([self._state.collection, of], value)
        return family


@contextlib.asynccontextmanager
async def exported(settings: MetricsSettings, state: RunState, lake: Lake) -> AsyncIterator[None]:
    """Serve the metrics and write them, as the settings say, until the block ends; then write them once more.

    A port that is taken or a folder that cannot be written is logged: no run fails for it.
    """
    metrics = RunMetrics(state, last_success=last_success(lake.runs.newest_first(), now=time.time()))
    path = _textfile(settings, metrics) if settings.textfile_dir else None
    over = asyncio.Event()
    with _served(settings, metrics):
        writing = asyncio.create_task(_write_until(over, path, metrics), name="metrics") if path else None
        try:
            yield
        finally:
            metrics.ended = time.time()
            over.set()
            if writing is not None:
                await writing


def export_end(settings: MetricsSettings, state: RunState, lake: Lake | None) -> None:
    """Write the metrics of a run that is over; `lake`, where there is one, knows the last success."""
    now = time.time()
    metrics = RunMetrics(state, last_success=0.0)
    path = _textfile(settings, metrics)
    metrics.last_success = (
        last_success(lake.runs.newest_first(), now=now)
        if lake is not None
        else earlier_value(path, f"millrace_{_LAST_SUCCESS}", at_most=now)
    )
    metrics.ended = now
    write_textfile(path, metrics)


def last_success(records: Iterable[RunRecord], *, now: float) -> float:
    """When the newest run that finished ended, in seconds since the epoch; 0 if none did. `records`: newest first.

    A run that ended after `now` ran by a clock that was ahead: it would silence an alarm until that time has come, so
    the one before it counts.
    """
    ended = (
        datetime.fromisoformat(record.ended).timestamp()
        for record in records
        if record.exit in _FINISHED and record.ended and not jobs_left_open(record)
    )
    return next((time_s for time_s in ended if time_s <= now), 0.0)


def jobs_left_open(record: RunRecord) -> bool:
    """Whether the run left documents to a later one, because it did not wait for its Batch jobs."""
    batch = record.counts.get("batch")
    return isinstance(batch, dict) and bool(batch.get("open"))


def write_textfile(path: Path, metrics: Collector) -> None:
    """Replace the file by these metrics, at one stroke; a folder that cannot be written is logged."""
    try:
        write_to_textfile(str(path), metrics)
    except OSError as error:
        _log.warning("metrics are not written to %s: %s", path, error)


def earlier_value(path: Path, name: str, *, at_most: float) -> float:
    """The value of the metric in the file; 0 where there is none, or one that is more than `at_most`."""
    try:
        families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return 0.0
    found = (sample.value for family in families for sample in family.samples if sample.name == name)
    value = next(found, 0.0)
    return value if value <= at_most else 0.0


def _textfile(settings: MetricsSettings, metrics: RunMetrics) -> Path:
    return Path(settings.textfile_dir, f"millrace-{metrics.collection}.prom")


@contextlib.contextmanager
def _served(settings: MetricsSettings, metrics: RunMetrics) -> Iterator[None]:
    if not settings.port:
        yield
        return
    try:
        server, thread = start_http_server(settings.port, settings.host, metrics)
    except OSError as error:
        _log.warning("metrics are not served at %s:%d: %s", settings.host, settings.port, error)
        yield
        return
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def _write_until(over: asyncio.Event, path: Path, metrics: RunMetrics) -> None:
    while True:
        await asyncio.to_thread(write_textfile, path, metrics)
        if over.is_set():
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), _WRITE_EVERY_S)
