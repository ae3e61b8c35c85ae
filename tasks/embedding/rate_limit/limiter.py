"""When the next request may be sent, under limits of requests and tokens per second and minute, and of growth.

The provider counts in several ways at once and does not document whether its windows slide. So requests are spread
evenly, and each minute is counted in a sliding window. The rest is learned from refusals. If a request was refused
within the rate, but some second had more than the rate, the provider seems to count whole seconds, and from then on no
second may have more; otherwise the rate is lowered (see `adaptive_rate`). What a run has learned is saved for the next.

Source: Alibaba's rate-limit and best-practice pages, read 2026-11. A bucket that starts full, or a rate that rises too
quickly, is answered 429 `limit_burst_rate` whatever the other limits; retries must take new tokens.
"""

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from millrace.tasks.embedding.rate_limit.adaptive_rate import AdaptiveRate
from millrace.tasks.embedding.rate_limit.clock import Clock, LoopClock
from millrace.tasks.embedding.rate_limit.windows import TICK_S, TokenBucket
from millrace.tasks.errors import ThrottledLimit

GROWTH_PER_S = 8.0
"""How much the request rate may grow each second. Nothing is published; this is our choice."""

_RISE_S = 4.0  # until the rate reaches its limit; from it follows `GROWTH_PER_S` for the published limit

_CUT = 0.7  # share of a refused growth that is kept


def growth_per_s(requests_per_second: float) -> float:
    """How much the rate may grow each second towards a limit of `requests_per_second` (0: none).

    >>> growth_per_s(30.0), growth_per_s(2_000.0)
    (8.0, 500.0)
    """
    return max(GROWTH_PER_S, requests_per_second / _RISE_S)


class RampUpLimiter:
    """At most `per_s` requests more in any second than in the second before it."""

    def __init__(self, per_s: float) -> None:
        self.adaptive = AdaptiveRate(per_s)
        self._before: deque[float] = deque()  # when requests were sent, between two seconds and one second ago
        self._lately: deque[float] = deque()  # within the last second

    def wait_s(self, now: float) -> float:
        """Seconds until one more request may be sent, or until it is worth asking again."""
        while self._lately and self._lately[0] <= now - 1.0:
            self._before.append(self._lately.popleft())
        while self._before and self._before[0] <= now - 2.0:
            self._before.popleft()
        most = len(self._before) + max(self.adaptive.rate(now), 1.0)
        return max(self._lately[0] + 1.0 - now, TICK_S) if len(self._lately) + 1 > most else 0.0

    def take(self, now: float) -> None:
        """Count a request that is sent now."""
        self._lately.append(now)

    def refused(self, now: float, sent_at: float) -> None:
        """The provider refused a request sent at `sent_at`, because the rate grew too fast."""
        rate = self.adaptive.rate(now)
        self.adaptive.lower(now, sent_at=sent_at, throughput=_CUT * rate, amount=(1.0 - _CUT) * rate)


