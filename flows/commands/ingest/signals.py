"""How a run is stopped: by a signal, and what is waited for before everything is closed."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Protocol, TypeVar

from millrace.tasks.errors import ExitCode

T = TypeVar("T")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Closable(Protocol):
    """An open resource."""

    def close(self) -> None:
        """Release it."""


ClosableT = TypeVar("ClosableT", bound=Closable)


class SignalHandler:
    """SIGINT or SIGTERM: the first cancels the attached task, a second SIGINT ends the process.

    A second SIGTERM does not: a supervisor may well send one to the whole group, and one to each process.
    """

    def __init__(self) -> None:
        self._requested = False
        self._cancel: Callable[[], object] | None = None

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._requested

    def attach(self) -> None:
        """Let a signal cancel the task that calls this, now if it came before."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        if self._requested:
            self._cancel()

    def request_stop(self, number: int, frame: FrameType | None) -> None:
        """Called by `signal` for each signal."""
        if self._requested:
            if number == signal.SIGINT:
                os._exit(ExitCode.INTERRUPTED)  # as safe as kill -9, and that is safe
            return
        self._requested = True
        if self._cancel is not None:
            self._cancel()


@contextlib.contextmanager
def interruptible() -> Iterator[SignalHandler]:
    """Handle SIGINT and SIGTERM until the block ends; outside the main thread nothing changes.

    The handlers stay while the event loop closes, so that a second signal ends that too. Both are let through from
    then on: `millrace serve` starts runs with both blocked, so that one that comes early is not lost.
    """
    handler = SignalHandler()
    if threading.current_thread() is not threading.main_thread():
        yield handler
        return
    before = {number: signal.signal(number, handler.request_stop) for number in STOP_SIGNALS}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        yield handler
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


async def run_in_thread_uncancelled(work: Callable[[], T], *, if_cancelled: Callable[[], object] = lambda: None) -> T:
    """The result of `work` in a thread. When cancelled, the thread is waited for: it cannot be stopped half-way.

    `if_cancelled` is called then, to tell the work to hurry.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if_cancelled()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # retrieved, so that asyncio does not warn
        raise


async def open_in_thread(
    stack: contextlib.AsyncExitStack,
    open_it: Callable[[], ClosableT],
    *,
    if_cancelled: Callable[[], object] = lambda: None,
) -> ClosableT:
    """The result of `open_it`, opened in a thread and closed by `stack`, also when cancelled while it opens."""

    def open_and_register() -> ClosableT:
        thing = open_it()
        # In a thread, because Milvus Lite makes its index when it is closed, for a while.
        stack.push_async_callback(run_in_thread_uncancelled, thing.close)
        return thing

    return await run_in_thread_uncancelled(open_and_register, if_cancelled=if_cancelled)


def drain_queue(queue: asyncio.Queue[T]) -> list[T]:
    """Everything that was in the queue."""
    items = []
    while not queue.empty():
        items.append(queue.get_nowait())
    return items


async def cancel_tasks(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait for them; a failure is reported by the task that failed first."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
