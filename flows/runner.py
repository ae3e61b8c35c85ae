"""One run from beginning to end: the lake opened, the run recorded, interrupts heeded, the outcome told."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from configs.settings import Settings
from flows import opening
from flows.pipeline import Pipeline
from flows.progress import Progress, shown
from flows.report import RunReport
from tasks.errors import BudgetReached, ConfigurationError, RunStopped
from tasks.lake import Lake, RunRecord, new_run_id


def ingest_here(settings: Settings, sources: Sequence[Path], *, quiet: bool) -> RunReport:
    """Run `ingest` in this process, without Prefect; what happened, also when it was stopped.

    Raises `ConfigurationError` before anything is started.
    """
    return asyncio.run(ingest(settings, sources, quiet=quiet, heed_signals=True))


async def ingest(
    settings: Settings,
    sources: Sequence[Path],
    *,
    quiet: bool,
    heed_signals: bool = False,
    prepare: Callable[[Pipeline], None] = lambda _: None,
) -> RunReport:
    """Run `ingest`; `prepare` may wrap the pipeline's stages before it starts."""
    model = opening.open_model(settings)
    opening.check_environment(settings, model)
    for source in sources:
        if not source.exists():
            raise ConfigurationError(f"source {source} does not exist; name a file or a folder")
    with Lake.open(Path(settings.lake.path), settings.milvus.collection) as lake:
        report = RunReport(run=new_run_id(), collection=settings.milvus.collection, model=model.spec.name)
        record = _Record(lake, settings, report)
        progress = Progress()
        pipeline = Pipeline(settings, sources, lake, report, progress)
        prepare(pipeline)
        with record.kept(), shown(progress, quiet=quiet), _interruptible(enabled=heed_signals):
            try:
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
                report.error = "interrupted; what was paid for is kept, and the same command goes on from here"
                if not heed_signals:  # it is somebody else's cancellation
                    raise
        return report


class _Record:
    """The run's record in the lake: begun when the run begins, finished however it ends."""

    def __init__(self, lake: Lake, settings: Settings, report: RunReport) -> None:
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
            self._save(started, ended=datetime.now(UTC))

    def _save(self, started: datetime, *, ended: datetime | None) -> None:
        report = self._report
        self._lake.runs.save(
            RunRecord(
                id=report.run,
                command="ingest",
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


@contextlib.contextmanager
def _interruptible(*, enabled: bool) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM cancel the current task, and the second end the process at once."""
    task = asyncio.current_task()
    if not enabled or task is None:
        yield
        return
    loop = asyncio.get_running_loop()
    heeded = False

    def stop() -> None:
        nonlocal heeded
        if heeded:
            os._exit(130)  # as safe as kill -9, and that is safe
        heeded = True
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
