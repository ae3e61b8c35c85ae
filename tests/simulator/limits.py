"""The provider's rate limits, as pure arithmetic over a time that the caller gives.

Requests and tokens, a second and a minute, and the growth of the request rate: `Limiter.decide` answers which of
them a request would break. Which kind of window the real server counts in is not known, so each can be

- `bucket`: refills evenly and holds one second's worth (also for a limit per minute), full at the start;
- `fixed`: counts from 0 in every second or minute of the clock;
- `sliding`: counts the last second or minute at every moment, the strictest.

Source: Alibaba's rate-limit page (30 requests/s and 1,200,000 tokens/min for text-embedding-v1 to v4 in Beijing,
both also enforced per second; growth limited by `limit_burst_rate`).
"""

from __future__ import annotations

import math
from collections import deque
from typing import Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

from tests.simulator.refusals import Reason

WindowKind = Literal["bucket", "fixed", "sliding"]
LimitName = Literal[
    "requests_per_second", "requests_per_minute", "growth_per_second", "tokens_per_second", "tokens_per_minute"
]

REASON_OF_LIMIT: dict[LimitName, Reason] = {
    "requests_per_second": Reason.LIMIT_REQUESTS,
    "requests_per_minute": Reason.LIMIT_REQUESTS,
    "growth_per_second": Reason.LIMIT_BURST_RATE,
    "tokens_per_second": Reason.INSUFFICIENT_QUOTA,
    "tokens_per_minute": Reason.INSUFFICIENT_QUOTA,
}

# A client that paces to the microsecond must not be refused for the last bit of a float.
_SLACK = 1e-6


class Limits(BaseModel):
    """What one account may ask of one model; None is no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_second: float | None = Field(default=None, gt=0)
    tokens_per_second: float | None = Field(default=None, gt=0)
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    growth_per_second: float | None = Field(default=None, gt=0)
    """Requests that a second may hold more than the second before it."""
    second_window: WindowKind = "bucket"
    minute_window: WindowKind = "bucket"
    refuse_oversize: bool = False
    """Refuse for ever a request bigger than a whole window; else it passes when the window is idle, and is paid off after."""
    count_refused: bool = False
    """Refused requests count as requests too, so that a client that hammers stays refused."""

    @classmethod
    def beijing(cls) -> Self:
        """The published limits of text-embedding-v1 to v4 in Beijing, with growth of 10 requests/s each second."""
        return cls(
            requests_per_second=30,
            tokens_per_second=20_000,
            requests_per_minute=1_800,
            tokens_per_minute=1_200_000,
            growth_per_second=10,
        )


class Window(Protocol):
    """One limit's memory of what it let through."""

    limit: float

    def has_room(self, now: float, amount: float) -> bool: ...

    def take(self, now: float, amount: float) -> None: ...


class Bucket:
    """Refills with `limit / period_s` a second up to one second's worth; an oversize amount leaves a debt."""

    def __init__(self, limit: float, period_s: float, *, refuse_oversize: bool = False) -> None:
        self.limit = limit
        self._period_s = period_s
        self._refuse_oversize = refuse_oversize
        self._level = self.capacity
        self._filled_at = -math.inf

    @property
    def capacity(self) -> float:
        """One second's worth, and never less than one unit: 30 a minute is a bucket of 1, not of one half."""
        return max(self.limit / self._period_s, 1.0)

    def has_room(self, now: float, amount: float) -> bool:
        if now > self._filled_at:
            gained = (now - self._filled_at) * self.limit / self._period_s
            self._level = min(self.capacity, self._level + gained)
            self._filled_at = now
        if amount > self.capacity:
            return not self._refuse_oversize and self._level >= self.capacity - _SLACK
        return self._level >= amount - _SLACK

    def take(self, now: float, amount: float) -> None:
        self._level -= amount


