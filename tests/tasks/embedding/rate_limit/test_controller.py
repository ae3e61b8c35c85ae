"""The pacing against an account with the published limits, in virtual time: how near the ceiling, how many 429s."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from millrace.tasks.embedding.rate_limit.limiter import LearnedLimits, RateLimiter
from millrace.tasks.embedding.rate_limit.virtual_time import run
from tests.simulator.limits import Limits, WindowKind
from tests.tasks.embedding.account import Account, beijing, beijing_limiter, buy, corpus, embedded

QUICK, SLOW = (0.15, 0.05), (0.6, 0.2)
CEILING = 20_000


def even(draws: random.Random) -> float:
    return 401


def round_number(draws: random.Random) -> float:
    return 400


def uneven(draws: random.Random) -> float:
    return draws.uniform(300, 500)


@pytest.mark.parametrize("latency", [QUICK, SLOW])
@pytest.mark.parametrize("tokens", [even, round_number, uneven])
def test_limits_kept_as_buckets_are_used_to_the_full_without_a_refusal(
    latency: tuple[float, float], tokens: Callable[[random.Random], float]
) -> None:
    account, texts = Account(beijing("bucket"), *latency), corpus(2_000, tokens)
    took = embedded(account, texts)
    assert account.refused == []
    assert took <= 1.03 * sum(text.tokens for text in texts) / CEILING
    assert account.rate(5, took - 2) >= 0.97 * CEILING


@pytest.mark.parametrize("latency", [QUICK, SLOW])
@pytest.mark.parametrize("window", ["fixed", "sliding"])
@pytest.mark.parametrize("tokens", [even, round_number, uneven])
@pytest.mark.parametrize("refusal_s", [0.0, 0.4])
def test_whole_seconds_are_found_out_and_filled(
    latency: tuple[float, float], window: WindowKind, tokens: Callable[[random.Random], float], refusal_s: float
) -> None:
    account, texts = Account(beijing(window), *latency, refusal_s=refusal_s), corpus(2_000, tokens)
    took = embedded(account, texts)
    assert account.refused_share() < 0.015
    assert took <= 1.08 * sum(text.tokens for text in texts) / CEILING


@pytest.mark.parametrize("window", ["bucket", "fixed", "sliding"])
def test_requests_that_arrive_unevenly_are_still_mostly_let_through(window: WindowKind) -> None:
    account, texts = Account(beijing(window), *QUICK, uplink=0.5), corpus()
    took = embedded(account, texts)
    assert account.refused_share() < 0.04
    assert took <= 1.35 * sum(text.tokens for text in texts) / CEILING


@pytest.mark.parametrize("latency", [QUICK, SLOW])
@pytest.mark.parametrize("window", ["bucket", "fixed", "sliding"])
def test_limits_that_are_halved_in_mid_run_are_found_and_found_again_when_they_are_restored(
    latency: tuple[float, float], window: WindowKind
) -> None:
    account = Account(beijing(window), *latency, changes={15.0: beijing(window, 0.5), 35.0: beijing(window)})
    embedded(account, corpus(2_600))
    assert account.refused_share(25, 35) < 0.03
    assert account.rate(25, 35) >= 0.75 * CEILING / 2
    assert account.rate(50, 58) >= 0.9 * CEILING


@pytest.mark.parametrize("window", ["bucket", "fixed", "sliding"])
def test_small_texts_come_near_the_limit_of_requests(window: WindowKind) -> None:
    account, texts = Account(beijing(window)), corpus(9_000, lambda draws: draws.uniform(20, 40))
    took = embedded(account, texts)
    assert account.refused_share() < 0.01
    assert took <= 1.12 * len(texts) / 10 / 30


@pytest.mark.parametrize(("limit", "refused"), [(1_000.0, 0.2), (5_000.0, 0.05), (20_000.0, 0.05)])
def test_limits_that_nobody_knows_are_found(limit: float, refused: float) -> None:
    account = Account(Limits(tokens_per_second=limit))
    texts = corpus(int(limit) // 8, lambda draws: draws.uniform(300, 500))
    took = embedded(account, texts, RateLimiter)
    half = took / 2
    assert account.refused_share(half) < refused
    assert account.rate(half, took - 2) >= 0.7 * limit


def test_two_who_do_not_know_of_each_other_share_the_account() -> None:
    account = Account(beijing("bucket"))

    async def story() -> tuple[float, float]:
        texts = corpus(3_000)
        return await asyncio.gather(
            buy(account, texts[:1_500], beijing_limiter()), buy(account, texts[1_500:], beijing_limiter())
        )

    first, second = sorted(run(story()))
    assert account.refused_share(15, first) < 0.06
    assert account.rate(15, first) >= 0.85 * CEILING
    assert second <= 1.4 * first


def test_what_was_learned_spares_the_next_run_the_refusals() -> None:
    async def story(limiter: RateLimiter, account: Account) -> LearnedLimits:
        await buy(account, corpus(600), limiter)
        return limiter.learned

    half = beijing("sliding", 0.5)
    first, second = Account(half), Account(half)
    learned = run(story(beijing_limiter(), first))
    run(story(beijing_limiter(learned=LearnedLimits.from_values(learned.as_values())), second))
    assert 9_000 < learned.tokens_per_second < 13_000
    assert learned.whole_seconds_s > 0
    assert len(second.refused) <= 3 < len(first.refused)


def test_a_memory_that_is_stale_does_not_slow_a_run_down_for_long() -> None:
    stale = LearnedLimits(tokens_per_second=500.0, requests_per_second=1.0, whole_seconds_s=3_600.0)
    account = Account(beijing("bucket"))
    embedded(account, corpus(1_000), lambda: beijing_limiter(learned=stale))
    assert account.rate(30, 35) >= 0.9 * CEILING
    assert account.refused_share() < 0.02


def test_what_is_no_memory_is_no_error() -> None:
    learned = LearnedLimits.from_values({"tokens_per_second": "many", "growth_per_s": float("nan"), "of": 3})
    assert learned == LearnedLimits()


@pytest.mark.parametrize(
    "memory",
    [
        {"tokens_per_second": 1e-9},
        {"requests_per_second": 1e-300},
        {"tokens_per_second": 1e-9, "requests_per_second": 1e-9, "growth_per_s": 1e-9, "whole_seconds_s": 1e9},
    ],
)
def test_a_memory_of_nearly_nothing_is_not_obeyed_for_long(memory: dict[str, float]) -> None:
    account = Account(beijing("bucket"))
    took = embedded(account, corpus(3_000), lambda: beijing_limiter(learned=LearnedLimits.from_values(memory)))
    assert took < 3_000 * 401 / 20_000 + 150
    assert account.rate(took - 10, took - 2) >= 0.9 * CEILING


def test_refusals_of_nearly_everything_for_a_while_leave_no_rate_of_nearly_nothing() -> None:
    async def story() -> tuple[float, float]:
        limiter = RateLimiter(requests_per_second=30, tokens_per_second=20_000)
        for _ in range(400):
            # One gets through, so that the next refusal teaches something, and everything after it is refused.
            limiter.answered(sent_at=await limiter.acquire(400))
            limiter.refused("unknown", sent_at=await limiter.acquire(400), tokens=400)
        lowest = limiter.rates[1]
        for _ in range(40):
            limiter.answered(sent_at=await limiter.acquire(400))
        await asyncio.sleep(30.0)
        return lowest, limiter.rates[1]

    lowest, later = run(story())
    assert lowest >= 100.0
    assert later == 20_000
