"""A token bucket and sliding windows: what was sent recently, counted as the provider may count it.

Source: Alibaba's rate-limit pages, read 2026-11, which give limits per second and per minute, but not how they count.
"""

import math
from collections import deque

from millrace.tasks.embedding.rate_limit.adaptive_rate import AdaptiveRate

BURST_S = 0.25
"""Size of the bucket, in seconds of its rate: enough to make up for a pause of the event loop."""

# A little more than what the provider counts, because requests do not arrive evenly.
SECOND_S = 1.015
MINUTE_S = 60.05

TICK_S = 1e-4  # a sleep that surely ends later than it began, despite float rounding
_LEAST_S = 0.1  # a rate over less time means nothing
_REMEMBERED_S = 10.0  # a request may be refused that much later, and what was sent before it is still known


class Window:
    """What was sent within the last `period_s` seconds."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._inside: deque[tuple[float, float]] = deque()  # (when, how much), oldest first
        self._recent: deque[tuple[float, float]] = deque()  # what has left the window recently
        self._used = 0.0

    def wait_s(self, now: float, amount: float, most: float) -> float:
        """Seconds until `amount` more fits under `most`; a larger amount waits for an empty window."""
        self._advance_to(now)
        over = self._used + min(amount, most) - most
        if over <= 1e-6 * most:
            return 0.0
        for at, sent in self._inside:
            over -= sent
            if over <= 1e-6 * most:
                return max(at + self._period_s - now, TICK_S)
        return 0.0

    def take(self, now: float, amount: float) -> None:
        """Count what is sent now."""
        self._advance_to(now)
        self._inside.append((now, amount))
        self._used += amount

    def sent_before(self, at: float) -> float:
        """What was sent in the period before `at` (not at `at` itself), up to `_REMEMBERED_S` ago."""
        began = at - self._period_s
        return sum(sent for when, sent in (*self._recent, *self._inside) if began < when < at)

    def forget(self, at: float, amount: float) -> None:
        """What was sent at `at` was refused: the provider did not count it."""
        for entries in (self._inside, self._recent):
            if (at, amount) in entries:
                entries.remove((at, amount))
                self._used -= amount if entries is self._inside else 0.0
                return

    def _advance_to(self, now: float) -> None:
        while self._inside and self._inside[0][0] <= now - self._period_s:
            self._used -= self._inside[0][1]
            self._recent.append(self._inside.popleft())
        while self._recent and self._recent[0][0] <= now - self._period_s - _REMEMBERED_S:
            self._recent.popleft()


class TokenBucket:
    """A quantity (requests or tokens) under its limits per second and per minute; 0 is no limit, or none known.

    `floor` is as `AdaptiveRate` takes it.
    """

    def __init__(self, per_second: float, per_minute: float, *, floor: float = 0.0) -> None:
        limits = [rate for rate in (per_second, per_minute / 60.0) if rate > 0.0]
        self.adaptive = AdaptiveRate(min(limits, default=math.inf), floor=floor)
        self._per_minute = per_minute
        self._level = 0.0  # empty: a bucket that starts full is a burst
        self._filled_at: float | None = None
        self._began_at: float | None = None
        self._second = Window(SECOND_S)
        self._minute = Window(MINUTE_S)

    @property
    def known(self) -> bool:
        """Whether any limit is known."""
        return math.isfinite(self.adaptive.limit) or self.adaptive.lowered

    def wait_s(self, now: float, amount: float, *, whole_seconds: bool) -> float:
        """Seconds until `amount` may be sent; with `whole_seconds` no second may have more than the rate."""
        if not self.known:
            return 0.0
        rate = self.adaptive.rate(now)
        waits = [self._bucket_wait_s(now, amount, rate)]
        if whole_seconds:
            waits.append(self._second.wait_s(now, amount, rate))
        if self._per_minute:
            waits.append(self._minute.wait_s(now, amount, self._per_minute))
        return max(waits)

    def take(self, now: float, amount: float) -> None:
        """Count what is sent now."""
        self._second.take(now, amount)
        self._began_at = now if self._began_at is None else self._began_at
        if self.known:
            self._level -= amount
        if self._per_minute:
            self._minute.take(now, amount)

    def throughput_before(self, at: float, now: float) -> float:
        """The accepted amount, as far as is known, in the second before `at`.

        Without a known limit many requests are sent at once, and one of them says nothing about the others; then it is
        what was or may still be accepted in the second before `now`, extrapolated if less than a second has passed.
        """
        if self.adaptive.bounded(at) or self._began_at is None:
            return self._second.sent_before(at)
        return self._second.sent_before(now + TICK_S) / min(1.0, max(now - self._began_at, _LEAST_S))

    def forget(self, at: float, amount: float) -> None:
        """What was sent at `at` was refused. The bucket is not refilled: a refusal costs its time."""
        self._second.forget(at, amount)
        self._minute.forget(at, amount)

    def scale(self, factor: float) -> None:
        """Multiply every limit by `factor`."""
        self.adaptive.scale(factor)
        self._per_minute *= factor

    def _bucket_wait_s(self, now: float, amount: float, rate: float) -> float:
        full = max(rate * BURST_S, min(amount, 1.0))
        if self._filled_at is not None:
            self._level = min(full, self._level + (now - self._filled_at) * rate)
        self._filled_at = now
        missing = min(amount, full) - self._level
        # A tiny fraction of a token is float rounding, and sleeping for it would be a busy loop.
        return missing / rate if missing > 1e-6 * full else 0.0
