"""How long answers took: counts in fixed buckets, so that a run of any length costs the same to remember."""

from bisect import bisect_left
from dataclasses import dataclass, field

BOUNDS_S = (
    *(0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 60.0),
)
"""The upper bound of each bucket, in seconds, that value included; what is beyond the last has a bucket of its own."""


@dataclass(slots=True)
class Latencies:
    """`counts[i]` answers took at most `BOUNDS_S[i]` and more than the bound before; `total_s` is their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def took(self, seconds: float) -> None:
        """An answer came after `seconds`."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    @property
    def answers(self) -> int:
        """How many there were."""
        return sum(self.counts)
