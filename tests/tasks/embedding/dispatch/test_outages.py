"""A provider that gives nothing for a minute or more, under its usual limits: waited out, and full speed after it."""

from __future__ import annotations

import pytest

from tests.simulator.limits import Limits
from tests.tasks.embedding.account import Account, beijing, corpus, embedded

NOTHING = Limits(requests_per_second=1e-6, tokens_per_second=1.0, refuse_oversize=True)


@pytest.mark.parametrize("latency", [(0.15, 0.05), (0.6, 0.2)])
def test_a_whole_minute_of_429_is_waited_out_with_few_requests_and_full_speed_comes_back(
    latency: tuple[float, float],
) -> None:
    account = Account(beijing("bucket"), *latency, changes={15.0: NOTHING, 75.0: beijing("bucket")})
    took = embedded(account, corpus(3_000))
    assert len(account.refused) < 30
    assert account.rate(105, took - 2) >= 0.9 * 20_000


def test_a_minute_that_is_used_up_is_waited_for() -> None:
    """Another program of the account has used most of the minute before the run begins."""
    account = Account(Limits(tokens_per_minute=1_200_000, minute_window="fixed"))
    account.limiter.decide(0.0, 1, 1_100_000)

    took = embedded(account, corpus(1_500))
    assert account.refused_share() < 0.15
    assert took <= 60 + 501_500 / 20_000 + 25
