"""What was sent lately, counted as the provider may count it: in a bucket that refills, and in windows that slide.

Source: Alibaba's rate-limit pages, read 2026-11; they name limits a second and a minute and do not say how either is
counted.
"""

import math
from collections import deque

from millrace.tasks.embedding.rate_limit.adaptive_rate import AdaptiveRate

BURST_S = 0.25
"""How much of a second's worth may be saved up while nobody asks: enough to make up for a pause of the event loop."""

# A little more than what the provider counts, because requests do not arrive exactly as far apart as they were sent.
SECOND_S = 1.015
MINUTE_S = 60.05

TICK_S = 1e-4  # a sleep that is sure to end later than it began, whatever floats make of it
_LEAST_S = 0.1  # less time says nothing of a rate
_REMEMBERED_S = 10.0  # what was sent before a request that is refused so much later is still known


class Window:
    """What went within the last `period_s` seconds, wherever they begin."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._inside: deque[tuple[float, float]] = deque()  # (when, how much), oldest first
        self._left: deque[tuple[float, float]] = deque()  # what was inside a little while ago
        self._used = 0.0

    def wait_s(self, now: float, amount: float, most: float) -> float:
        """Seconds until `amount` more makes no more than `most`; one larger than `most` waits for an empty window."""
        self._pass_to(now)
        over = self._used + min(amount, most) - most
        if over <= 1e-6 * most:
            return 0.0
        for at, sent in self._inside:
            over -= sent
            if over <= 1e-6 * most:
                return max(at + self._period_s - now, TICK_S)
        return 0.0

    def take(self, now: float, amount: float) -> None:
        """Count what goes now."""
        self._pass_to(now)
        self._inside.append((now, amount))
        self._used += amount

    def before(self, at: float) -> float:
        """What went in the period that ended at `at`, up to `_REMEMBERED_S` ago, without what went at `at` itself."""
        began = at - self._period_s
        return sum(sent for when, sent in (*self._left, *self._inside) if began < when < at)

    def forget(self, at: float, amount: float) -> None:
        """What went at `at` was refused: the provider did not count it."""
        for entries in (self._inside, self._left):
            if (at, amount) in entries:
                entries.remove((at, amount))
                self._used -= amount if entries is self._inside else 0.0
                return

    def _pass_to(self, now: float) -> None:
        while self._inside and self._inside[0][0] <= now - self._period_s:
            self._used -= self._inside[0][1]
            self._left.append(self._inside.popleft())
        while self._left and self._left[0][0] <= now - self._period_s - _REMEMBERED_S:
            self._left.popleft()


class Rate:
    """One kind of thing (requests, tokens) under its limits a second and a minute; 0 is no limit, or none known."""

    def __init__(self, per_second: float, per_minute: float) -> None:
        limits = [rate for rate in (per_second, per_minute / 60.0) if rate > 0.0]
        self.ceiling = AdaptiveRate(min(limits, default=math.inf))
        self._per_minute = per_minute
        self._level = 0.0  # empty: a bucket that starts full is a burst
        self._filled_at: float | None = None
        self._began_at: float | None = None
        self._second = Window(SECOND_S)
        self._minute = Window(MINUTE_S)

    @property
    def known(self) -> bool:
        """Whether there is any bound."""
        return math.isfinite(self.ceiling.limit) or self.ceiling.lowered

    def wait_s(self, now: float, amount: float, *, whole_seconds: bool) -> float:
        """Seconds until `amount` may go; with `whole_seconds` no second may hold more than the rate."""
        if not self.known:
            return 0.0
        rate = self.ceiling.rate(now)
        waits = [self._bucket_wait_s(now, amount, rate)]
        if whole_seconds:
            waits.append(self._second.wait_s(now, amount, rate))
        if self._per_minute:
            waits.append(self._minute.wait_s(now, amount, self._per_minute))
        return max(waits)

    def take(self, now: float, amount: float) -> None:
        """Count what goes now."""
        self._second.take(now, amount)
        self._began_at = now if self._began_at is None else self._began_at
        if self.known:
            self._level -= amount
        if self._per_minute:
            self._minute.take(now, amount)

    def through(self, at: float, now: float) -> float:
        """What got through, as far as is known, in the second before `at`.

        Without a bound many requests go at once, and one among them says nothing of the others: there it is what got
        through, or still may, in the second before `now`, or in proportion when it has only begun.
        """
        if self.ceiling.bounded(at) or self._began_at is None:
            return self._second.before(at)
        return self._second.before(now + TICK_S) / min(1.0, max(now - self._began_at, _LEAST_S))

    def forget(self, at: float, amount: float) -> None:
        """What went at `at` was refused. The bucket is not filled up again: a refusal costs its time."""
        self._second.forget(at, amount)
        self._minute.forget(at, amount)

    def scale(self, factor: float) -> None:
        """Every limit by `factor`."""
        self.ceiling.scale(factor)
        self._per_minute *= factor

    def _bucket_wait_s(self, now: float, amount: float, rate: float) -> float:
        full = max(rate * BURST_S, min(amount, 1.0))
        if self._filled_at is not None:
            self._level = min(full, self._level + (now - self._filled_at) * rate)
        self._filled_at = now
        missing = min(amount, full) - self._level
        # A hair of a token is float noise, and sleeping for it would spin.
        return missing / rate if missing > 1e-6 * full else 0.0
