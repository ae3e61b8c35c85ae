"""The time the simulator lives in: the machine's, or one that a test sets."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that only grow, and a sleep measured in them."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class MachineClock:
    """The machine's monotonic time."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SetClock:
    """A clock that stands still until `advance` is called, from any thread.

    >>> clock = SetClock()
    >>> clock.advance(3600)
    >>> clock.now()
    3600.0
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = float(start)
        self._lock = threading.Lock()
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._watchers: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        with self._lock:
            heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), loop, woken))
            self._tell_watchers()
        await woken

    async def slept_on(self, count: int = 1) -> None:
        """Return once `count` sleeps are waiting: what a test waits for before it advances."""
        loop = asyncio.get_running_loop()
        seen: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._watchers.append((count, loop, seen))
            self._tell_watchers()
        await seen

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once and wake whoever slept no longer than that, in order."""
        with self._lock:
            self._now += seconds
            while self._sleepers and self._sleepers[0][0] <= self._now:
                _, _, loop, woken = heapq.heappop(self._sleepers)
                loop.call_soon_threadsafe(_wake, woken)

    def _tell_watchers(self) -> None:
        waiting = len(self._sleepers)
        for count, loop, seen in self._watchers:
            if waiting >= count:
                loop.call_soon_threadsafe(_wake, seen)
        self._watchers = [watcher for watcher in self._watchers if waiting < watcher[0]]


class Calendar:
    """The date of the simulated world, in seconds since 1970: what lasts hours goes by it, and not by the clock.

    It runs `seconds_per_second` times as fast as the clock, and can be advanced while the clock stays.

    >>> clock = SetClock()
    >>> calendar = Calendar(clock, starts_at=1000.0, seconds_per_second=60.0)
    >>> calendar.advance(600)
    >>> clock.advance(1)
    >>> calendar.now()
    1660.0
    """

    def __init__(self, clock: Clock, starts_at: float, seconds_per_second: float = 1.0) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at, self._date, self._factor = clock.now(), starts_at, seconds_per_second

    def now(self) -> float:
        with self._lock:
            return self._date_at(self._clock.now())

    def advance(self, seconds: float) -> None:
        """Let `seconds` of the calendar pass at once."""
        with self._lock:
            self._date += seconds

    def run(self, seconds_per_second: float) -> None:
        """Run at another speed from now on."""
        with self._lock:
            now = self._clock.now()
            self._read_at, self._date, self._factor = now, self._date_at(now), seconds_per_second

    def _date_at(self, clock_now: float) -> float:
        return self._date + (clock_now - self._read_at) * self._factor


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
