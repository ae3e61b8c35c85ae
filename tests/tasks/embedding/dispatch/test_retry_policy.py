from __future__ import annotations

import pytest

from millrace.tasks.embedding.dispatch.retry_policy import ProviderHealth, RetryPolicy
from millrace.tasks.embedding.providers.client import BilledInvalidResponse, LostAnswer, Unreachable
from millrace.tasks.errors import ProviderUnavailable, TextsRefused

DOWN = ProviderUnavailable("503")
REFUSED = Unreachable("connection refused")
USELESS = BilledInvalidResponse("2 texts were sent and 1 items came back", billed_tokens=5)


def test_waits_double_up_to_a_minute_and_are_spread() -> None:
    retry_policy = RetryPolicy()
    for tries, longest in enumerate([0.5, 1, 2, 4, 8, 16, 32, 60, 60], start=1):
        waits = [retry_policy.backoff_s(tries) for _ in range(50)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
    assert retry_policy.backoff_s(10_000) <= 60


def test_failures_of_requests_that_were_under_way_together_are_one_round() -> None:
    health = ProviderHealth(RetryPolicy())
    for _ in range(50):
        health.failed(DOWN, now=1.0, sent_at=0.0)
    assert not health.circuit_open
    assert health.pause_s() == 0.0


def test_three_rounds_without_an_answer_are_an_outage_and_an_answer_ends_it() -> None:
    health = ProviderHealth(RetryPolicy())
    for round_number in range(3):
        health.failed(DOWN, now=round_number + 1.0, sent_at=round_number + 0.5)
    assert health.circuit_open
    assert health.pause_s() > 0.0
    health.answered(10.0)
    assert not health.circuit_open
    assert health.pause_s() == 0.0


def test_a_provider_that_was_never_reached_is_given_up_after_some_tries_and_some_time() -> None:
    health = ProviderHealth(RetryPolicy(give_up_tries=5, give_up_s=15))
    stops = [health.failed(REFUSED, now=now, sent_at=now) for now in (0.0, 1.0, 3.0, 7.0, 14.0, 15.0)]
    assert stops[:-1] == [None] * 5
    assert "no answer in 6 tries over 15 s, and none before: connection refused" in str(stops[-1])


def test_many_tries_in_a_moment_are_not_enough_to_give_up() -> None:
    health = ProviderHealth(RetryPolicy(give_up_tries=5, give_up_s=15))
    assert all(health.failed(REFUSED, now=1.0, sent_at=0.0) is None for _ in range(60))


@pytest.mark.parametrize("sign_of_life", ["answer", "error"])
def test_a_provider_that_was_reached_once_is_waited_for_without_end(sign_of_life: str) -> None:
    health = ProviderHealth(RetryPolicy())
    if sign_of_life == "answer":
        health.answered(0.0)
    else:
        health.failed(DOWN, now=0.0, sent_at=0.0)
    assert all(health.failed(REFUSED, now=60.0 * n, sent_at=60.0 * n) is None for n in range(1, 100))


def test_nothing_but_useless_answers_stops_the_run() -> None:
    health = ProviderHealth(RetryPolicy(max_unusable_rounds=3))
    assert all(health.failed(USELESS, now=1.0, sent_at=0.0) is None for _ in range(20))
    assert health.failed(USELESS, now=2.0, sent_at=1.5) is None
    assert "1 items came back" in str(health.failed(USELESS, now=3.0, sent_at=2.5))


def test_a_usable_answer_between_useless_ones_starts_the_count_anew() -> None:
    health = ProviderHealth(RetryPolicy(max_unusable_rounds=3))
    for number in range(50):
        assert health.failed(USELESS, now=number + 0.4, sent_at=number) is None
        health.answered(number + 0.5)


def refusal(reason: str) -> TextsRefused:
    return TextsRefused("HTTP 400", reason=reason, remedy="")


def test_unexplained_refusals_stop_a_run_that_never_had_an_answer_and_no_other() -> None:
    fresh, proven, explained = (ProviderHealth(RetryPolicy(max_unusable_rounds=3)) for _ in range(3))
    proven.answered(0.0)
    output = [
        [
            health.refused(refusal(reason), now=now, sent_at=now) is not None
            for now in (1.0, 2.0, 3.0)
        ]
        for health, reason in (
            (fresh, "refused_by_provider"),
            (proven, "refused_by_provider"),
            (explained, "content_inspection"),
        )
    ]  # fmt: skip
    assert output == [[False, False, True], [False, False, False], [False, False, False]]


def test_lost_answers_in_a_row_stop_the_run_because_each_may_be_billed() -> None:
    health = ProviderHealth(RetryPolicy(max_lost_rounds=5))
    lost = LostAnswer("the answer was lost")
    health.answered(0.0)
    assert all(health.failed(lost, now=n + 1.0, sent_at=float(n)) is None for n in range(4))
    health.answered(5.0)
    stops = [health.failed(lost, now=n + 1.0, sent_at=float(n)) for n in range(6, 11)]
    assert stops[:-1] == [None] * 4
    assert "5 times in a row no whole answer, and each may be billed" in str(stops[-1])


def test_an_error_between_lost_answers_is_a_sign_of_an_outage_which_is_waited_for() -> None:
    health = ProviderHealth(RetryPolicy(max_lost_rounds=3))
    failures = [LostAnswer("lost"), LostAnswer("lost"), DOWN] * 20
    assert all(health.failed(one, now=n + 1.0, sent_at=float(n)) is None for n, one in enumerate(failures))
