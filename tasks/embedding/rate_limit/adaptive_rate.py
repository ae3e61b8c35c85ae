"""The rate that the provider allows, found from its refusals: lowered at once, raised again with memory.

It recovers like TCP CUBIC (RFC 9438): quickly to just below the last refused rate, then a pause, then past it in steps
that double while nothing is refused. So an unchanged limit is rarely hit, and one that was raised is found in seconds.
"""

import math

CUT_LEAST = 0.95  # share of a refused rate that is kept, at most
CUT_MOST = 0.5  # and at least
RECOVERY_SHARE = 0.5  # of the way from the throughput to the refused rate: the plateau at which recovery pauses
RECOVERY_S = 2.0  # until the plateau is reached
HOLD_S = 6.0  # from a refusal until the rate may exceed the plateau
LONGEST_HOLD_S = 9.0  # HOLD_S grows by half each time about the same rate is refused
SAME_LIMIT = 0.15  # refused rates that differ by no more than this share belong to the same limit
HOLD_REQUESTS = 24  # that must succeed before the rate exceeds the plateau; for low rates, where they take longer
MAX_HOLD_S = 60.0  # after which a single success is enough, so that no low rate stays for good
FIRST_STEP = 0.01  # past the plateau, of the rate, or of half the limit if that is more
DOUBLING_S = 1.0  # in which the step doubles
_LAST_DOUBLING = 40.0  # any limit is reached by then; keeps the power finite


class AdaptiveRate:
    """The rate to use, in units per second: `limit` (infinite if unknown) unless the provider refuses it.

    It never falls below `floor`, whatever is refused or was learned before: no published limit is lower.
    """

    def __init__(self, limit: float, *, floor: float = 0.0) -> None:
        self.limit = limit
        self._floor = floor
        self._last_refused_rate = self._low = limit
        self._lowest = 0.0
        self._bounded_since = -math.inf if math.isfinite(limit) else math.inf
        self._hold_s = HOLD_S
        self._cut_at = -math.inf
        self._got_through = 1  # requests sent since the last cut that were not refused
        self._past_at = math.inf  # when the rate may exceed the plateau

    @property
    def lowered(self) -> bool:
        """Whether the rate in use is below the limit."""
        return self._cut_at > -math.inf

    @property
    def last_refused_rate(self) -> float:
        """The rate that was refused last, or the limit."""
        return self._last_refused_rate if self.lowered else self.limit

    def bounded(self, at: float) -> bool:
        """Whether any limit was known when a request was sent at `at`."""
        return at >= self._bounded_since

    def rate(self, now: float) -> float:
        """The rate to use at `now`."""
        if not self.lowered:
            return self.limit
        since_s = now - self._cut_at
        rate = self._low + (self._plateau - self._low) * min(1.0, since_s / RECOVERY_S)
        if now > self._past_at:
            doublings = min((now - self._past_at) / DOUBLING_S, _LAST_DOUBLING)
            # Steps of the limit rather than of the rate, so that neither of two that share an account is starved.
            step = FIRST_STEP * max(rate, self.limit / 2.0 if math.isfinite(self.limit) else 0.0)
            rate += step * (2.0**doublings - 1.0)
        if rate >= self.limit:
            self._cut_at = -math.inf
            return self.limit
        return rate

    def lower(self, now: float, *, sent_at: float, throughput: float, amount: float) -> None:
        """A request of `amount` sent at `sent_at` was refused, after a `throughput` in the second before it.

        Refusals of requests that were in flight together count once. Without a success since the last cut nothing is
        learned, because then it is not the rate that is refused.
        """
        if sent_at < self._cut_at:
            self._low = self._bounded_below(min(self._low, throughput))
        elif self._got_through:
            rate, before = self.rate(now), self.last_refused_rate
            if self.lowered and now > self._past_at:
                # The provider's bucket may have filled up meanwhile, and allowed a rate that it does not sustain.
                throughput = min(throughput, self._plateau)
            # If the limit is unknown, the rate so far says little: go down to one such request per second.
            self._lowest = CUT_MOST * rate if math.isfinite(self.limit) else min(CUT_MOST * rate, amount)
            self._last_refused_rate = self._bounded_below(min(rate, throughput + amount))
            self._low = self._bounded_below(min(throughput, CUT_LEAST * self._last_refused_rate))
            stands = self.lowered and abs(self._last_refused_rate - before) <= SAME_LIMIT * before
            self._hold_s = min(self._hold_s * 1.5, LONGEST_HOLD_S) if stands else HOLD_S
            self._cut(now)

    def _bounded_below(self, rate: float) -> float:
        return max(rate, self._lowest, min(self._floor, self.limit))

    @property
    def _plateau(self) -> float:
        """The rate at which recovery pauses, between the throughput and the refused rate."""
        return self._low + RECOVERY_SHARE * (self._last_refused_rate - self._low)

    def got_through(self, sent_at: float) -> None:
        """A request sent at `sent_at` was not refused."""
        if sent_at >= self._cut_at:
            self._got_through += 1
            slow = math.isinf(self._past_at) and sent_at >= self._cut_at + MAX_HOLD_S
            if self._got_through == HOLD_REQUESTS or slow:
                self._past_at = max(self._cut_at + self._hold_s, sent_at)

    def remember(self, now: float, last_refused_rate: float) -> None:
        """Start near `last_refused_rate`, which an earlier run found."""
        if 0.0 < last_refused_rate < self.limit:
            self._last_refused_rate = self._bounded_below(last_refused_rate)
            self._low = self._bounded_below(CUT_LEAST * last_refused_rate)
            self._cut(now)
            self._got_through = HOLD_REQUESTS - 4  # this run has had no refusal yet, so exceed it sooner

    def scale(self, factor: float) -> None:
        """Multiply every rate by `factor`: the share of the account has changed."""
        self.limit *= factor
        self._last_refused_rate *= factor
        self._low *= factor
        self._lowest *= factor

    def _cut(self, now: float) -> None:
        self._cut_at, self._past_at, self._got_through = now, math.inf, 0
        self._bounded_since = min(self._bounded_since, now)
