from __future__ import annotations

import doctest
import math

import pytest

from millrace.tasks.embedding.rate_limit import concurrency
from millrace.tasks.embedding.rate_limit.concurrency import ConcurrencyLimit
from tests.tasks.embedding.account import Account, beijing, corpus, embedded


@pytest.mark.parametrize(("rate", "latency_s"), [(5.0, 0.15), (30.0, 0.6), (30.0, 1.9), (16.0, 3.0)])
def test_there_is_room_for_what_rate_and_latency_need(rate: float, latency_s: float) -> None:
    open_slots = ConcurrencyLimit(most=128)
    open_slots.record(latency_s)
    assert 1.5 * rate * latency_s < open_slots.count(rate) <= 128


def test_a_single_late_answer_makes_room_at_once_and_is_forgotten_in_time() -> None:
    open_slots = ConcurrencyLimit(most=128)
    for seconds in (*[0.1] * 40, 5.0):
        open_slots.record(seconds)
    assert open_slots.count(10.0) == 108
    for _ in range(40):
        open_slots.record(0.1)
    assert open_slots.count(10.0) == 10


def test_without_a_known_rate_the_bound_alone_holds() -> None:
    assert ConcurrencyLimit(most=7).count(math.inf) == 7


@pytest.mark.parametrize("latency_s", [0.05, 1.0, 4.0])
def test_latency_costs_its_own_time_once_and_no_throughput(latency_s: float) -> None:
    account, texts = Account(beijing("bucket"), latency_s, latency_s / 3), corpus(2_000)
    took = embedded(account, texts)
    assert took <= sum(text.tokens for text in texts) / 20_000 * 1.01 + 1.4 * latency_s


def test_examples() -> None:
    assert doctest.testmod(concurrency).failed == 0
