"""The Prefect flow `ingest`: the pipeline with one task run for each part, and one for each reader.

The work is in plain functions; this module only wraps them. Across the Prefect boundary go readers' numbers, names of
parts and counts. Importing it imports Prefect, which takes seconds, so the command line does so only when a Prefect API
is set.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from millrace.configs.settings import Settings
from millrace.flows.commands.ingest import run
from millrace.flows.commands.ingest.pipeline import Pipeline
from millrace.flows.commands.ingest.signals import Interrupt, interruptible
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.flows.prefect_support.artifacts import RunArtifacts
from millrace.flows.prefect_support.parameters import IngestParameters, source_paths
from millrace.flows.prefect_support.run_logs import log_to_flow_run
from millrace.tasks.errors import ConfigurationError, LeaseHeld, MillraceError, RunStopped

_log = logging.getLogger(__name__)

_ASK_FOR_LEASE_EVERY_S = 10.0
_WAIT_FOR_LEASE_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Command:
    """What `millrace ingest` runs the flow with. Its settings are no parameters: Prefect would keep and show them."""

    settings: Settings
    quiet: bool


_command: ContextVar[_Command | None] = ContextVar("command", default=None)
"""Set when the flow runs in the process of `millrace ingest`."""


def _given() -> _Command | None:
    """The command; a function, because prefect-dask sends the flow to its workers, and a context variable cannot go."""
    return _command.get()


@flow(name="ingest", flow_run_name="ingest {parameters.sources}", persist_result=False, validate_parameters=True)
async def ingest(parameters: IngestParameters) -> Any:
    """Bring whatever changed in the sources since the last run into the collection.

    What was finished stays finished, however the run ends, and the next run goes on from there.

    Returns:
        A final state with the run's report: Failed when the run was stopped by an error or the budget.
    """
    command = _given()
    # Entered here, within the flow, where it stands before Prefect's own handler of SIGTERM.
    # That one, in a worker's process, would end the event loop at once, and with it the requests under way.
    with log_to_flow_run(), interruptible() as interrupt:
        settings = command.settings if command else parameters.settings()
        if command is None:
            interrupt.watch()  # it may wait for its turn first
        report = await _in_turn(
            settings,
            source_paths(parameters),
            quiet=command.quiet if command else True,
            interrupt=interrupt,
            wait_s=0.0 if command else _WAIT_FOR_LEASE_S,
        )
    if report.outcome == "interrupted" and command is None:
        raise asyncio.CancelledError(report.error)  # which Prefect, if it was the one to ask, takes for Cancelled
    if report.error:
        return Failed(message=report.error, data=report)
    return Completed(message=report.lines()[0], data=report)


async def _in_turn(
    settings: Settings, sources: Sequence[Path], *, quiet: bool, interrupt: Interrupt | None, wait_s: float
) -> RunSummary:
    """The run; a deployment waits for another run over the same corpus to end, since nobody is there to try again."""
    waiting_until = asyncio.get_running_loop().time() + wait_s
    while True:
        try:
            with _prepared(settings) as prepare:
                return await run.ingest(
                    settings,
                    sources,
                    quiet=quiet,
                    interrupt=interrupt,
                    prepare=prepare,
                    watcher=RunArtifacts(settings),
                )
        except LeaseHeld as held:
            if asyncio.get_running_loop().time() >= waiting_until:
                raise
            _log.info("%s; waiting for it to end", held)
            await asyncio.sleep(_ASK_FOR_LEASE_EVERY_S)


def ingest_under_prefect(settings: Settings, sources: Sequence[Path], *, quiet: bool) -> RunSummary:
    """Run the flow in this process against the Prefect API that is configured; what happened.

    Raises what the flow raised before it could report.
    """

    async def run() -> object:
        _command.set(_Command(settings, quiet))
        parameters = IngestParameters(
            sources=[str(source) for source in sources], collection=settings.milvus.collection, lake=settings.lake.path
        )
        state: Any = await ingest(parameters, return_state=True)
        return await state.result(raise_on_failure=False)

    outcome = asyncio.run(run())
    if isinstance(outcome, RunSummary):
        return outcome
    raise outcome if isinstance(outcome, MillraceError) else RunStopped(f"the flow run failed: {outcome}")


@contextlib.contextmanager
def _prepared(settings: Settings) -> Iterator[Callable[[Pipeline], None]]:
    """What makes each call of a stage a Prefect task run, on this machine or, of reading, on a Dask cluster."""
    if not settings.documents.dask_scheduler:
        yield _as_tasks
        return
    try:
        from millrace.flows.prefect_support.dask import dask_cluster, read_on
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"documents.dask_scheduler needs the package {error.name}: pip install 'millrace[dask]', here and on all"
            " workers"
        ) from error

    with dask_cluster(settings.documents.dask_scheduler) as cluster:

        def prepare(pipeline: Pipeline) -> None:
            chunk = pipeline.chunk  # what it hands to the cluster is a task there
            _as_tasks(pipeline)
            pipeline.chunk = chunk
            read_on(cluster, pipeline, settings)

        yield prepare


def _as_tasks(pipeline: Pipeline) -> None:
    """Make each reader, and each part on its way into the collection, a Prefect task run.

    `NO_CACHE`, because a stage's effects are its result.
    """
    chunk: Any = task(name="chunk", task_run_name="chunk, reader {reader}", cache_policy=NO_CACHE)
    bring_in: Any = task(name="embed and load", task_run_name="embed and load part {name}", cache_policy=NO_CACHE)
    pipeline.chunk, pipeline.bring_in = chunk(pipeline.chunk), bring_in(pipeline.bring_in)
