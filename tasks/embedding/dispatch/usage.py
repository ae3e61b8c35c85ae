"""What a run has used: requests, tokens, yuan and latencies; and the budget that no request may exceed."""

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from millrace.tasks.embedding.providers.client import BilledInvalidResponse, LostAnswer
from millrace.tasks.errors import BudgetReached, Throttled, ThrottledLimit, Transient

LATENCY_BUCKETS_S = (
    *(0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 60.0),
)
"""Upper bounds of a latency histogram, in seconds, inclusive; one more bucket holds what is beyond the last."""


@dataclass(slots=True)
class Latencies:
    """A histogram: `counts[i]` answers took at most `LATENCY_BUCKETS_S[i]` seconds; `total_s` is the sum of all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS_S) + 1))
    total_s: float = 0.0

    def record(self, seconds: float) -> None:
        """Count an answer that took `seconds`."""
        self.counts[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        self.total_s += seconds

    @property
    def answers(self) -> int:
        """The number of answers."""
        return sum(self.counts)


_UNKNOWN_DRIFT = Fraction(11, 10)  # reserved for the first requests, until an answer has shown how the provider counts
_DRIFT_MARGIN = Fraction(101, 100)  # on top of the worst drift seen, if there is any


@dataclass(slots=True)
class Usage:
    """Counters of one run.

    `tokens_counted` is our tokenizer's count for the embedded texts, `tokens_billed_for_vectors` the provider's for the
    same texts. `tokens_billed` also has what unusable answers cost. `tokens_in_doubt` is our count for requests whose
    answer was lost or did not say its usage: they may have been billed. `latencies` are those of usable answers. The
    `batch` figures are a part of those that came by Batch jobs, at their own price.
    """

    requests_sent: int = 0
    requests_retried: int = 0
    throttled_by: Counter[ThrottledLimit] = field(default_factory=Counter)
    unavailable: int = 0
    invalid_responses: int = 0
    texts_embedded: int = 0
    texts_refused: int = 0
    tokens_billed_for_vectors: int = 0
    tokens_counted: int = 0
    tokens_billed: int = 0
    tokens_in_doubt: int = 0
    price_cny_per_1k_tokens: float = 0.0
    batch_texts: int = 0
    batch_tokens_billed: int = 0
    batch_price_cny_per_1k_tokens: float = 0.0
    latencies: Latencies = field(default_factory=Latencies)

    def record_failure(self, failure: Transient, tokens: int) -> int:
        """Count a failed try of a request of `tokens` tokens; the tokens that it cost, or may have cost."""
        match failure:
            case Throttled():
                self.throttled_by[failure.limit] += 1
                return 0
            case BilledInvalidResponse():
                self.invalid_responses += 1
                if failure.billed_tokens is not None:
                    self.tokens_billed += failure.billed_tokens
                    return failure.billed_tokens
            case _:
                self.unavailable += 1
                if not isinstance(failure, LostAnswer):
                    return 0
        self.tokens_in_doubt += tokens
        return tokens

    @property
    def requests_throttled(self) -> int:
        """Requests answered 429, whatever the limit."""
        return self.throttled_by.total()

    @property
    def drift(self) -> float:
        """How much more the provider counts than we do for the same texts, as a share of our count; 0 without usage."""
        return self.tokens_billed_for_vectors / self.tokens_counted - 1.0 if self.tokens_billed_for_vectors else 0.0

    @property
    def cost_cny(self) -> float:
        """The price of the billed tokens, in yuan."""
        at_once = self.tokens_billed - self.batch_tokens_billed
        by_batch = cost_cny(self.batch_tokens_billed, self.batch_price_cny_per_1k_tokens)
        return cost_cny(at_once, self.price_cny_per_1k_tokens) + by_batch

    @property
    def batch_saved_cny(self) -> float:
        """How much less what came by Batch cost, in yuan."""
        dearer = cost_cny(self.batch_tokens_billed, self.price_cny_per_1k_tokens)
        return dearer - cost_cny(self.batch_tokens_billed, self.batch_price_cny_per_1k_tokens)

    def record_batch(self, *, texts: int, counted: int, billed: int, billed_for_vectors: int) -> None:
        """Count a Batch job: `texts` vectors of `counted` tokens, and what all of it was billed."""
        self.texts_embedded += texts
        self.batch_texts += texts
        self.tokens_counted += counted
        self.tokens_billed += billed
        self.tokens_billed_for_vectors += billed_for_vectors
        self.batch_tokens_billed += billed


class Budget:
    """A cap in yuan; `cap_cny` None is none. Requests in flight are reserved against it.

    Tokens that may have been billed count as billed. If the provider counts more tokens than we do, later reservations
    grow by the worst ratio seen.
    """

    def __init__(self, cap_cny: float | None, price_cny_per_1k_tokens: float) -> None:
        self._cap_cny = cap_cny
        self._price = price_cny_per_1k_tokens
        # Exact, so that the rounding of a float neither exceeds a cap nor misses it.
        self._cap_tokens = (
            math.inf
            if cap_cny is None or price_cny_per_1k_tokens == 0
            else int(Fraction(str(cap_cny)) * 1000 / Fraction(str(price_cny_per_1k_tokens)))
        )
        self._spent = Fraction(0)
        self._reserved = Fraction(0)
        self._drift: Fraction | None = None

    @property
    def spent_tokens(self) -> int:
        """Tokens that were billed, or may have been; those that cost less count for as much less."""
        return math.ceil(self._spent)

    @property
    def remaining_tokens(self) -> float:
        """Tokens neither spent nor reserved; infinite without a cap."""
        left = self._cap_tokens - self._spent - self._reserved
        return math.floor(left) if isinstance(left, Fraction) else left

    def fits(self, tokens: int) -> bool:
        """Whether a request of `tokens` tokens stays under the cap even if everything in flight is billed."""
        return self._bound(tokens) <= self.remaining_tokens

    def reserve(
        self, tokens: int, *, share: Fraction = Fraction(1), what: str = "request", owed: bool = False
    ) -> Fraction:
        """Reserve what a request of `tokens` tokens may cost; the reservation, for `settle`.

        `share` of the price is what a token costs there. Raises BudgetReached if that could exceed the cap, unless it
        is `owed` already.
        """
        reserved = self._bound(tokens) * share
        if not owed and reserved > self._cap_tokens - self._spent - self._reserved:
            spent, cap = cost_cny(self.spent_tokens, self._price), self._cap_cny
            message = (
                f"the next {what}, of {tokens} tokens, could exceed the cap: {spent:.6f} of {cap} yuan are spent "
                f"(budget.max_cny); finished vectors are kept, and a run with a higher or a new cap goes on from here"
            )
            raise BudgetReached(message)
        self._reserved += reserved
        return reserved

    def settle(self, reserved: Fraction, billed: int, *, counted: int = 0, share: Fraction = Fraction(1)) -> None:
        """End a reservation: the request cost `billed` tokens, and we counted `counted` (0 for an unusable answer)."""
        self._reserved -= reserved
        self._spent += billed * share
        if counted:
            self._drift = max(self._drift or Fraction(1), Fraction(billed, counted))

    def _bound(self, tokens: int) -> int:
        if self._drift is None:
            return math.ceil(tokens * _UNKNOWN_DRIFT)
        return math.ceil(tokens * self._drift * _DRIFT_MARGIN) if self._drift > 1 else tokens


def cost_cny(tokens: int, price_cny_per_1k_tokens: float) -> float:
    """Yuan for `tokens` billed tokens.

    >>> cost_cny(1_000_000_000, 0.0005)
    500.0
    """
    return float(tokens * Fraction(str(price_cny_per_1k_tokens)) / 1000)


def is_absurdly_more(tokens: int, other: int) -> bool:
    """Whether no two tokenizers, templates and end marks included, count `tokens` and `other` for the same texts."""
    return tokens > 100 * other + 1_000


def split_tokens(billed: int, counted: list[int]) -> list[int]:
    """`billed` shared out in proportion to `counted`, in whole tokens that add up.

    >>> split_tokens(10, [2, 2, 2])
    [3, 4, 3]
    """
    total = sum(counted)
    if billed == total or not total:
        return list(counted)
    bounds, running = [0], 0
    for count in counted:
        running += count
        bounds.append((billed * running * 2 + total) // (total * 2))
    return [after - before for before, after in pairwise(bounds)]
