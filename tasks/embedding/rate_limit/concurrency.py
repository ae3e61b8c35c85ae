"""How many requests may be in flight: as many as rate and latency require, so that no one needs to set it."""

import math
from collections import deque

_SPARE = 8  # for the first answers of a run, and so that a few late ones delay nothing
_ROOM = 2.0  # times rate x latency (Little's law)
_ANSWERS = 32  # the latest answers, of which the slowest counts
_FIRST_LATENCY_S = 2.0  # until there is an answer


class ConcurrencyLimit:
    """A limit that follows the latency, up to `most`: when answers stop, few requests are in flight to be lost."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._latencies_s = deque([_FIRST_LATENCY_S], maxlen=_ANSWERS)

    def record(self, seconds: float) -> None:
        """Record the latency of an answer."""
        self._latencies_s.append(seconds)

    def count(self, requests_per_second: float) -> int:
        """How many requests may be in flight at a rate of `requests_per_second`; the maximum if that is infinite.

        >>> ConcurrencyLimit(most=128).count(5.0)
        28
        """
        if math.isinf(requests_per_second):
            return self._most
        needed = _SPARE + _ROOM * requests_per_second * max(self._latencies_s)
        return min(self._most, math.ceil(needed))
