"""The Prefect flow `ingest`: the pipeline with one task run a stage and shard.

The work is in plain functions; this module only wraps them. Across the Prefect boundary go job numbers, part names and
counts. Importing it imports Prefect, which takes seconds, so the command line does so only when a Prefect API is set.
"""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

# Read by Prefect when it is imported: a run's log shows the rooms' own messages, and nothing is reported to anyone.
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "flows,tasks")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from configs.settings import Settings, load_settings
from flows import runner
from flows.pipeline import Pipeline
from flows.report import RunReport
from flows.stopping import Interrupt, interruptible
from tasks.errors import MillraceError, RunStopped

_of_the_command: ContextVar[bool] = ContextVar("of_the_command", default=False)
"""Whether the flow runs in the process of `millrace ingest`, whose signals are ours; a worker's are Prefect's."""


@flow(name="ingest", flow_run_name="ingest into {settings.milvus.collection}", persist_result=False)
async def ingest(sources: list[str], settings: Settings | None = None, quiet: bool = True) -> Any:
    """Bring whatever changed in `sources` since the last run into the collection.

    Args:
        sources: Files and folders, as the machine that runs the flow sees them.
        settings: Every setting; without it they come from the defaults and the environment of that machine.
        quiet: Show no progress on standard error.

    Returns:
        A final state with the run's report: Failed when the run was stopped by an error or the budget. What was
        finished stays finished, and the next run goes on from there.
    """
    # Entered here, within the flow, where it stands before Prefect's own handler of SIGTERM.
    signals: contextlib.AbstractContextManager[Interrupt | None]
    signals = interruptible() if _of_the_command.get() else contextlib.nullcontext()
    with signals as interrupt:
        report = await runner.ingest(
            settings or load_settings(), _paths(sources), quiet=quiet, interrupt=interrupt, prepare=_as_tasks
        )
    if report.error:
        return Failed(message=report.error, data=report)
    return Completed(message=report.lines()[0], data=report)


def ingest_under_prefect(settings: Settings, sources: Sequence[Path], *, quiet: bool) -> RunReport:
    """Run the flow in this process against the Prefect API that is configured; what happened.

    Raises what the flow raised before it could report.
    """

    async def run() -> object:
        _of_the_command.set(True)
        state: Any = await ingest([str(source) for source in sources], settings, quiet, return_state=True)
        return await state.result(raise_on_failure=False)

    outcome = asyncio.run(run())
    if isinstance(outcome, RunReport):
        return outcome
    raise outcome if isinstance(outcome, MillraceError) else RunStopped(f"the flow run failed: {outcome}")


def _paths(sources: Sequence[str]) -> list[Path]:
    return [Path(source).absolute() for source in sources]


def _as_tasks(pipeline: Pipeline) -> None:
    """Make each call of a stage a Prefect task run; `NO_CACHE`, because a stage's effects are its result."""
    chunk: Any = task(name="chunk", task_run_name="chunk job {job}", cache_policy=NO_CACHE)
    embed: Any = task(name="embed", task_run_name="embed part {name}", cache_policy=NO_CACHE)
    load: Any = task(name="load", task_run_name="load part {name}", cache_policy=NO_CACHE)
    pipeline.chunk, pipeline.embed, pipeline.load = chunk(pipeline.chunk), embed(pipeline.embed), load(pipeline.load)
