"""Runs that would meet: one waits for its turn, and what is overdue when it comes is skipped.

Two runs over the same lake or collection go one after the other, which the leases of both ensure; here is what a run
does that finds one taken. And while a run of a deployment goes, further ones of its schedule become due. They would do
the same over again one by one, so all but one are skipped.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
)
from prefect.client.schemas.objects import FlowRun, StateDetails
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.states import Cancelled, Running

from millrace.flows.commands.ingest.signals import SignalHandler
from millrace.tasks.errors import LeaseHeld

T = TypeVar("T")

_log = logging.getLogger(__name__)

INTERRUPTED = "interrupted; what was finished is kept, and the next run goes on from there"
"""Of a run that was stopped before or after its work, which tells more itself."""

_ASK_FOR_LEASE_EVERY_S = 10.0
_WAIT_FOR_LEASE_S = 24 * 3600.0
_LOOK_FOR_OVERDUE_EVERY_S = 60.0
_NOT_BEGUN = ["Scheduled", "Late", "AwaitingConcurrencySlot"]


class Turn:
    """A flow run's turn at a lake and a collection: whether it waits for it, and for whom it waited."""

    def __init__(self, *, patience_s: float = _WAIT_FOR_LEASE_S) -> None:
        self._patience_s = patience_s
        self._held: LeaseHeld | None = None
        self._waited_s = 0.0

    @property
    def waited(self) -> str:
        """What to tell of the waiting in the message of the run's last state; "" if there was none."""
        if self._held is None:
            return ""
        return f"; waited {_spoken(self._waited_s)} for its turn: {self._held}"

    async def take(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, which is called until it finds both leases free, and is to call `begin` then.

        Raises LeaseHeld when they were not for a day.
        """
        clock = asyncio.get_running_loop().time
        since = clock()
        while True:
            try:
                return await work()
            except LeaseHeld as held:
                self._waited_s = clock() - since
                if self._waited_s >= self._patience_s:
                    raise
                if str(held) != str(self._held):
                    _log.info("waits for its turn: %s", held)
                    await _show("Waiting", f"waits for its turn: {held}")
                self._held = held
            await asyncio.sleep(_ASK_FOR_LEASE_EVERY_S)
            self._waited_s = clock() - since

    async def begin(self) -> None:
        """Show the run as running again, if it had to wait."""
        if self._held is not None:
            _log.info("its turn has come after %s", _spoken(self._waited_s))
            await _show("Running", f"began after {_spoken(self._waited_s)} of waiting: {self._held}")


@contextlib.asynccontextmanager
async def overdue_skipped() -> AsyncIterator[None]:
    """Skip, as long as the block lasts, the scheduled runs of this deployment that this run makes unnecessary.

    Those that were due when it began, since it does their work; and of those that become due meanwhile all but the
    first, which waits for this one to end. A run that was asked for by hand, or that has other parameters, is not
    touched. Outside of a deployment nothing happens.
    """
    context = FlowRunContext.get()
    flow_run = context.flow_run if context is not None else None
    if flow_run is None or flow_run.deployment_id is None:
        yield
        return
    began = datetime.now(UTC)

    async def keep_skipping() -> None:
        while True:
            try:
                await _skip_overdue(flow_run, began)
            except (httpx.HTTPError, PrefectException, OSError) as error:
                _log.warning("overdue runs could not be looked for (%s: %s)", type(error).__name__, error)
            await asyncio.sleep(_LOOK_FOR_OVERDUE_EVERY_S)

    skipping = asyncio.create_task(keep_skipping(), name="overdue-runs")
    try:
        yield
    finally:
        skipping.cancel()
        await asyncio.wait([skipping])


def stopped_by_signal(handler: SignalHandler) -> bool:
    """Whether this flow run ends because of a signal that is its own business: a subflow leaves it to its parent."""
    context = FlowRunContext.get()
    is_subflow = context is not None and context.flow_run is not None and context.flow_run.parent_task_run_id
    return handler.requested and not is_subflow


async def _skip_overdue(flow_run: Any, began: datetime) -> None:
    until: Any = datetime.now(UTC)  # Prefect's types ask for pydantic's or pendulum's, by the version of Python
    mine = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[flow_run.deployment_id]),
        state=FlowRunFilterState(name=FlowRunFilterStateName(any_=_NOT_BEGUN)),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=until),
    )
    async with get_client() as client:
        due = await client.read_flow_runs(flow_run_filter=mine, sort=FlowRunSort.EXPECTED_START_TIME_ASC)
        for run, why in unnecessary(due, flow_run.parameters, began):
            due_at = f"{run.expected_start_time:%Y-%m-%d %H:%M} UTC"
            skipped: Any = Cancelled(name="Skipped", message=f"skipped, though due at {due_at}: {why}")
            await client.set_flow_run_state(run.id, skipped)
            _log.info("skipped the run of this deployment that was due at %s: %s", due_at, why)


def unnecessary(due: Sequence[FlowRun], parameters: object, began: datetime) -> list[tuple[FlowRun, str]]:
    """Of the runs that are `due`, in their order, those to skip and why, when one with `parameters` `began` then."""
    same = [run for run in due if run.auto_scheduled and run.parameters == parameters]
    before = [run for run in same if run.expected_start_time and run.expected_start_time <= began]
    since = [run for run in same if run.expected_start_time and run.expected_start_time > began]
    done = f"the run that began at {began:%H:%M} UTC does what it was for"
    waiting = f"one that was due before it waits for the run of {began:%H:%M} UTC to end, and does what it was for"
    return [*((run, done) for run in before), *((run, waiting) for run in since[1:])]


async def _show(name: str, message: str) -> None:
    """Give the flow run a state of that name and message; a server that does not answer costs the message."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    try:
        async with get_client() as client:
            current = (await client.read_flow_run(context.flow_run.id)).state
            if current is None or not current.is_running():  # being cancelled
                return
            # The run's place under the limit of its deployment goes from state to state.
            place = StateDetails(deployment_concurrency_lease_id=current.state_details.deployment_concurrency_lease_id)
            state: Any = Running(name=name, message=message, state_details=place)
            await client.set_flow_run_state(context.flow_run.id, state)
    except (httpx.HTTPError, PrefectException, OSError) as error:
        _log.warning("the run's state in Prefect could not be updated (%s: %s)", type(error).__name__, error)


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
