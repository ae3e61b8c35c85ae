"""How many requests may be under way at once: what the rate and the latency make necessary, so that nobody sets it."""

import math
from collections import deque

_SPARE = 8  # for a run's first answers, and so that a few late ones hold nothing up
_ROOM = 2.0  # times what the rate and the latency need (Little's law)
_ANSWERS = 32  # the last ones, of which the slowest counts
_FIRST_LATENCY_S = 2.0  # until there is an answer


class ConcurrencyLimit:
    """A bound that follows the latency, up to `most`: when answers stop coming, little is under way to be lost."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._latencies_s = deque([_FIRST_LATENCY_S], maxlen=_ANSWERS)

    def took(self, seconds: float) -> None:
        """An answer came after `seconds`."""
        self._latencies_s.append(seconds)

    def count(self, requests_per_second: float) -> int:
        """How many requests may be under way when so many may go a second (infinite: as many as there may be at all).

        >>> Slots(most=128).count(5.0)
        28
        """
        if math.isinf(requests_per_second):
            return self._most
        needed = _SPARE + _ROOM * requests_per_second * max(self._latencies_s)
        return min(self._most, math.ceil(needed))
