"""The Prefect flow `verify`: compares sources, lake and collection, or repairs them, on a schedule."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from threading import Thread
from typing import Any

from prefect import flow
from prefect.artifacts import acreate_markdown_artifact
from prefect.states import Cancelled, Completed, Failed

from millrace.configs.settings import Settings
from millrace.flows.commands.ingest.signals import interruptible, run_in_thread_uncancelled
from millrace.flows.commands.report.markdown_summary import fenced
from millrace.flows.commands.verify.ending import recorded_settings, refusal_recorded, tell_end
from millrace.flows.commands.verify.repair import repair
from millrace.flows.commands.verify.report import VerifyResult
from millrace.flows.commands.verify.verify import verify as compare
from millrace.flows.prefect_support.artifacts import logged, rename_flow_run
from millrace.flows.prefect_support.heartbeat import signs_of_life
from millrace.flows.prefect_support.parameters import VerifyParameters, source_paths
from millrace.flows.prefect_support.run_logs import log_to_flow_run
from millrace.flows.prefect_support.turns import INTERRUPTED, Turn, overdue_skipped, stopped_by_signal
from millrace.flows.wiring import components, milvus
from millrace.tasks.errors import LeaseHeld, MillraceError


@flow(name="verify", flow_run_name="verify {parameters.collection}", persist_result=False)
async def verify(parameters: VerifyParameters) -> Any:
    """Compare sources, lake and collection row by row; Failed when they do not agree.

    It waits for a run that writes to the lake or the collection, and none begins while it compares. With `repair`,
    differences are repaired from the lake first, and only the remaining ones count.
    """
    turn, command, started = Turn(), "repair" if parameters.repair else "verify", time.time()
    with log_to_flow_run(), signs_of_life(), interruptible() as handler:
        try:
            handler.attach()
            settings = recorded_settings(*parameters.given(), command)
            await logged(rename_flow_run(f"verify {settings.milvus.collection}"))
            async with overdue_skipped():
                report = await turn.take(
                    partial(_repaired if parameters.repair else _compared, settings, parameters, turn)
                )
        except asyncio.CancelledError:
            if not stopped_by_signal(handler):
                raise
            return Cancelled(message=f"{INTERRUPTED}{turn.waited}")
        except LeaseHeld as held:  # and it does not wait any longer
            tell_end(settings, command, started=started, exit_code=held.exit_code, error=str(held))
            return Failed(message=f"{held}{turn.waited}", data=held)
        except MillraceError as error:  # returned, since Prefect shows what is raised with a traceback
            return Failed(message=f"{error}{turn.waited}", data=error)
    lines = report.lines()
    await acreate_markdown_artifact(
        fenced(lines),
        key="verify",
        description=f"Sources, lake and collection {settings.milvus.collection}",
    )
    if report.exit_code:
        return Failed(message=lines[0] + turn.waited, data=report.exit_code)
    return Completed(message=lines[0] + turn.waited, data=report.exit_code)


async def _compared(settings: Settings, parameters: VerifyParameters, turn: Turn) -> VerifyResult:
    """What differs, found while nobody writes. Raises LeaseHeld."""
    with refusal_recorded(settings, "verify"):
        lake = components.existing_lake(settings)
    with await asyncio.to_thread(lake.lease), await asyncio.to_thread(milvus.lease_collection, settings):
        await turn.begin()
        work = partial(compare, settings, source_paths(parameters), as_json=False, reread=parameters.reread)
        return await _in_daemon_thread(work)


async def _repaired(settings: Settings, parameters: VerifyParameters, turn: Turn) -> VerifyResult:
    """What still differs after a repair. Raises LeaseHeld."""
    with refusal_recorded(settings, "repair"):
        lake = components.existing_lake(settings)
    with await asyncio.to_thread(lake.lease), await asyncio.to_thread(milvus.lease_collection, settings):
        await turn.begin()
    # It writes, and so is waited for also when it is to be stopped.
    work = partial(repair, settings, source_paths(parameters), as_json=False, reread=parameters.reread)
    return await run_in_thread_uncancelled(work)


async def _in_daemon_thread(work: Callable[[], VerifyResult]) -> VerifyResult:
    """The result of `work`, which only reads: a run that is to be stopped does not wait for it, nor its process."""
    found: Future[VerifyResult] = Future()
    found.set_running_or_notify_cancel()

    def look() -> None:
        try:
            found.set_result(work())
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            found.set_exception(error)

    Thread(target=copy_context().run, args=(look,), name="verify", daemon=True).start()
    return await asyncio.wrap_future(found)
