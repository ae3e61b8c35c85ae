"""Time for the rate limiter and the dispatcher: the event loop's, or one that a test sets."""

import asyncio
from typing import Protocol


class Clock(Protocol):
    """A monotonic time in seconds, and a sleep measured in it."""

    def now(self) -> float:
        """Seconds since an arbitrary moment."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class LoopClock:
    """The time of the event loop that it was made or first asked in; then any thread may ask, as metrics do."""

    def __init__(self) -> None:
        self._loop = _running_loop()

    def now(self) -> float:
        """As `Clock`."""
        self._loop = self._loop or asyncio.get_running_loop()
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """As `Clock`."""
        await asyncio.sleep(seconds)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def wait_for_event(event: asyncio.Event, timeout_s: float | None, clock: Clock) -> bool:
    """Whether `event` is set within `timeout_s` seconds of the clock; None waits for as long as it takes."""
    if timeout_s is None:
        return await event.wait()
    either = [asyncio.ensure_future(waiting) for waiting in (event.wait(), clock.sleep(timeout_s))]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return event.is_set()
    finally:
        for waiting in either:
            waiting.cancel()