@dataclass(frozen=True, slots=True)
class LearnedLimits:
    """The rates per second that were refused last, for the whole account; 0 where nothing was refused.

    `whole_seconds_s` is how long the provider was last assumed to count whole seconds (fixed or sliding windows) before
    the assumption was tested again; 0 is never.
    """

    requests_per_second: float = 0.0
    tokens_per_second: float = 0.0
    growth_per_s: float = 0.0
    whole_seconds_s: float = 0.0

    def as_values(self) -> dict[str, float]:
        """As plain values, for a file."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> "LearnedLimits":
        """From what `as_values` returned. Anything invalid in `values` is ignored: it is advice, not data."""
        found = {field.name: values.get(field.name) for field in fields(cls)}
        return cls(
            **{
                name: float(value)
                for name, value in found.items()
                if isinstance(value, int | float) and math.isfinite(value) and value > 0
            }
        )


_MIN_REQUESTS_PER_SECOND = 1 / 60  # whatever is refused, or was learned
_MIN_TOKENS_PER_SECOND = 100.0
_LONGEST_SLEEP_S = 1.0
_FIRST_TRUST_S = 20.0  # for which whole seconds are assumed before a test; doubles each time
_LONGEST_TRUST_S = 3600.0
_REQUESTS_PER_SECOND = 8  # when whole seconds are counted: small requests fill a second better than large ones
_REQUEST_ROOM = 1.25  # small requests must not hit the limit of requests instead


class RateLimiter:
    """Gives permission to send, first come first served. A limit of 0 is none, or an unknown one.

    A request larger than the bucket waits until it is full, is sent, and leaves a debt that delays later requests.
    """

    def __init__(
        self,
        *,
        requests_per_second: float = 0.0,
        tokens_per_second: float = 0.0,
        requests_per_minute: float = 0.0,
        tokens_per_minute: float = 0.0,
        learned: LearnedLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or LoopClock()
        self._requests = TokenBucket(requests_per_second, requests_per_minute, floor=_MIN_REQUESTS_PER_SECOND)
        self._tokens = TokenBucket(tokens_per_second, tokens_per_minute, floor=_MIN_TOKENS_PER_SECOND)
        self._ramp_up = (
            RampUpLimiter(growth_per_s(requests_per_second)) if self._requests.known or self._tokens.known else None
        )
        self._learned = learned
        self._share = 1.0
        self._queue_lock = asyncio.Lock()
        self._paused_until = -math.inf
        self._trust_s = 0.0
        self._whole_since = math.inf
        self._whole_until = -math.inf
        self._request_share = 0.0  # tokens per request when whole seconds are counted: equal shares of a second
        self._unused_share = 0.0  # what earlier requests left of theirs
        self.waiting_for = ""
        """What the next request waits for: "requests", "tokens", "growth", "pause", or "" for nothing."""

    async def acquire(self, tokens: int) -> float:
        """Wait until a request of `tokens` billed tokens may be sent; the time at which it may."""
        async with self._queue_lock:
            self._recall()
            while (wait_s := self._wait_s(tokens)) > 0.0:
                # In short sleeps, to notice an early end of a pause or a rate that recovers.
                await self._clock.sleep(min(wait_s, _LONGEST_SLEEP_S))
            now = self._clock.now()
            self._requests.take(now, 1.0)
            self._tokens.take(now, float(tokens))
            if self._ramp_up:
                self._ramp_up.take(now)
            share = self._request_share
            self._unused_share = max(-share, min(self._unused_share + share - tokens, share))
            return now

    def tokens_per_request(self, text_tokens: int) -> int:
        """How many tokens the next request should have at most if its largest text has `text_tokens`; 0 is no bound.

        When whole seconds are counted, the rate is divided into equal shares, with room for one more text; what a
        request leaves of its share, the next one may use.
        """
        now = self._clock.now()
        rate = self._tokens.adaptive.rate(now)
        if not self._in_whole_seconds(now) or not math.isfinite(rate):
            self._request_share = 0.0
            return 0
        least = _REQUEST_ROOM * rate / self._requests.adaptive.rate(now)
        self._request_share = max((rate - text_tokens) / _REQUESTS_PER_SECOND, least, 1.0)
        return math.ceil(max(self._request_share + self._unused_share, 1.0))

    def requests_per_second(self, tokens: int) -> float:
        """How many requests of `tokens` may be sent per second; infinite without a limit."""
        now = self._clock.now()
        return min(self._requests.adaptive.rate(now), self._tokens.adaptive.rate(now) / max(tokens, 1))

    def refused(self, limit: ThrottledLimit, *, sent_at: float, tokens: int) -> None:
        """Learn from the refusal of a request of `tokens` sent at `sent_at`."""
        now = self._clock.now()
        self._tokens.forget(sent_at, float(tokens))
        if limit == "growth":
            if self._ramp_up:
                self._ramp_up.refused(now, sent_at)
            return
        named = [(self._requests, 1.0)] if limit in {"requests", "unknown"} else []
        named += [(self._tokens, float(tokens))] if limit in {"tokens", "unknown"} else []
        whole = self._in_whole_seconds(now)
        for rate, amount in named:
            throughput = rate.throughput_before(sent_at, now)
            within = throughput + amount <= rate.adaptive.rate(now)
            if within or sent_at >= self._whole_since:
                rate.adaptive.lower(now, sent_at=sent_at, throughput=throughput, amount=amount)
        if not whole:
            self._trust_s = min(max(2.0 * self._trust_s, _FIRST_TRUST_S), _LONGEST_TRUST_S)
            self._whole_since, self._whole_until = now, now + self._trust_s

    def answered(self, *, sent_at: float) -> None:
        """The provider accepted a request sent at `sent_at`."""
        for adaptive in self._adaptive_rates():
            adaptive.got_through(sent_at)

    def pause_until(self, time: float) -> None:
        """Send nothing before `time` (of the clock)."""
        self._paused_until = max(self._paused_until, time)

    def resume(self) -> None:
        """End a pause."""
        self._paused_until = -math.inf

    def set_share(self, share: float) -> None:
        """Use `share` (above 0, at most 1) of every limit from now on: other runs use the rest of the account."""
        self._requests.scale(share / self._share)
        self._tokens.scale(share / self._share)
        if self._ramp_up:
            self._ramp_up.adaptive.scale(share / self._share)
        self._share = share

    @property
    def shares(self) -> tuple[float, float]:
        """The request rate and token rate in use as shares of their limits; 1.0 unless refused."""
        now = self._clock.now()
        requests, tokens = (
            rate.adaptive.rate(now) / rate.adaptive.limit if rate.adaptive.lowered else 1.0
            for rate in (self._requests, self._tokens)
        )
        return requests, tokens

    @property
    def rates(self) -> tuple[float, float]:
        """Requests and tokens per second in use now; infinite without a limit."""
        now = self._clock.now()
        return self._requests.adaptive.rate(now), self._tokens.adaptive.rate(now)

    @property
    def learned(self) -> LearnedLimits:
        """What was learned from refusals, for the next run."""
        return LearnedLimits(
            requests_per_second=self._last_refused_rate(self._requests),
            tokens_per_second=self._last_refused_rate(self._tokens),
            growth_per_s=self._last_refused_rate(self._ramp_up) if self._ramp_up else 0.0,
            whole_seconds_s=self._trust_s,
        )

    def _last_refused_rate(self, limited: TokenBucket | RampUpLimiter) -> float:
        return limited.adaptive.last_refused_rate / self._share if limited.adaptive.lowered else 0.0

    def _recall(self) -> None:
        """Start with what an earlier run learned; at the first request, because the clock may need a running loop."""
        learned, self._learned = self._learned, None
        if learned is None:
            return
        now = self._clock.now()
        self._requests.adaptive.remember(now, learned.requests_per_second * self._share)
        self._tokens.adaptive.remember(now, learned.tokens_per_second * self._share)
        if self._ramp_up:
            self._ramp_up.adaptive.remember(now, learned.growth_per_s * self._share)
        if learned.whole_seconds_s:
            self._trust_s = min(learned.whole_seconds_s, _LONGEST_TRUST_S)
            self._whole_since, self._whole_until = now, now + self._trust_s

    def _adaptive_rates(self) -> list[AdaptiveRate]:
        rates = [self._requests.adaptive, self._tokens.adaptive]
        return [*rates, self._ramp_up.adaptive] if self._ramp_up else rates

    def _in_whole_seconds(self, now: float) -> bool:
        """Whether no second may have more than the rate. Tested only while no rate is lowered."""
        lowered = self._requests.adaptive.lowered or self._tokens.adaptive.lowered
        if now >= self._whole_until and not lowered:
            self._whole_since = math.inf
            return False
        return now < self._whole_until or lowered

    def _wait_s(self, tokens: int) -> float:
        now = self._clock.now()
        whole = self._in_whole_seconds(now)
        waits = {
            "pause": self._paused_until - now,
            "tokens": self._tokens.wait_s(now, float(tokens), whole_seconds=whole),
            "requests": self._requests.wait_s(now, 1.0, whole_seconds=whole),
            "growth": self._ramp_up.wait_s(now) if self._ramp_up else 0.0,
        }
        reason, wait_s = max(waits.items(), key=lambda item: item[1])
        self.waiting_for = reason if wait_s > 0.0 else ""
        return wait_s
