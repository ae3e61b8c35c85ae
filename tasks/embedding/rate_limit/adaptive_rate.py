"""How fast the provider lets us go, found by being refused: down at once to what got through, up again with memory.

The way back is that of TCP CUBIC (RFC 9438): quickly to just below the rate that was refused last, a while there, then
past it, in steps that double as long as nothing is refused. So a limit that stands is touched rarely, and one that was
raised again is found in seconds.
"""

import math

CUT_LEAST = 0.95  # of the rate, when the provider refuses it
CUT_MOST = 0.5
BACK = 0.5  # of the way from what got through to what was refused: so far the rate returns before it waits
RETURN_S = 2.0  # for the way back to there
HOLD_S = 6.0  # from the refusal until the rate goes past where it happened
LONGEST_HOLD_S = 9.0  # half as long again each time it is refused at about the same rate
SAME = 0.15  # refusals whose rates differ by no more than that share tell of one limit
HOLD_REQUESTS = 24  # that get through before the rate goes past, where they are so few that it takes longer
FIRST_STEP = 0.01  # of the rate, or of half the limit if that is more, past there
DOUBLING_S = 1.0  # after so long the step is twice as large
_LAST_DOUBLING = 40.0  # beyond that any limit is reached; keeps the power finite


class AdaptiveRate:
    """The rate to use, in units a second: `limit` (infinite if not known) unless the provider refuses it."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._roof = self._low = limit
        self._lowest = 0.0
        self._bounded_since = -math.inf if math.isfinite(limit) else math.inf
        self._hold_s = HOLD_S
        self._cut_at = -math.inf
        self._got_through = 1  # requests that were sent since the cut
        self._past_at = math.inf  # when the rate begins to go past where it was refused

    @property
    def lowered(self) -> bool:
        """Whether the rate in use is below the limit."""
        return self._cut_at > -math.inf

    @property
    def roof(self) -> float:
        """The rate that was refused last, or the limit."""
        return self._roof if self.lowered else self.limit

    def bounded(self, at: float) -> bool:
        """Whether there was any bound when a request went at `at`."""
        return at >= self._bounded_since

    def rate(self, now: float) -> float:
        """The rate to use at `now`."""
        if not self.lowered:
            return self.limit
        since_s = now - self._cut_at
        rate = self._low + (self._held - self._low) * min(1.0, since_s / RETURN_S)
        if now > self._past_at:
            doublings = min((now - self._past_at) / DOUBLING_S, _LAST_DOUBLING)
            # In steps of the limit rather than of the rate, so that of two who share an account neither is starved.
            step = FIRST_STEP * max(rate, self.limit / 2.0 if math.isfinite(self.limit) else 0.0)
            rate += step * (2.0**doublings - 1.0)
        if rate >= self.limit:
            self._cut_at = -math.inf
            return self.limit
        return rate

    def lower(self, now: float, *, sent_at: float, through: float, amount: float) -> None:
        """A request of `amount` that went at `sent_at` was refused when `through` had got through in the second before.

        Requests that were under way together are one refusal, and while nothing gets through there is none to learn
        from: then it is not the rate that is refused.
        """
        if sent_at < self._cut_at:
            self._low = max(min(self._low, through), self._lowest)
        elif self._got_through:
            rate, before = self.rate(now), self.roof
            if self.lowered and now > self._past_at:
                # A bucket may have been filled up meanwhile and let a rate through that it does not sustain.
                through = min(through, self._held)
            # Of a limit that nobody knows, the rate so far says little: down to one such request a second.
            self._lowest = CUT_MOST * rate if math.isfinite(self.limit) else min(CUT_MOST * rate, amount)
            self._roof = max(min(rate, through + amount), self._lowest)
            self._low = max(min(through, CUT_LEAST * self._roof), self._lowest)
            stands = self.lowered and abs(self._roof - before) <= SAME * before
            self._hold_s = min(self._hold_s * 1.5, LONGEST_HOLD_S) if stands else HOLD_S
            self._cut(now)

    @property
    def _held(self) -> float:
        """The rate that is held, between what got through and what was refused."""
        return self._low + BACK * (self._roof - self._low)

    def got_through(self, sent_at: float) -> None:
        """A request that went at `sent_at` was not refused."""
        if sent_at >= self._cut_at:
            self._got_through += 1
            if self._got_through == HOLD_REQUESTS:
                self._past_at = max(self._cut_at + self._hold_s, sent_at)

    def remember(self, now: float, roof: float) -> None:
        """Begin near `roof`, which an earlier run found."""
        if 0.0 < roof < self.limit:
            self._roof, self._low = roof, CUT_LEAST * roof
            self._cut(now)
            self._got_through = HOLD_REQUESTS - 4  # nothing was refused in this run yet: sooner past it

    def scale(self, factor: float) -> None:
        """Everything by `factor`: the share of the account has changed."""
        self.limit *= factor
        self._roof *= factor
        self._low *= factor
        self._lowest *= factor

    def _cut(self, now: float) -> None:
        self._cut_at, self._past_at, self._got_through = now, math.inf, 0
        self._bounded_since = min(self._bounded_since, now)
