"""What a run asks of the provider and what it costs: the tally, and the cap that no request may pass.

How long answers took: counts in fixed buckets, so that a run of any length costs the same to remember.
"""

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from millrace.tasks.embedding.providers.client import BilledInvalidResponse, LostAnswer
from millrace.tasks.errors import BudgetReached, Throttled, ThrottledLimit, Transient

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


_UNKNOWN_DRIFT = Fraction(11, 10)  # held for the first requests, until an answer has shown how the provider counts
_DRIFT_MARGIN = Fraction(101, 100)  # on top of the worst drift seen, if there is any


@dataclass(slots=True)
class Usage:
    """Counters of one run.

    `tokens_counted` of the texts that were bought, by our tokenizer, and `tokens_of_bought` by the provider's answers
    with their vectors; `tokens_billed` by all answers, those that could not be used among them; `tokens_in_doubt` of
    requests whose answer was lost: billed perhaps. `latencies` are those of answers with vectors.
    """

    requests_sent: int = 0
    requests_retried: int = 0
    throttled_by: Counter[ThrottledLimit] = field(default_factory=Counter)
    unavailable: int = 0
    unproven: int = 0
    texts_bought: int = 0
    texts_refused: int = 0
    tokens_of_bought: int = 0
    tokens_counted: int = 0
    tokens_billed: int = 0
    tokens_in_doubt: int = 0
    price_cny_per_1k_tokens: float = 0.0
    latencies: Latencies = field(default_factory=Latencies)

    def charge(self, failure: Transient, tokens: int) -> int:
        """Count a failed try of a request of `tokens` counted tokens; the tokens that it cost, or may have cost."""
        match failure:
            case Throttled():
                self.throttled_by[failure.limit] += 1
                return 0
            case BilledInvalidResponse():
                self.unproven += 1
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
        """Requests answered 429, whichever limit it named."""
        return self.throttled_by.total()

    @property
    def drift(self) -> float:
        """How much more the provider counts than we do for the same texts, as a share of our count.

        0 before any, and where nothing is billed.
        """
        return self.tokens_of_bought / self.tokens_counted - 1.0 if self.tokens_of_bought else 0.0

    @property
    def cost_cny(self) -> float:
        """Yuan for what was billed."""
        return cost_cny(self.tokens_billed, self.price_cny_per_1k_tokens)


class Budget:
    """A cap in yuan. What is under way is held against it, and what may have been billed counts as if it were.

    `cap_cny` None is no cap. Drift between our count and the bill is learnt and held against it too.
    """

    def __init__(self, cap_cny: float | None, price_cny_per_1k_tokens: float) -> None:
        self._cap_cny = cap_cny
        self._price = price_cny_per_1k_tokens
        # Exact, so that a cap of 0.5 yuan is not passed, or missed, by the last bit of a float.
        self._cap_tokens = (
            math.inf
            if cap_cny is None or price_cny_per_1k_tokens == 0
            else int(Fraction(str(cap_cny)) * 1000 / Fraction(str(price_cny_per_1k_tokens)))
        )
        self._spent = 0
        self._held = 0
        self._drift: Fraction | None = None

    @property
    def spent_tokens(self) -> int:
        """Tokens that were billed, or may have been."""
        return self._spent

    @property
    def remaining_tokens(self) -> float:
        """Tokens neither spent nor held; infinite without a cap."""
        return self._cap_tokens - self._spent - self._held

    def fits(self, tokens: int) -> bool:
        """Whether a request of `tokens` counted tokens stays under the cap even if everything under way is billed."""
        return self._bound(tokens) <= self.remaining_tokens

    def reserve(self, tokens: int) -> int:
        """Hold what a request of `tokens` counted tokens may cost; what is held, for `settle`.

        Raises BudgetReached if that could pass the cap.
        """
        held = self._bound(tokens)
        if held > self.remaining_tokens:
            spent, cap = cost_cny(self._spent, self._price), self._cap_cny
            message = (
                f"the next request, of {tokens} tokens, could pass the cap: {spent:.6f} of {cap} yuan are spent "
                f"(budget.max_cny); what was bought is kept, and a run with a higher or a new cap goes on from here"
            )
            raise BudgetReached(message)
        self._held += held
        return held

    def settle(self, held: int, billed: int, *, counted: int = 0) -> None:
        """End a hold: the request cost `billed` tokens; `counted` is our own count (0 if the answer was not whole)."""
        self._held -= held
        self._spent += billed
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


def split_tokens(billed: int, counted: list[int]) -> list[int]:
    """`billed` shared out in proportion to `counted`, in whole tokens that add up.

    >>> apportion(10, [2, 2, 2])
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
