"""What a scraper reads of a run: Prometheus text, over HTTP while the run goes on, and in a file that outlives it.

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

from prometheus_client import start_http_server, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from millrace.configs.settings import MetricsSettings
from millrace.flows.monitoring.progress import Progress
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.flows.monitoring.timeline import BOTTLENECKS, Recorder
from millrace.tasks.embedding import LATENCY_BUCKETS_S, Usage
from millrace.tasks.lake import RunRecord

_log = logging.getLogger(__name__)

_WRITTEN_EVERY_S = 15.0
_TAKEN = frozenset({0, 3})  # exit codes of runs that finished


class RunMetrics(Collector):
    """The metrics of one run, made when they are asked for."""

    def __init__(
        self,
        report: RunSummary,
        progress: Progress,
        recorder: Recorder,
        *,
        command: str,
        last_success: float,
    ) -> None:
        """`last_success`: when a run of the collection finished last, in seconds since the epoch; 0 is never."""
        self._report = report
        self._progress = progress
        self._recorder = recorder
        self._command = command
        self._last_success = last_success
        self._started = time.time()
        self.ended: float | None = None

    @property
    def collection(self) -> str:
        """Whose run it is."""
        return self._report.collection

    def collect(self) -> Iterator[Metric]:
        """Every metric, as it is now."""
        yield from self._of_run()
        yield from self._of_documents()
        yield from self._of_provider()

    def _of_run(self) -> Iterator[Metric]:
        report, now = self._report, self._recorder.now
        yield self._gauge("run_start_timestamp_seconds", "When the run began.", self._started)
        if self.ended is not None:
            yield self._gauge("run_end_timestamp_seconds", "When the run ended, however it did.", self.ended)
            yield self._gauge("run_exit_code", "Its exit code: 0 all in, 3 with rejects.", report.exit_code)
            if report.exit_code in _TAKEN:
                self._last_success = self.ended
        yield self._gauge(
            "run_last_success_timestamp_seconds", "When a run finished last; 0 is never.", self._last_success
        )
        yield self._info()
        waiting = {name: now[f"held_{name}_s"] for name in BOTTLENECKS}
        yield self._counters("run_waiting_seconds", "Seconds by what the run waited for.", "by", waiting)

    def _of_documents(self) -> Iterator[Metric]:
        report, progress = self._report, self._progress
        d, c = report.documents, report.chunks
        outcomes = {name: getattr(d, name) for name in ("added", "changed", "unchanged", "removed", "rejected")}
        yield self._counters("documents", "Documents by what became of them.", "outcome", outcomes)
        yield self._gauge("files", "Files that the run has to read.", progress.files)
        yield self._counter("files_read", "Files that were read and cut.", progress.files_cut)
        steps = {
            "cut": progress.chunks_cut,
            "embedded": progress.chunks_embedded,
            "loaded": progress.chunks_loaded,
            "rejected": c.rejected,
        }
        yield self._counters("chunks", "Chunks of what was read, by how far they are.", "step", steps)
        yield self._counter("rows_upserted", "Rows upserted into the collection.", c.upserted)
        yield self._counter("rows_deleted", "Rows deleted from the collection.", c.deleted)
        yield self._gauge("rejects_outstanding", "Rejected items that wait for a remedy.", report.rejects)

    def _of_provider(self) -> Iterator[Metric]:
        now, tally = self._recorder.now, self._progress.tally or Usage()
        yield self._counter("requests", "Requests sent to the provider.", tally.requests_sent)
        throttled = {str(limit): count for limit, count in tally.throttled_by.items()}
        yield self._counters("requests_throttled", "Requests answered 429, by the limit named.", "limit", throttled)
        yield self._counter("requests_retried", "Requests sent again after a failure.", tally.requests_retried)
        yield self._gauge("requests_in_flight", "Requests under way.", now["requests_in_flight"])
        yield self._counter("tokens_counted", "Tokens of bought texts, as counted here.", tally.tokens_counted)
        yield self._counter("tokens_billed", "Tokens as billed by the provider.", tally.tokens_billed)
        yield self._counter("cost_cny", "What was billed, in yuan.", tally.cost_cny)
        for what in ("requests", "tokens"):
            help_text = f"{what.capitalize()} a second that may go, with what was learned; 0 is no limit."
            yield self._gauge(f"ceiling_{what}_per_second", help_text, now[f"{what}_ceiling"])
        yield self._answers(tally)

    def _answers(self, tally: Usage) -> Metric:
        latencies, reached, buckets = tally.latencies, 0, []
        for bound, count in zip([*map(str, LATENCY_BUCKETS_S), "+Inf"], latencies.counts, strict=True):
            reached += count
            buckets.append((bound, reached))
        family = HistogramMetricFamily(
            "millrace_answer_duration_seconds", "From a request to its answer with vectors.", labels=["collection"]
        )
        family.add_metric([self._report.collection], buckets, latencies.total_s)
        return family

    def _info(self) -> Metric:
        labels = {"run": self._report.run, "model": self._report.model, "command": self._command}
        family = GaugeMetricFamily(
            "millrace_run_info", "The run, its model and its command.", labels=["collection", *labels]
        )
        family.add_metric([self._report.collection, *labels.values()], 1)
        return family

    def _gauge(self, name: str, help_text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"millrace_{name}", help_text, labels=["collection"])
        family.add_metric([self._report.collection], value)
        return family

    def _counter(self, name: str, help_text: str, value: float) -> Metric:
        family = CounterMetricFamily(f"millrace_{name}", help_text, labels=["collection"])
        family.add_metric([self._report.collection], value)
        return family

    def _counters(self, name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
        family = CounterMetricFamily(f"millrace_{name}", help_text, labels=["collection", label])
        for of, value in values.items():
            family.add_metric([self._report.collection, of], value)
        return family


@contextlib.asynccontextmanager
async def exported(settings: MetricsSettings, metrics: RunMetrics) -> AsyncIterator[None]:
    """Serve the metrics and write them, as the settings say, until the block ends; then write them once more.

    What cannot be served or written is logged: no run fails for it.
    """
    path = Path(settings.textfile_dir, f"millrace-{metrics.collection}.prom") if settings.textfile_dir else None
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


def last_success(records: Iterable[RunRecord]) -> float:
    """When the newest run that finished ended, in seconds since the epoch; 0 if none did. `records`: newest first."""
    ended = (record.ended for record in records if record.exit in _TAKEN and record.ended)
    newest = next(ended, None)
    return datetime.fromisoformat(newest).timestamp() if newest else 0.0


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
        try:
            await asyncio.to_thread(write_to_textfile, str(path), metrics)
        except OSError as error:
            _log.warning("metrics are not written to %s: %s", path, error)
        if over.is_set():
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), _WRITTEN_EVERY_S)
