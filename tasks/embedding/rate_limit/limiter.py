"""When the next request may go: requests and tokens, a second and a minute, and how fast the request rate may grow.

The provider counts in several ways at once and does not say whether its windows slide. So requests are spread evenly
rather than sent in bursts and every minute is counted in a window that slides. Refusals tell the rest. Where the limit
was kept as a bucket and some second held more than it, seconds are taken to be counted as a whole, and from then on
none may hold more; where that is no explanation, the rate is lowered (see `ceiling`). Source: Alibaba's rate-limit and
best-practice pages, read 2026-11 (a bucket that starts full trips `limit_burst_rate`; retries must take new tokens).

How fast the request rate may grow.

Source: Alibaba's best-practice page on rate limits, read 2026-11: a rate that rises too quickly is answered 429
`limit_burst_rate`, whatever the other limits say.

What one run found out about the account's limits, for the next one.
"""

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from millrace.tasks.embedding.rate_limit.adaptive_rate import AdaptiveRate
from millrace.tasks.embedding.rate_limit.clock import Clock, LoopClock
from millrace.tasks.embedding.rate_limit.windows import TICK_S, Rate
from millrace.tasks.errors import ThrottledLimit

GROWTH_PER_S = 8.0
"""Requests a second that the rate may gain each second. Nothing is published; this is our choice."""

_RISE_S = 4.0  # for a rate that the limit of requests allows; the published one rises in it by `GROWTH_PER_S`

_CUT = 0.7  # of the growth, when the provider refuses it


def growth_per_s(requests_per_second: float) -> float:
    """How fast the rate may grow towards a limit of `requests_per_second` (0 if there is none).

    >>> growth_per_s(30.0), growth_per_s(2_000.0)
    (8.0, 500.0)
    """
    return max(GROWTH_PER_S, requests_per_second / _RISE_S)


class RampUpLimiter:
    """At most `per_s` requests more in any second than in the second before it."""

    def __init__(self, per_s: float) -> None:
        self.ceiling = AdaptiveRate(per_s)
        self._before: deque[float] = deque()  # when requests went, between two seconds and one second ago
        self._lately: deque[float] = deque()  # within the last second

    def wait_s(self, now: float) -> float:
        """Seconds until one more may go, or until that is worth asking again."""
        while self._lately and self._lately[0] <= now - 1.0:
            self._before.append(self._lately.popleft())
        while self._before and self._before[0] <= now - 2.0:
            self._before.popleft()
        most = len(self._before) + max(self.ceiling.rate(now), 1.0)
        return max(self._lately[0] + 1.0 - now, TICK_S) if len(self._lately) + 1 > most else 0.0

    def take(self, now: float) -> None:
        """Count a request that goes now."""
        self._lately.append(now)

    def refused(self, now: float, sent_at: float) -> None:
        """The provider refused a request that went at `sent_at`, because the rate grew too fast."""
        rate = self.ceiling.rate(now)
        self.ceiling.lower(now, sent_at=sent_at, through=_CUT * rate, amount=(1.0 - _CUT) * rate)


