"""How fast the request rate may grow.

Source: Alibaba's best-practice page on rate limits, read 2026-11: a rate that rises too quickly is answered 429
`limit_burst_rate`, whatever the other limits say.
"""

from collections import deque

from tasks.embedding.ceiling import Ceiling
from tasks.embedding.windows import TICK_S

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


class Growth:
    """At most `per_s` requests more in any second than in the second before it."""

    def __init__(self, per_s: float) -> None:
        self.ceiling = Ceiling(per_s)
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
