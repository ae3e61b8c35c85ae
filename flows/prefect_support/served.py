"""The deployments of `millrace serve`, run by this process until it is stopped, and then let end.

Prefect's own `serve` gives the runs half a minute and kills them, and marks as crashed what Ctrl-C ended. Here a signal
to `serve`, to its group or to a run alone means the same: no further run begins, those that are going end as they do
by Ctrl-C, keeping what was paid for, and `serve` waits for them.

Of Prefect's `Runner` this uses what 3.8 has inside: its poller, its processes and the task group of its loops.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Sequence
from threading import Event, Thread

from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner

from millrace.flows.commands.ingest.signals import STOP_SIGNALS

_log = logging.getLogger(__name__)

_LOOK_FOR_RUNS_EVERY_S = 0.5


class _Runner(Runner):
    """A runner that can be let end."""

    def handle_sigterm(self, *_: object) -> None:
        """Nothing: `_signals` hears of it."""

    def stop_polling(self) -> None:
        """Begin no further run; `start` returns when those that are going have ended."""
        self._scheduled_run_poller.stopping = True
        self._loops_task_group.cancel_scope.cancel()

    def processes(self) -> set[int]:
        """Of the runs that are going."""
        handles = [self._process_manager.get(run) for run in self._process_manager.flow_run_ids()]
        return {handle.pid for handle in handles if handle is not None and handle.pid is not None}


def run_deployments(deployments: Sequence[RunnerDeployment], *, registered: Callable[[], None]) -> None:
    """Register the deployments, call `registered`, and run what is due until SIGINT or SIGTERM; then let it end."""
    # Blocked here and, since that is inherited, in the runs until they have a handler: none is lost while one starts.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        asyncio.run(_run_until_stopped(deployments, registered))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def _run_until_stopped(deployments: Sequence[RunnerDeployment], registered: Callable[[], None]) -> None:
    runner = _Runner(pause_on_shutdown=False)
    for deployment in deployments:
        await runner.aadd_deployment(deployment)
    registered()
    signals = _signals()
    serving = asyncio.create_task(runner.start(), name="serve")
    stopping = asyncio.create_task(signals.get(), name="stop")
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    while not runner.started and not serving.done():  # stopped while it starts
        await asyncio.wait([serving], timeout=_LOOK_FOR_RUNS_EVERY_S)
    if not serving.done():
        runner.stop_polling()
        await _let_end(runner, serving, signals)
    await serving


async def _let_end(runner: _Runner, serving: "asyncio.Task[None]", signals: "asyncio.Queue[int]") -> None:
    """Return when all runs have ended; each is sent one SIGTERM, and after a second Ctrl-C SIGKILL."""
    reported: set[int] = set()
    if runner.processes():
        _log.warning(
            "stopping: waits for %d runs to end, which keep what was paid for; Ctrl-C kills them",
            len(runner.processes()),
        )
    while not serving.done():
        for pid in runner.processes() - reported:
            _send(pid, signal.SIGTERM)
            reported.add(pid)
        while not signals.empty():
            if signals.get_nowait() == signal.SIGINT:
                for pid in runner.processes():
                    _send(pid, signal.SIGKILL)
        await asyncio.wait([serving], timeout=_LOOK_FOR_RUNS_EVERY_S)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(pid, number)


def _signals() -> "asyncio.Queue[int]":
    """The signals to stop that come from now on."""
    loop = asyncio.get_running_loop()
    came: asyncio.Queue[int] = asyncio.Queue()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, came.put_nowait, number)

    def let_through() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        Event().wait()

    # The thread that starts the runs has them blocked, so another one has to take them.
    Thread(target=let_through, name="signals", daemon=True).start()
    return came
