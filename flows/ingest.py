"""The Prefect flow `ingest`: the pipeline with one task run for each part, and one for each reader.

The work is in plain functions; this module only wraps them. Across the Prefect boundary go numbers, names of parts and
counts. Importing it imports Prefect, which takes seconds, so the command line does so only when a Prefect API is set.
It can be called as a subflow: `summary = await ingest(IngestParameters(sources=["/srv/docs"]))`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Cancelled, Failed

from millrace.configs.settings import Settings
from millrace.flows.commands.ingest import run
from millrace.flows.commands.ingest.endings import leave_traces, traced_settings
from millrace.flows.commands.ingest.executor import Step, run_directly
from millrace.flows.commands.ingest.pipeline import Execution
from millrace.flows.commands.ingest.signals import SignalHandler, interruptible
from millrace.flows.monitoring.run_state import RunState
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.flows.prefect_support.artifacts import completed, run_artifacts
from millrace.flows.prefect_support.heartbeat import signs_of_life
from millrace.flows.prefect_support.parameters import IngestParameters, source_paths
from millrace.flows.prefect_support.run_logs import log_to_flow_run
from millrace.flows.prefect_support.turns import INTERRUPTED, Turn, overdue_skipped, stopped_by_signal
from millrace.tasks.errors import BudgetReached, ConfigurationError, LeaseHeld, MillraceError, RunStopped
from millrace.tasks.lake import Lake


@dataclass(frozen=True, slots=True)
class _Command:
    """The arguments of `millrace ingest`. Settings are no parameters of the flow: Prefect would keep and show them."""

    settings: Settings
    quiet: bool
    reread: str


_command: ContextVar[_Command | None] = ContextVar("command", default=None)
"""Set when the flow runs in the process of `millrace ingest`."""


def _command_here() -> _Command | None:
    """The command; a function, because prefect-dask sends the flow to its workers, and a context variable cannot go."""
    return _command.get()


@flow(name="ingest", flow_run_name="ingest {parameters.sources}", persist_result=False, validate_parameters=True)
async def ingest(parameters: IngestParameters) -> Any:
    """Bring whatever changed in the sources since the last run into the collection.

    What was finished stays finished, however the run ends, and the next run goes on from there.

    Returns:
        The run's `RunSummary`, to a flow that calls this one as a subflow.

    Raises:
        ConfigurationError: The parameters or settings cannot be right; nothing was started.
        BudgetReached, RunStopped: The run ended early, or rows are missing at its end; `summary` of the error tells
            what was done. The flow run is Failed.
    """
    command = _command_here()
    turn = Turn(patience_s=0.0) if command else Turn()
    # The handler is entered here, within the flow, where it stands before Prefect's own handler of SIGTERM.
    # That one, in a worker's process, would end the event loop at once, and with it the requests in flight.
    with log_to_flow_run(), signs_of_life(), interruptible() as handler:
        try:
            settings = command.settings if command else traced_settings(*parameters.given(), "ingest")
            if command is None:
                handler.attach()  # it may wait for its turn first
            async with overdue_skipped():
                summary = await turn.take(partial(_run, settings, parameters, command, handler, turn))
        except asyncio.CancelledError:
            if not stopped_by_signal(handler):
                raise
            return Cancelled(message=f"{INTERRUPTED}{turn.waited}")
        except LeaseHeld as held:  # and it does not wait any longer
            leave_traces(held, "ingest", lake_of=settings, metrics_of=settings)
            return Failed(message=f"{held}{turn.waited}", data=held)
        except MillraceError as error:  # returned, since Prefect shows what is raised with a traceback
            return Failed(message=f"{error}{turn.waited}", data=error)
    if summary.outcome == "interrupted" and command is None:
        if stopped_by_signal(handler):
            return Cancelled(message=summary.error + turn.waited, data=summary.as_error())
        raise asyncio.CancelledError(summary.error)  # to the flow that has this one as a subflow
    if summary.error:
        return Failed(message=summary.error + turn.waited, data=summary.as_error())
    return completed(summary, turn.waited)


async def _run(
    settings: Settings, parameters: IngestParameters, command: _Command | None, handler: SignalHandler, turn: Turn
) -> RunSummary:
    """The run, with its steps as tasks. Raises LeaseHeld when another one is at work."""

    @contextlib.asynccontextmanager
    async def begun(state: RunState, lake: Lake) -> AsyncIterator[None]:
        del state, lake
        await turn.begin()
        yield

    with _execution(settings) as execution:
        return await run.ingest(
            settings,
            source_paths(parameters),
            quiet=command.quiet if command else True,
            reread=command.reread if command else parameters.reread,
            handler=handler,
            execution=execution,
            observers=[begun, partial(run_artifacts, settings)],
        )


def ingest_under_prefect(settings: Settings, sources: Sequence[Path], *, quiet: bool, reread: str = "") -> RunSummary:
    """Run the flow in this process against the Prefect API that is configured; the summary.

    Raises what the flow raised before there was a summary.
    """

    async def run_flow() -> object:
        _command.set(_Command(settings, quiet, reread))
        parameters = IngestParameters(
            sources=[str(source) for source in sources], collection=settings.milvus.collection, lake=settings.lake.path
        )
        state: Any = await ingest(parameters, return_state=True)
        return await state.result(raise_on_failure=False)

    outcome = asyncio.run(run_flow())
    summary = outcome.summary if isinstance(outcome, RunStopped | BudgetReached) else outcome
    if isinstance(summary, RunSummary):
        return summary
    raise outcome if isinstance(outcome, MillraceError) else RunStopped(f"the flow run failed: {outcome}")


@contextlib.contextmanager
def _execution(settings: Settings) -> Iterator[Execution]:
    """Each step a Prefect task run, on this machine or, for reading, on a Dask cluster."""
    if not settings.documents.dask_scheduler:
        yield Execution(run_step=_as_task)
        return
    try:
        from millrace.flows.prefect_support.dask import dask_cluster, open_dask_readers
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"documents.dask_scheduler needs the package {error.name}: pip install 'millrace[dask]', here and on all"
            " workers"
        ) from error
    with dask_cluster(settings.documents.dask_scheduler) as cluster:
        yield Execution(run_step=_load_as_task, open_readers=partial(open_dask_readers, cluster))


# `NO_CACHE`, because a step's effects are its result.
@task(name="chunk", task_run_name="chunk, reader {name}", cache_policy=NO_CACHE)
async def _chunk(name: str, work: Callable[[], Awaitable[int]]) -> int:
    return await work()


@task(name="embed and load", task_run_name="embed and load part {name}", cache_policy=NO_CACHE)
async def _embed_and_load(name: str, work: Callable[[], Awaitable[int]]) -> int:
    return await work()


_TASKS: dict[Step, Any] = {"chunk": _chunk, "embed and load": _embed_and_load}


async def _as_task(step: Step, name: str, work: Callable[[], Awaitable[int]]) -> int:
    """Run a step as a Prefect task run; implements `StepRunner`."""
    rows: int = await _TASKS[step](name, work)
    return rows


async def _load_as_task(step: Step, name: str, work: Callable[[], Awaitable[int]]) -> int:
    """As `_as_task`, without a task for a reader whose jobs are tasks on the cluster; implements `StepRunner`."""
    return await (run_directly if step == "chunk" else _as_task)(step, name, work)