class FixedWindow:
    """Counts from 0 at every whole period of the clock; an oversize amount also uses up the periods after it."""

    def __init__(self, limit: float, period_s: float, *, refuse_oversize: bool = False) -> None:
        self.limit = limit
        self._period_s = period_s
        self._refuse_oversize = refuse_oversize
        self._number = -1
        self._used = 0.0

    def has_room(self, now: float, amount: float) -> bool:
        number = math.floor(now / self._period_s)
        if number > self._number:
            self._used = max(0.0, self._used - self.limit * (number - self._number))
            self._number = number
        if amount > self.limit:
            return not self._refuse_oversize and self._used <= _SLACK
        return self._used + amount <= self.limit + _SLACK

    def take(self, now: float, amount: float) -> None:
        self._used += amount


class SlidingWindow:
    """Never more than `limit` in any stretch of `period_s`; an oversize amount stays for as many periods as it fills."""

    def __init__(self, limit: float, period_s: float, *, refuse_oversize: bool = False) -> None:
        self.limit = limit
        self._period_s = period_s
        self._refuse_oversize = refuse_oversize
        self._used = 0.0
        self._entries: deque[tuple[float, float]] = deque()  # (when it leaves, amount), oldest first

    def has_room(self, now: float, amount: float) -> bool:
        while self._entries and self._entries[0][0] <= now + _SLACK:
            self._used -= self._entries.popleft()[1]
        if amount > self.limit:
            return not self._refuse_oversize and not self._entries
        return self._used + amount <= self.limit + _SLACK

    def take(self, now: float, amount: float) -> None:
        leaves_at = now + self._period_s * max(1.0, amount / self.limit)
        self._entries.append((leaves_at, amount))
        self._used += amount


class RampUpLimiter:
    """At most `limit` requests more in the last second than in the second before it."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._times: deque[tuple[float, float]] = deque()  # (when, how many), of the last two seconds

    def has_room(self, now: float, amount: float) -> bool:
        while self._times and self._times[0][0] <= now - 2:
            self._times.popleft()
        before = sum(many for when, many in self._times if when <= now - 1)
        lately = sum(many for when, many in self._times if when > now - 1)
        return lately + amount <= before + max(self.limit, amount) + _SLACK

    def take(self, now: float, amount: float) -> None:
        self._times.append((now, amount))


_WINDOWS: dict[WindowKind, type[Bucket] | type[FixedWindow] | type[SlidingWindow]] = {
    "bucket": Bucket,
    "fixed": FixedWindow,
    "sliding": SlidingWindow,
}


class Limiter:
    """Accepts or refuses requests under all limits at once: one that is refused takes nothing from any of them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._windows = {name: window for name in REASON_OF_LIMIT if (window := _window(limits, name)) is not None}

    @property
    def limits(self) -> Limits:
        return self._limits

    def change(self, limits: Limits) -> None:
        """Other limits from now on; windows of the same kind keep what they remember."""
        old_limits, old_windows = self._limits, self._windows
        self._limits, self._windows = limits, {}
        for name in REASON_OF_LIMIT:
            window = _window(limits, name)
            if window is None:
                continue
            old = old_windows.get(name)
            if old is not None and type(old) is type(window) and old_limits.refuse_oversize == limits.refuse_oversize:
                old.limit = window.limit
                window = old
            self._windows[name] = window

    def decide(self, now: float, requests: int, tokens: int) -> LimitName | None:
        """The limit that refuses, or None: accepted, and counted in every window.

        `now`: seconds, not before any earlier `now`.
        """
        refused_by: LimitName | None = None
        for name, window in self._windows.items():
            if not window.has_room(now, tokens if name.startswith("tokens") else requests):
                refused_by = name
                break
        for name, window in self._windows.items():
            of_tokens = name.startswith("tokens")
            if refused_by is None:
                window.take(now, tokens if of_tokens else requests)
            elif self._limits.count_refused and name in {"requests_per_second", "requests_per_minute"}:
                window.has_room(now, requests)
                window.take(now, requests)
        return refused_by


def _window(limits: Limits, name: LimitName) -> Window | None:
    limit: float | None = getattr(limits, name)
    if limit is None:
        return None
    if name == "growth_per_second":
        return RampUpLimiter(limit)
    per_second = name.endswith("second")
    kind = _WINDOWS[limits.second_window if per_second else limits.minute_window]
    return kind(limit, 1.0 if per_second else 60.0, refuse_oversize=limits.refuse_oversize)
