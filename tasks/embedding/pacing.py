"""When the next request may go: requests and tokens, a second and a minute, and how fast the request rate may grow.

The provider counts in several ways at once and does not say whether its windows slide. So requests are spread evenly
rather than sent in bursts, every minute is also counted in a window that slides, and a rate that the provider refuses
is lowered at once and probed upward slowly. Source: Alibaba's rate-limit and best-practice pages, read 2026-11 (a
bucket that starts full trips `limit_burst_rate`; retries must take new tokens).
"""

import asyncio
import math
from collections import deque
from typing import Protocol

from tasks.errors import ThrottledLimit

GROWTH_PER_S = 8.0
"""Requests a second that the rate may gain each second. Nothing is published; this is our choice."""

BURST_S = 0.25
"""How much of a second's worth may be saved up while nobody asks: enough to make up for a pause of the event loop."""

_MINUTE_S = 60.0
_LONGEST_SLEEP_S = 1.0
_TICK_S = 1e-4  # a sleep that is sure to end later than it began, whatever floats make of it
_CUT = 0.8  # of the rate, when the provider refuses it
_LOWEST = 0.02  # of the rate that was set
_PROBE_PER_S = 0.01  # of the rate that was set, gained back each second
_CALM_S = 1.0  # refusals within this time of a cut tell of the rate before it


class Clock(Protocol):
    """Seconds that only grow, and a sleep measured in them."""

    def now(self) -> float:
        """Seconds since a moment that does not matter."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` have passed."""
        ...


