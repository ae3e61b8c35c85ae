from __future__ import annotations

import doctest
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.embedding.dispatch import usage
from millrace.tasks.embedding.dispatch.usage import Budget, Usage, split_tokens
from millrace.tasks.embedding.providers.client import BilledInvalidResponse, LostAnswer
from millrace.tasks.errors import BudgetReached, ProviderUnavailable, Throttled, Transient

PRICE = 0.0005


def settled(cap_cny: float) -> Budget:
    """A budget that knows that the provider counts as we do."""
    budget = Budget(cap_cny, PRICE)
    budget.settle(budget.reserve(0), 0, counted=1)
    return budget


def test_a_cap_lets_exactly_its_tokens_through() -> None:
    budget = settled(0.005)
    for _ in range(10):
        budget.settle(budget.reserve(1_000), 1_000, counted=1_000)
    assert (budget.spent_tokens, budget.remaining_tokens) == (10_000, 0)
    with pytest.raises(BudgetReached, match=r"0.005000 of 0.005 yuan"):
        budget.reserve(1)


def test_what_is_under_way_is_held_against_the_cap() -> None:
    budget = settled(0.001)
    reserved = budget.reserve(1_500)
    assert not budget.fits(501)
    budget.settle(reserved, 0)
    assert budget.fits(2_000)


def test_a_tenth_is_kept_in_hand_until_an_answer_has_shown_how_the_provider_counts() -> None:
    budget = Budget(0.001, PRICE)
    assert not budget.fits(1_900)
    budget.settle(budget.reserve(1_000), 1_000, counted=1_000)
    assert budget.fits(1_000)


def test_drift_between_our_count_and_the_bill_is_held_against_the_cap() -> None:
    budget = Budget(0.01, PRICE)
    budget.settle(budget.reserve(1_000), 1_200, counted=1_000)
    assert not budget.fits(15_600)
    assert budget.fits(15_500)


@given(st.lists(st.tuples(st.integers(1, 20_000), st.floats(0.5, 1.0)), max_size=60), st.floats(0, 0.1))
def test_no_order_of_reserving_and_settling_passes_the_cap(requests: list[tuple[int, float]], cap: float) -> None:
    budget = Budget(cap, PRICE)
    under_way: list[tuple[Fraction, int, int]] = []
    for tokens, drift in requests:
        if budget.fits(tokens):
            under_way.append((budget.reserve(tokens), int(tokens * drift), tokens))
        if len(under_way) > 3:
            reserved, billed, counted = under_way.pop(0)
            budget.settle(reserved, billed, counted=counted)
    for reserved, billed, counted in under_way:
        budget.settle(reserved, billed, counted=counted)
    assert usage.cost_cny(budget.spent_tokens, PRICE) <= cap


@pytest.mark.parametrize("budget", [Budget(None, PRICE), Budget(0.0, 0.0)])
def test_without_a_cap_or_a_price_nothing_is_refused(budget: Budget) -> None:
    assert budget.fits(10**15)


@pytest.mark.parametrize(
    ("failure", "cost", "billed", "in_doubt"),
    [
        (Throttled("", limit="tokens"), 0, 0, 0),
        (ProviderUnavailable(""), 0, 0, 0),
        (LostAnswer(""), 100, 0, 100),
        (BilledInvalidResponse("", billed_tokens=90), 90, 90, 0),
        (BilledInvalidResponse("", billed_tokens=None), 100, 0, 100),
    ],
)
def test_a_failed_try_costs_what_it_was_billed_or_may_have_been(
    failure: Transient, cost: int, billed: int, in_doubt: int
) -> None:
    counters = Usage(price_cny_per_1k_tokens=PRICE)
    assert counters.record_failure(failure, 100) == cost
    assert (counters.tokens_billed, counters.tokens_in_doubt) == (billed, in_doubt)
    assert counters.cost_cny == pytest.approx(billed * PRICE / 1000)
    assert counters.requests_throttled + counters.unavailable + counters.invalid_responses == 1


@given(st.integers(0, 10**6), st.lists(st.integers(0, 9_000), min_size=1, max_size=25))
def test_a_bill_is_shared_out_whole_and_in_proportion(billed: int, counted: list[int]) -> None:
    shares = split_tokens(billed, counted)
    total = sum(counted)
    assert sum(shares) == (billed if total else 0)
    if total:
        assert all(abs(share - billed * count / total) <= 1 for share, count in zip(shares, counted, strict=True))


def test_examples() -> None:
    assert doctest.testmod(usage).failed == 0
