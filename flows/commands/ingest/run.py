"""One run from beginning to end: the lake opened, the run recorded, interrupts heeded, the outcome told."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from millrace.configs.settings import Settings
from millrace.flows.commands.ingest.pipeline import Pipeline
from millrace.flows.commands.ingest.signals import Interrupt, interruptible
from millrace.flows.monitoring import timeline
from millrace.flows.monitoring.logs import name_run
from millrace.flows.monitoring.observer import RunObserver
from millrace.flows.monitoring.progress import Progress, shown
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.flows.wiring import components, milvus
from millrace.tasks.errors import BudgetReached, ConfigurationError, LakeError, RunStopped
from millrace.tasks.lake import Checkpoint, Lake, RunRecord, new_run_id, no_checkpoint
from millrace.tasks.stages import memory

_log = logging.getLogger(__name__)

_LOOKED_BACK = 100  # runs, for the last that finished


def ingest_here(
    settings: Settings,
    sources: Sequence[Path],
    *,
    quiet: bool,
    again: Collection[str] = (),
    command: str = "ingest",
    checkpoint: Checkpoint = no_checkpoint,
) -> RunSummary:
    """Run `ingest` in this process, without Prefect; what happened, also when it was stopped.

    `checkpoint` is told each step that became durable; crash tests end the process in it. Raises `ConfigurationError`
    before anything is started.
    """
    with interruptible() as interrupt:
        run = ingest(
            settings,
            sources,
            quiet=quiet,
            again=again,
            command=command,
            interrupt=interrupt,
            checkpoint=checkpoint,
        )
        return asyncio.run(run)


async def ingest(
    settings: Settings,
    sources: Sequence[Path],
    *,
    quiet: bool,
    again: Collection[str] = (),
    command: str = "ingest",
    interrupt: Interrupt | None = None,
    prepare: Callable[[Pipeline], None] = lambda _: None,
    checkpoint: Checkpoint = no_checkpoint,
    watcher: RunObserver | None = None,
) -> RunSummary:
    """Run `ingest`; `prepare` may wrap the pipeline's stages before it starts, `interrupt` may cut it short.

    Documents in `again` are read whatever their files look like. The run is recorded as one of `command`.

    Raises LeaseHeld when another living process writes to this lake, or to this collection from another lake.
    """
    memory.prepare()
    model = components.load_model(settings)
    components.require_api_key(settings, model)
    components.check_prefect(settings)
    for source in sources:
        if not source.exists():
            raise ConfigurationError(f"source {source} does not exist; name a file or a folder")
    with (
        Lake.open(components.lake_path(settings), settings.milvus.collection, checkpoint=checkpoint) as lake,
        milvus.lease_collection(settings),
    ):
        report = RunSummary(
            run=new_run_id(),
            collection=settings.milvus.collection,
            model=model.spec.name,
            notes=list(model.notes),
        )
        record = _Record(lake, settings, report, command)
        progress = Progress()
        pipeline = Pipeline(
            settings, sources, lake, report, progress, again=again, checkpoint=checkpoint, watcher=watcher
        )
        prepare(pipeline)
        cancelled = False
        name_run(report.run, report.collection)
        _log.info("run %s of %s begins", report.run, command, extra={"fields": {"event": "begin", "command": command}})
        async with _told(record, lake, settings, report, progress, command=command, quiet=quiet):
            try:
                if interrupt is not None:
                    interrupt.watch()
                await pipeline.run()
                report.outcome = "finished"
            except BudgetReached as reached:
                report.outcome, report.error = "budget", str(reached)
            except (RunStopped, ConfigurationError) as stopped:
                report.outcome, report.error = "stopped", str(stopped)
                if isinstance(stopped, ConfigurationError):
                    raise
            except asyncio.CancelledError:
                report.outcome = "interrupted"
                report.error = (
                    f"interrupted{_left(report)}; what was paid for is kept, and the same command goes on from here"
                )
                cancelled = interrupt is None
        _log_end(report)
        if watcher is not None:
            await watcher.ended(report, lake.rejects.outstanding())
        if cancelled:  # by somebody else, who waits for it
            raise asyncio.CancelledError(report.error)
        return report


def _log_end(report: RunSummary) -> None:
    told = "; ".join(" ".join(line.split()) for line in report.lines())
    level = logging.ERROR if report.outcome == "stopped" else logging.INFO
    fields = {"event": "end", "exit_code": report.exit_code, **report.as_json()}
    _log.log(level, "%s: %s", report.outcome, report.error or told, extra={"fields": fields})


@contextlib.asynccontextmanager
async def _told(
    record: "_Record",
    lake: Lake,
    settings: Settings,
    report: RunSummary,
    progress: Progress,
    *,
    command: str,
    quiet: bool,
) -> AsyncIterator[None]:
    """Let everyone know how the run goes while the block goes on: the terminal, the lake, and who scrapes metrics."""
    async with contextlib.AsyncExitStack() as stack:
        recorder = await stack.enter_async_context(timeline.kept(lake, report, progress, command=command))
        if settings.metrics.port or settings.metrics.textfile_dir:
            from millrace.flows.monitoring.prometheus import RunMetrics, exported, last_success

            metrics = RunMetrics(
                report, progress, recorder, command=command, last_success=last_success(lake.runs.newest(_LOOKED_BACK))
            )
            await stack.enter_async_context(exported(settings.metrics, metrics))
        with record.kept(), shown(progress, quiet=quiet):
            yield


class _Record:
    """The run's record in the lake: begun when the run begins, finished however it ends."""

    def __init__(self, lake: Lake, settings: Settings, report: RunSummary, command: str) -> None:
        self._command = command
        self._lake = lake
        self._settings = settings
        self._report = report

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Save the record now, and again with the report when the block ends."""
        started, began = datetime.now(UTC), time.monotonic()
        self._save(started, ended=None)
        try:
            yield
        finally:
            self._report.seconds = round(time.monotonic() - began, 3)
            try:
                self._save(started, ended=datetime.now(UTC))
            except LakeError as error:  # a full disk, most likely, and then it has stopped the run itself
                if not self._report.error:
                    self._report.outcome, self._report.error = "stopped", str(error)

    def _save(self, started: datetime, *, ended: datetime | None) -> None:
        report = self._report
        self._lake.runs.save(
            RunRecord(
                id=report.run,
                command=self._command,
                started=started.isoformat(timespec="seconds"),
                ended=ended.isoformat(timespec="seconds") if ended else None,
                exit=report.exit_code if ended else None,
                counts={
                    "documents": asdict(report.documents),
                    "chunks": asdict(report.chunks),
                    "requests": asdict(report.requests),
                    "rejects": report.rejects,
                },
                tokens=asdict(report.tokens),
                cost_cny=report.cost_cny,
                settings=self._settings.model_dump(mode="json"),
            )
        )


def _left(report: RunSummary) -> str:
    """What the run did not come to, for the message of an interrupt."""
    if report.left is None:
        return " before it was known what there is to do"
    if not report.left.files:
        return " when everything was in"
    return f" with {report.left.files:,} files left ({report.left.chunks:,} chunks of them were cut)"