class LoopClock:
    """The time of the running event loop."""

    def now(self) -> float:
        """As `Clock`."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """As `Clock`."""
        await asyncio.sleep(seconds)


async def happens(event: asyncio.Event, timeout_s: float | None, clock: Clock) -> bool:
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


class Pacer:
    """Hands out leave to send, first come first served. A limit of 0 is none.

    A request larger than what may be saved up waits for that much, goes, and leaves a debt that those after it wait
    off.
    """

    def __init__(
        self,
        *,
        requests_per_second: float = 0.0,
        tokens_per_second: float = 0.0,
        requests_per_minute: float = 0.0,
        tokens_per_minute: float = 0.0,
        growth_per_s: float = GROWTH_PER_S,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or LoopClock()
        self._requests = _Rate(requests_per_second, requests_per_minute)
        self._tokens = _Rate(tokens_per_second, tokens_per_minute)
        self._growth = _Growth(growth_per_s) if self._requests.limit or self._tokens.limit else None
        self._turn = asyncio.Lock()
        self._paused_until = -math.inf
        self.waiting_for = ""
        """What the next request waits for: "requests", "tokens", "growth", "pause", or "" for nothing."""

    async def acquire(self, tokens: int) -> float:
        """Wait until one request of `tokens` billed tokens may go; the time at which it may."""
        async with self._turn:
            while (wait_s := self._wait_s(tokens)) > 0.0:
                # Not longer, so that an early end of a pause, or a rate that recovers, is seen.
                await self._clock.sleep(min(wait_s, _LONGEST_SLEEP_S))
            now = self._clock.now()
            self._requests.take(now, 1.0)
            self._tokens.take(now, float(tokens))
            if self._growth:
                self._growth.take(now)
            return now

    def slow_down(self, limit: ThrottledLimit, *, sent_at: float = math.inf) -> None:
        """The provider refused a request that went at `sent_at`: lower what it named, unless that was done since."""
        now = self._clock.now()
        if limit in {"requests", "unknown"}:
            self._requests.used.cut(now, sent_at)
        if limit in {"tokens", "unknown"}:
            self._tokens.used.cut(now, sent_at)
        if limit == "growth" and self._growth:
            self._growth.used.cut(now, sent_at)

    def pause_until(self, time: float) -> None:
        """Let nothing go before `time` (of the clock)."""
        self._paused_until = max(self._paused_until, time)

    def resume(self) -> None:
        """End a pause now."""
        self._paused_until = -math.inf

    @property
    def shares(self) -> tuple[float, float]:
        """The request rate and the token rate that are used, as shares of those that were set; 1.0 unless refused."""
        return self._requests.used.share, self._tokens.used.share

    def _wait_s(self, tokens: int) -> float:
        now = self._clock.now()
        waits = {
            "pause": self._paused_until - now,
            "tokens": self._tokens.wait_s(now, float(tokens)),
            "requests": self._requests.wait_s(now, 1.0),
            "growth": self._growth.wait_s(now) if self._growth else 0.0,
        }
        reason, wait_s = max(waits.items(), key=lambda item: item[1])
        self.waiting_for = reason if wait_s > 0.0 else ""
        return wait_s


class _Share:
    """How much of a limit is used: less after the provider refused, and step by step all of it again."""

    def __init__(self) -> None:
        self.share = 1.0
        self._cut_at = self._probed_at = -math.inf

    def cut(self, now: float, sent_at: float) -> None:
        """Lower the share, unless the request that was refused went before the last cut: it tells nothing new."""
        if sent_at >= self._cut_at and now >= self._cut_at + _CALM_S:
            self.share = max(self.share * _CUT, _LOWEST)
            self._cut_at = now

    def probe(self, now: float) -> float:
        """The share, a little higher than when it was last used."""
        if self.share < 1.0:
            self.share = min(1.0, self.share + (now - max(self._probed_at, self._cut_at)) * _PROBE_PER_S)
        self._probed_at = now
        return self.share


class _Rate:
    """One kind of thing (requests, tokens) under its limits a second and a minute; the smaller of both is the rate."""

    def __init__(self, per_second: float, per_minute: float) -> None:
        limits = [rate for rate in (per_second, per_minute / _MINUTE_S) if rate > 0.0]
        self.limit = min(limits, default=0.0)
        self.used = _Share()
        self._per_minute = per_minute
        self._level = 0.0  # empty: a bucket that starts full is a burst
        self._filled_at: float | None = None
        self._minute: deque[tuple[float, float]] = deque()
        self._in_minute = 0.0

    def wait_s(self, now: float, amount: float) -> float:
        """Seconds until `amount` may go."""
        if not self.limit:
            return 0.0
        rate = self.limit * self.used.probe(now)
        full = max(rate * BURST_S, min(amount, 1.0))
        if self._filled_at is not None:
            self._level = min(full, self._level + (now - self._filled_at) * rate)
        self._filled_at = now
        missing = min(amount, full) - self._level
        # A hair of a token is float noise, and sleeping for it would spin.
        wait_s = missing / rate if missing > 1e-6 * full else 0.0
        return max(wait_s, self._minute_wait_s(now, amount))

    def take(self, now: float, amount: float) -> None:
        if not self.limit:
            return
        self._level -= amount
        if self._per_minute:
            self._minute.append((now, amount))
            self._in_minute += amount

    def _minute_wait_s(self, now: float, amount: float) -> float:
        """Seconds until the last minute has room, however it was filled."""
        while self._minute and self._minute[0][0] <= now - _MINUTE_S:
            self._in_minute -= self._minute.popleft()[1]
        over = self._in_minute + min(amount, self._per_minute) - self._per_minute
        if not self._per_minute or over <= 1e-6:
            return 0.0
        for sent_at, sent in self._minute:
            over -= sent
            if over <= 1e-6:
                return max(sent_at + _MINUTE_S - now, _TICK_S)
        return 0.0


class _Growth:
    """At most `per_s` requests more in any second than in the second before it."""

    def __init__(self, per_s: float) -> None:
        self.used = _Share()
        self._per_s = per_s
        self._before: deque[float] = deque()  # when requests went, between two seconds and one second ago
        self._lately: deque[float] = deque()  # within the last second

    def wait_s(self, now: float) -> float:
        """Seconds until one more may go, or until that is worth asking again."""
        while self._lately and self._lately[0] <= now - 1.0:
            self._before.append(self._lately.popleft())
        while self._before and self._before[0] <= now - 2.0:
            self._before.popleft()
        most = len(self._before) + max(self._per_s * self.used.probe(now), 1.0)
        return max(self._lately[0] + 1.0 - now, _TICK_S) if len(self._lately) + 1 > most else 0.0

    def take(self, now: float) -> None:
        self._lately.append(now)