@dataclass(frozen=True, slots=True)
class LearnedLimits:
    """The rates that were refused last, a second, for the whole account; 0 where nothing was refused.

    `whole_seconds_s` is for how long the provider was last believed to count in whole seconds (fixed or sliding
    windows) before that was put to the test again; 0 is never.
    """

    requests_per_second: float = 0.0
    tokens_per_second: float = 0.0
    growth_per_s: float = 0.0
    whole_seconds_s: float = 0.0

    def as_values(self) -> dict[str, float]:
        """Plain values, for a file."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> "LearnedLimits":
        """From what `as_values` gave. Anything else in `values` is no knowledge: it is left out, not an error."""
        found = {field.name: values.get(field.name) for field in fields(cls)}
        return cls(
            **{
                name: float(value)
                for name, value in found.items()
                if isinstance(value, int | float) and math.isfinite(value) and value > 0
            }
        )


_LONGEST_SLEEP_S = 1.0
_FIRST_TRUST_S = 20.0  # whole seconds are believed in for so long, then put to the test; twice as long each time
_LONGEST_TRUST_S = 3600.0
_REQUESTS_A_SECOND = 8  # where no second may hold more than the rate, small requests fill it better than large ones
_REQUEST_ROOM = 1.25  # requests made small must not run into the limit of requests instead


class RateLimiter:
    """Hands out leave to send, first come first served. A limit of 0 is none, or one that is not known.

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
        learned: LearnedLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or LoopClock()
        self._requests = Rate(requests_per_second, requests_per_minute)
        self._tokens = Rate(tokens_per_second, tokens_per_minute)
        self._growth = (
            RampUpLimiter(growth_per_s(requests_per_second)) if self._requests.known or self._tokens.known else None
        )
        self._learned = learned
        self._share = 1.0
        self._turn = asyncio.Lock()
        self._paused_until = -math.inf
        self._trust_s = 0.0
        self._whole_since = math.inf
        self._whole_until = -math.inf
        self._part = 0.0  # tokens of the next request: its equal share of a second, where seconds are counted whole
        self._carry = 0.0  # what the requests before left of theirs
        self.waiting_for = ""
        """What the next request waits for: "requests", "tokens", "growth", "pause", or "" for nothing."""

    async def acquire(self, tokens: int) -> float:
        """Wait until one request of `tokens` billed tokens may go; the time at which it may."""
        async with self._turn:
            self._recall()
            while (wait_s := self._wait_s(tokens)) > 0.0:
                # Not longer, so that an early end of a pause, or a rate that recovers, is seen.
                await self._clock.sleep(min(wait_s, _LONGEST_SLEEP_S))
            now = self._clock.now()
            self._requests.take(now, 1.0)
            self._tokens.take(now, float(tokens))
            if self._growth:
                self._growth.take(now)
            self._carry = max(-self._part, min(self._carry + self._part - tokens, self._part))
            return now

    def tokens_per_request(self, text_tokens: int) -> int:
        """How many tokens the next request should hold at most, when its largest text has `text_tokens`; 0 is any.

        Where no second may hold more than the rate, it is parted into equal shares, with room for one text more to
        make up for texts that do not fill theirs; what a request leaves, the next one may use.
        """
        now = self._clock.now()
        rate = self._tokens.ceiling.rate(now)
        if not self._in_whole_seconds(now) or not math.isfinite(rate):
            self._part = 0.0
            return 0
        least = _REQUEST_ROOM * rate / self._requests.ceiling.rate(now)
        self._part = max((rate - text_tokens) / _REQUESTS_A_SECOND, least, 1.0)
        return math.ceil(max(self._part + self._carry, 1.0))

    def requests_per_second(self, tokens: int) -> float:
        """How many requests of `tokens` may go a second; infinite without a limit."""
        now = self._clock.now()
        return min(self._requests.ceiling.rate(now), self._tokens.ceiling.rate(now) / max(tokens, 1))

    def refused(self, limit: ThrottledLimit, *, sent_at: float, tokens: int) -> None:
        """The provider refused a request of `tokens` that went at `sent_at`: learn from it what can be learnt."""
        now = self._clock.now()
        self._tokens.forget(sent_at, float(tokens))
        if limit == "growth":
            if self._growth:
                self._growth.refused(now, sent_at)
            return
        named = [(self._requests, 1.0)] if limit in {"requests", "unknown"} else []
        named += [(self._tokens, float(tokens))] if limit in {"tokens", "unknown"} else []
        whole = self._in_whole_seconds(now)
        for rate, amount in named:
            through = rate.through(sent_at, now)
            within = through + amount <= rate.ceiling.rate(now)
            if within or sent_at >= self._whole_since:
                rate.ceiling.lower(now, sent_at=sent_at, through=through, amount=amount)
        if not whole:
            self._trust_s = min(max(2.0 * self._trust_s, _FIRST_TRUST_S), _LONGEST_TRUST_S)
            self._whole_since, self._whole_until = now, now + self._trust_s

    def answered(self, *, sent_at: float) -> None:
        """The provider took a request that went at `sent_at`."""
        for ceiling in self._ceilings():
            ceiling.got_through(sent_at)

    def pause_until(self, time: float) -> None:
        """Let nothing go before `time` (of the clock)."""
        self._paused_until = max(self._paused_until, time)

    def resume(self) -> None:
        """End a pause now."""
        self._paused_until = -math.inf

    def set_share(self, share: float) -> None:
        """Use `share` (above 0, at most 1) of every limit from now on: others use the rest of the account."""
        self._requests.scale(share / self._share)
        self._tokens.scale(share / self._share)
        if self._growth:
            self._growth.ceiling.scale(share / self._share)
        self._share = share

    @property
    def shares(self) -> tuple[float, float]:
        """The request rate and the token rate in use, as shares of those that were set; 1.0 unless refused."""
        now = self._clock.now()
        requests, tokens = (
            rate.ceiling.rate(now) / rate.ceiling.limit if rate.ceiling.lowered else 1.0
            for rate in (self._requests, self._tokens)
        )
        return requests, tokens

    @property
    def rates(self) -> tuple[float, float]:
        """Requests and tokens a second, as they are in use now; infinite without a limit."""
        now = self._clock.now()
        return self._requests.ceiling.rate(now), self._tokens.ceiling.rate(now)

    @property
    def learned(self) -> LearnedLimits:
        """What the provider's refusals taught, for the next run."""
        return LearnedLimits(
            requests_per_second=self._roof(self._requests),
            tokens_per_second=self._roof(self._tokens),
            growth_per_s=self._roof(self._growth) if self._growth else 0.0,
            whole_seconds_s=self._trust_s,
        )

    def _roof(self, limited: Rate | RampUpLimiter) -> float:
        return limited.ceiling.roof / self._share if limited.ceiling.lowered else 0.0

    def _recall(self) -> None:
        """Begin with what an earlier run learnt. Not before the first request, since a clock may need its loop."""
        learned, self._learned = self._learned, None
        if learned is None:
            return
        now = self._clock.now()
        self._requests.ceiling.remember(now, learned.requests_per_second * self._share)
        self._tokens.ceiling.remember(now, learned.tokens_per_second * self._share)
        if self._growth:
            self._growth.ceiling.remember(now, learned.growth_per_s * self._share)
        if learned.whole_seconds_s:
            self._trust_s = min(learned.whole_seconds_s, _LONGEST_TRUST_S)
            self._whole_since, self._whole_until = now, now + self._trust_s

    def _ceilings(self) -> list[AdaptiveRate]:
        ceilings = [self._requests.ceiling, self._tokens.ceiling]
        return [*ceilings, self._growth.ceiling] if self._growth else ceilings

    def _in_whole_seconds(self, now: float) -> bool:
        """Whether no second may hold more than the rate. Put to the test only when nothing else is being learnt."""
        lowered = self._requests.ceiling.lowered or self._tokens.ceiling.lowered
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
            "growth": self._growth.wait_s(now) if self._growth else 0.0,
        }
        reason, wait_s = max(waits.items(), key=lambda item: item[1])
        self.waiting_for = reason if wait_s > 0.0 else ""
        return wait_s
