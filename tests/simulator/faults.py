"""What goes wrong, and when: error answers, damaged answers, broken connections, by plan.

A plan is a tuple of rules. Each names a fault and the answers it falls on: every Nth, a share drawn with a seed, listed
numbers, or all within a stretch of time; given together, all must hold. The first rule that fires wins. Answers are
numbered from 1 in the order in which requests pass validation and the limits.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tests.simulator.refusals import Reason


class Damage(StrEnum):
    """What can be wrong with an answer whose status is 200."""

    # the connection
    DROP = "drop"  # closed before the first byte
    RESET = "reset"  # RST in the middle of the body
    HANG = "hang"  # never a byte
    STALL = "stall"  # half the body, then never another byte
    TRICKLE = "trickle"  # half the body, then a byte now and then
    ENDLESS = "endless"  # the body, then blanks without end
    GZIP_BOMB = "gzip_bomb"  # a few MB of gzip that are gigabytes of blanks
    # the body
    TRUNCATED = "truncated"  # HTTP complete, JSON cut off
    ERROR_IN_200 = "error_in_200"
    EMPTY_DATA = "empty_data"
    MISSING_ITEM = "missing_item"
    EXTRA_ITEM = "extra_item"
    DOUBLED_INDEX = "doubled_index"
    WRONG_DIMENSION = "wrong_dimension"
    NAN_VECTOR = "nan_vector"
    ZERO_VECTOR = "zero_vector"
    NULL_EMBEDDING = "null_embedding"
    TRUE_IN_VECTOR = "true_in_vector"  # `true` for a number
    NO_SPARSE = "no_sparse"  # an item lacks its sparse vector, though one was asked for
    # legal
    SHUFFLED = "shuffled"  # items in another order, each with its right index
    # the usage, which tells nothing of the vectors
    HUGE_USAGE = "huge_usage"
    NEGATIVE_USAGE = "negative_usage"
    FRACTIONAL_USAGE = "fractional_usage"
    TRUE_USAGE = "true_usage"


USAGE_DAMAGE = {
    Damage.HUGE_USAGE: b"1000000000000000000",
    Damage.NEGATIVE_USAGE: b"-1",
    Damage.FRACTIONAL_USAGE: b"12.5",
    Damage.TRUE_USAGE: b"true",
}
"""What stands for each number of tokens."""

LEGAL_DAMAGE = frozenset({Damage.SHUFFLED, *USAGE_DAMAGE})
"""Answers a client must accept: their texts count as bought."""

Fault = Reason | Damage


class FaultRule(BaseModel):
    """One fault and when it happens.

    >>> rule = FaultRule(fault="internal_error", every=10)
    >>> [number for number in range(1, 31) if rule.falls_on(number, elapsed_s=0.0)]
    [10, 20, 30]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: Reason | Damage
    every: int | None = Field(default=None, ge=1)
    share: float | None = Field(default=None, ge=0, le=1)
    seed: int = 0
    numbers: tuple[int, ...] | None = None
    from_s: float | None = None
    """Seconds since the start or the last reset."""
    until_s: float | None = None

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if all(value is None for value in (self.every, self.share, self.numbers, self.from_s, self.until_s)):
            message = f"fault {self.fault}: say when with every, share, numbers, from_s or until_s (share=1 is always)"
            raise ValueError(message)
        return self

    def falls_on(self, number: int, elapsed_s: float) -> bool:
        """Whether answer `number` has this fault: the same for the same number, whatever came before."""
        return (
            (self.every is None or number % self.every == 0)
            and (self.numbers is None or number in self.numbers)
            and (self.from_s is None or elapsed_s >= self.from_s)
            and (self.until_s is None or elapsed_s < self.until_s)
            and (self.share is None or random.Random(f"{self.seed}:{self.fault}:{number}").random() < self.share)
        )


def scripted(*faults: Fault | None) -> tuple[FaultRule, ...]:
    """Rules under which the first answers have these faults, in this order, and all later ones none.

    >>> [rule.numbers for rule in scripted(None, Reason.INTERNAL_ERROR, Damage.RESET)]
    [(2,), (3,)]
    """
    return tuple(
        FaultRule(fault=fault, numbers=(number,)) for number, fault in enumerate(faults, start=1) if fault is not None
    )


def fault_of(rules: Sequence[FaultRule], number: int, elapsed_s: float) -> Fault | None:
    """The fault of answer `number`, or None for a sound one."""
    return next((rule.fault for rule in rules if rule.falls_on(number, elapsed_s)), None)
