from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulator.limits import Limiter, Limits, WindowKind

KINDS: tuple[WindowKind, ...] = ("bucket", "fixed", "sliding")

arrivals = st.lists(
    st.tuples(st.integers(0, 900), st.integers(1, 60)), min_size=1, max_size=60
)  # (milliseconds since the one before, tokens)


def accepted(limits: Limits, gaps: list[tuple[int, int]]) -> list[tuple[float, int]]:
    """When and with how many tokens requests were accepted."""
    limiter = Limiter(limits)
    milliseconds, passed = 0, []
    for gap, tokens in gaps:
        milliseconds += gap
        if limiter.decide(milliseconds / 1000, 1, tokens) is None:
            passed.append((milliseconds / 1000, tokens))
    return passed


@given(arrivals)
def test_a_sliding_window_never_holds_more_than_its_limit(gaps: list[tuple[int, int]]) -> None:
    passed = accepted(Limits(tokens_per_second=100, second_window="sliding"), gaps)
    for end, _ in passed:
        assert sum(tokens for when, tokens in passed if end - 1 + 1e-5 < when <= end) <= 100


@given(arrivals)
def test_a_fixed_window_never_holds_more_than_its_limit(gaps: list[tuple[int, int]]) -> None:
    passed = accepted(Limits(tokens_per_second=100, second_window="fixed"), gaps)
    for second in {int(when) for when, _ in passed}:
        assert sum(tokens for when, tokens in passed if int(when) == second) <= 100


@given(arrivals)
def test_a_bucket_never_gives_more_than_its_content_and_what_flowed_in(gaps: list[tuple[int, int]]) -> None:
    passed = accepted(Limits(tokens_per_second=100), gaps)
    for first, (start, _) in enumerate(passed):
        for last in range(first, len(passed)):
            given_out = sum(tokens for _, tokens in passed[first : last + 1])
            assert given_out <= 100 + 100 * (passed[last][0] - start) + 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_at_the_published_ceiling_is_never_refused_for_an_hour(kind: WindowKind) -> None:
    limits = Limits.beijing().model_copy(
        update={"growth_per_second": None, "second_window": kind, "minute_window": kind}
    )
    limiter = Limiter(limits)
    # 25 requests/s of 800 tokens: exactly 20,000 tokens/s, in the middle between two ticks of the window.
    assert {limiter.decide(number / 25 + 0.02, 1, 800) for number in range(3600 * 25)} == {None}


@pytest.mark.parametrize(
    ("limits", "tokens", "expected"),
    [
        (Limits(requests_per_second=1), 1, "requests_per_second"),
        (Limits(requests_per_minute=1), 1, "requests_per_minute"),
        (Limits(tokens_per_second=100), 60, "tokens_per_second"),
        (Limits(tokens_per_minute=6000), 60, "tokens_per_minute"),
        (Limits(growth_per_second=1), 1, "growth_per_second"),
    ],
)
def test_a_refusal_names_the_limit_that_was_hit(limits: Limits, tokens: int, expected: str) -> None:
    limiter = Limiter(limits)
    assert [limiter.decide(10.0, 1, tokens), limiter.decide(10.1, 1, tokens)] == [None, expected]


def test_a_refused_request_takes_nothing_from_the_other_limits() -> None:
    limiter = Limiter(Limits(requests_per_second=2, tokens_per_second=100, second_window="fixed"))
    decisions = [limiter.decide(0.0, 1, tokens) for tokens in (60, 60, 40)]
    assert decisions == [None, "tokens_per_second", None]


def test_refused_requests_count_when_so_set_so_that_hammering_never_gets_in() -> None:
    limits = Limits(requests_per_second=2, second_window="sliding", count_refused=True)
    limiter = Limiter(limits)
    hammering = [limiter.decide(number / 10, 1, 0) for number in range(50)]
    assert hammering[:2] == [None, None]
    assert set(hammering[2:]) == {"requests_per_second"}


def test_growth_lets_each_second_hold_ten_more_than_the_one_before() -> None:
    limiter = Limiter(Limits(growth_per_second=10))
    by_second = [0] * 5
    for tick in range(5 * 200):
        if limiter.decide(tick / 200, 1, 0) is None:
            by_second[tick // 200] += 1
    assert by_second == [10, 20, 30, 40, 50]


def test_growth_starts_again_after_two_idle_seconds() -> None:
    limiter = Limiter(Limits(growth_per_second=10))
    for tick in range(1000):
        limiter.decide(tick / 200, 1, 0)
    after_the_pause = [limiter.decide(7.0, 1, 0) for _ in range(11)]
    assert after_the_pause.count(None) == 10


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_bigger_than_a_window_passes_when_idle_and_is_paid_off_after(kind: WindowKind) -> None:
    limiter = Limiter(Limits(tokens_per_second=100, second_window=kind))
    assert limiter.decide(0.0, 1, 300) is None
    refused = [limiter.decide(when, 1, 50) for when in (0.5, 1.5, 2.4)]
    assert refused == ["tokens_per_second"] * 3
    assert limiter.decide(3.1, 1, 50) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_bigger_than_a_window_is_refused_for_ever_when_so_set(kind: WindowKind) -> None:
    limiter = Limiter(Limits(tokens_per_second=100, second_window=kind, refuse_oversize=True))
    assert {limiter.decide(float(when), 1, 101) for when in range(100)} == {"tokens_per_second"}


def test_a_limit_per_minute_as_bucket_holds_one_seconds_worth() -> None:
    limiter = Limiter(Limits(requests_per_minute=120))
    assert [limiter.decide(0.0, 1, 0) for _ in range(3)] == [None, None, "requests_per_minute"]


@pytest.mark.parametrize("kind", KINDS)
def test_halved_limits_bind_at_once_and_keep_what_was_used(kind: WindowKind) -> None:
    limiter = Limiter(Limits(tokens_per_second=100, second_window=kind))
    assert limiter.decide(0.0, 1, 60) is None
    limiter.change(Limits(tokens_per_second=50, second_window=kind))
    assert limiter.decide(0.0, 1, 45) == "tokens_per_second"
    passed = sum(limiter.decide(10 + tick / 10, 1, 10) is None for tick in range(100))
    assert 48 <= passed <= 55
