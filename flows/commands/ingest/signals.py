"""How a run is stopped: what a signal asks for, and what is waited for before everything is let go."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Protocol, TypeVar

EXIT_INTERRUPTED = 130

T = TypeVar("T")


class Closable(Protocol):
    """Something that is open and can be closed."""

    def close(self) -> None:
        """Let go of it."""


ClosableT = TypeVar("ClosableT", bound=Closable)


class Interrupt:
    """A request of SIGINT or SIGTERM to stop: the first cancels the task that watches, the second ends the process."""

    def __init__(self) -> None:
        self._asked = False
        self._cancel: Callable[[], object] | None = None

    def watch(self) -> None:
        """Let the request cancel the task that calls this, now if it came before."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        if self._asked:
            self._cancel()

    def ask(self, number: int, frame: FrameType | None) -> None:
        """What the signal handler does."""
        if self._asked:
            os._exit(EXIT_INTERRUPTED)  # as safe as kill -9, and that is safe
        self._asked = True
        if self._cancel is not None:
            self._cancel()


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn SIGINT and SIGTERM into an `Interrupt` until the block ends; outside the main thread nothing changes.

    The handlers stay while the event loop winds up, so that a second signal ends that too.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.signal(number, interrupt.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
            running.exception()  # asked for, so that nobody complains that it never was
        raise


async def opened(stack: contextlib.AsyncExitStack, open_it: Callable[[], ClosableT]) -> ClosableT:
    """What `open_it` returns, opened in a thread and closed by `stack`, also when cancelled while it opens."""

    def open_and_register() -> ClosableT:
        thing = open_it()
        stack.push_async_callback(
            run_in_thread_uncancelled, thing.close
        )  # Milvus Lite makes its index then, for a while
        return thing

    return await run_in_thread_uncancelled(open_and_register)


def drained(queue: asyncio.Queue[T]) -> list[T]:
    """What was in the queue."""
    items = []
    while not queue.empty():
        items.append(queue.get_nowait())
    return items


async def cancel_tasks(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """End the tasks; their failures, if any, have been or will be told by the one that failed first."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
