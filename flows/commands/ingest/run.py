"""One run from beginning to end: the lake opened, the run observed, signals heeded, the outcome summarized."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from functools import partial
from pathlib import Path

from millrace.configs.settings import Settings
from millrace.flows.commands.ingest.endings import leave_traces, log_end, refusals_traced
from millrace.flows.commands.ingest.pipeline import Execution, Pipeline
from millrace.flows.commands.ingest.signals import SignalHandler, interruptible
from millrace.flows.monitoring.logs import name_run
from millrace.flows.monitoring.progress import RunDisplay, shown
from millrace.flows.monitoring.run_record import ingestion_recorded
from millrace.flows.monitoring.run_state import RunObserver, RunState
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.flows.monitoring.timeline import recorded_over_time
from millrace.flows.wiring import components, milvus
from millrace.flows.wiring.collection_settings import remember, require_same_embedding
from millrace.flows.wiring.late_bills import take_in_late_bills
from millrace.tasks.errors import BudgetReached, ConfigurationError, LakeError, LeaseHeld, RunStopped
from millrace.tasks.lake import Lake, ObjectPath, new_run_id
from millrace.tasks.stages import memory

_log = logging.getLogger(__name__)

_AS_PLAIN_CALLS = Execution()


def ingest_here(
    settings: Settings,
    sources: Sequence[Path],
    *,
    quiet: bool,
    again: Collection[str] = (),
    reread: str = "",
    command: str = "ingest",
    execution: Execution = _AS_PLAIN_CALLS,
) -> RunSummary:
    """Run `ingest` in this process, without Prefect; the summary, also when it was stopped.

    Raises `ConfigurationError` before anything is started.
    """
    with interruptible() as handler:
        run = ingest(
            settings,
            sources,
            quiet=quiet,
            again=again,
            reread=reread,
            command=command,
            handler=handler,
            execution=execution,
        )
        try:
            return asyncio.run(run)
        except LeaseHeld as held:
            leave_traces(held, command, lake_of=settings, metrics_of=settings)
            raise


async def ingest(
    settings: Settings,
    sources: Sequence[Path],
    *,
    quiet: bool,
    again: Collection[str] = (),
    reread: str = "",
    command: str = "ingest",
    handler: SignalHandler | None = None,
    execution: Execution = _AS_PLAIN_CALLS,
    observers: Sequence[RunObserver] = (),
) -> RunSummary:
    """Run `ingest`; `handler` may cut it short, and `observers` are entered first and left last.

    Documents in `again` are read whatever their files look like; the bytes of files that match the glob `reread` are
    compared, whatever their size and times say. The run is recorded as one of `command`.

    Raises ConfigurationError when the documents of the collection would be embedded anew, and that was not asked for;
    LeaseHeld when another living process writes to this lake, or to this collection from another lake.
    """
    memory.configure_allocator()
    with contextlib.ExitStack() as opened:
        with refusals_traced(settings, command):
            settings, model = _require_startable(settings, sources)
            lake = opened.enter_context(
                Lake.open(
                    components.lake_path(settings),
                    settings.milvus.collection,
                    readable_by=settings.lake.readable_by,
                    checkpoint=execution.checkpoint,
                )
            )
            opened.enter_context(milvus.lease_collection(settings))
            take_in_late_bills(lake)
            remember(lake, settings, has_shape=False)
        state = RunState(
            run=new_run_id(),
            collection=settings.milvus.collection,
            model=model.spec.name,
            command=command,
            fail_on=settings.rejects.fail_on,
            notes=list(model.notes),
        )
        if isinstance(lake.path, ObjectPath):
            lake.path.store.availability.tell = state.heard
        pipeline = Pipeline(settings, sources, lake, state, again=again, reread=reread, execution=execution)
        cancelled, refusal = False, None
        name_run(state.run, state.collection)
        _log.info("run %s of %s begins", state.run, command, extra={"fields": {"event": "begin", "command": command}})
        async with contextlib.AsyncExitStack() as stack:
            for observer in (*observers, *_observers(settings, quiet=quiet)):
                await stack.enter_async_context(observer(state, lake))
            try:
                if handler is not None:
                    handler.attach()
                await pipeline.run()
                remember(lake, settings, has_shape=not state.detached)
                state.end("detached" if state.detached else "finished", _row_difference(state))
            except BudgetReached as reached:
                state.end("budget", str(reached))
            except RunStopped as stopped:
                state.end("stopped", str(stopped))
            except ConfigurationError as error:
                state.end("refused", str(error))
                refusal = error
            except asyncio.CancelledError:
                message = (
                    f"interrupted{_remaining(state)}; what was paid for is kept, and the same command goes on from here"
                )
                state.end("interrupted", message)
                cancelled = handler is None
        _sum_up_bills(lake)
        summary = state.summary()
        log_end(summary)
        if refusal is not None:
            raise refusal
        if cancelled:  # by a caller that waits for it
            raise asyncio.CancelledError(summary.error)
        return summary


def _sum_up_bills(lake: Lake) -> None:
    try:
        lake.usage.sum_up()
    except LakeError as error:  # they are only what makes `status` quick
        _log.warning("the sums of all bills are not kept: %s", error)


def _observers(settings: Settings, *, quiet: bool) -> list[RunObserver]:
    """Those of every run, the innermost last: the record is complete before the timeline and the metrics end."""

    @contextlib.asynccontextmanager
    async def on_console(state: RunState, lake: Lake) -> AsyncIterator[None]:
        del lake
        with shown(RunDisplay(state), quiet=quiet):
            yield

    observers: list[RunObserver] = [recorded_over_time]
    if settings.metrics.port or settings.metrics.textfile_dir:
        from millrace.flows.monitoring.prometheus import exported

        observers.append(partial(exported, settings.metrics))
    return [*observers, partial(ingestion_recorded, settings), on_console]


def _require_startable(settings: Settings, sources: Sequence[Path]) -> tuple[Settings, components.Model]:
    """The settings with what the collection remembers, and the model. Raises ConfigurationError."""
    settings = require_same_embedding(settings)
    model = components.load_model(settings)
    components.require_api_key(settings, model)
    components.check_prefect(settings)
    for source in sources:
        if not source.exists():
            raise ConfigurationError(f"source {source} does not exist; name a file or a folder")
    return settings, model


def _row_difference(state: RunState) -> str:
    """What is wrong with the number of rows in the collection; "" when nothing is."""
    if state.rows is None or state.rows.counted == state.rows.expected:
        return ""
    difference = state.rows.counted - state.rows.expected
    if difference < 0:
        return (
            f"{-difference:,} of {state.rows.expected:,} rows are missing in the collection {state.collection}: "
            "`millrace verify` lists them, `millrace verify --repair` brings them back from the lake"
        )
    return (
        f"the collection {state.collection} has {difference:,} rows that no document of the lake owns, or "
        "holds some twice: `millrace verify` lists them, `millrace verify --repair` deletes them"
    )


def _remaining(state: RunState) -> str:
    """What the run did not finish, for the message of an interrupt."""
    remaining = state.remaining
    if remaining is None:
        return " before it was known what there is to do"
    if not remaining.files:
        return " when everything was in"
    return f" with {remaining.files:,} files left ({remaining.chunks:,} chunks of them were cut)"
