from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from tasks.embedding.pacing import BURST_S, Pacer
from tests.embedding.virtual_time import now, run
from tests.simulator.limits import Limiter, Limits, WindowKind


def beijing() -> Pacer:
    return Pacer(
        requests_per_second=30, tokens_per_second=20_000, requests_per_minute=1_800, tokens_per_minute=1_200_000
    )


async def grants(pacer: Pacer, requests: list[int]) -> list[float]:
    return [await pacer.acquire(tokens) for tokens in requests]


def test_without_limits_nobody_waits() -> None:
    assert run(grants(Pacer(), [1_000_000] * 100)) == [0.0] * 100


def test_the_first_request_waits_because_the_bucket_starts_empty() -> None:
    (first,) = run(grants(Pacer(tokens_per_second=20_000), [4_000]))
    assert first == pytest.approx(0.2)


def test_requests_are_spread_evenly_at_the_token_rate() -> None:
    times = run(grants(beijing(), [4_000] * 100))
    assert [after - before for before, after in pairwise(times)][10:] == [pytest.approx(0.2)] * 89


def test_the_steady_rate_is_the_ceiling() -> None:
    times = run(grants(beijing(), [4_010] * 400))
    assert 4_010 * 400 / (times[-1] + 4_010 / 20_000) >= 0.99 * 20_000


def test_the_request_rate_grows_from_nothing() -> None:
    times = run(grants(Pacer(requests_per_second=30), [10] * 200))
    seconds = [sum(second <= time < second + 1 for time in times) for second in range(6)]
    assert seconds[0] == 8
    assert all(after - before <= 9 for before, after in pairwise([0, *seconds]))
    assert 29 <= seconds[-1] <= 31


def test_a_quiet_minute_does_not_save_up_a_burst() -> None:
    async def story() -> list[float]:
        pacer = beijing()
        await grants(pacer, [100] * 300)
        await asyncio.sleep(60)
        began = now()
        return [time - began for time in await grants(pacer, [100] * 60)]

    times = run(story())
    assert sum(time < 1 for time in times) <= 10


def test_a_request_larger_than_a_second_goes_and_the_next_one_pays() -> None:
    first, second = run(grants(Pacer(tokens_per_second=20_000), [80_000, 1]))
    assert first == pytest.approx(BURST_S)
    assert second == pytest.approx(80_000 / 20_000, abs=0.01)


def test_leave_is_given_in_the_order_it_was_asked_for() -> None:
    async def story() -> list[int]:
        pacer, order = Pacer(tokens_per_second=100), list[int]()

        async def one(number: int, tokens: int) -> None:
            await pacer.acquire(tokens)
            order.append(number)

        await asyncio.gather(*(one(number, tokens) for number, tokens in enumerate([90, 1, 400, 1, 50])))
        return order

    assert run(story()) == [0, 1, 2, 3, 4]


def test_whoever_gives_up_waiting_takes_no_leave_with_them() -> None:
    async def story() -> float:
        pacer = Pacer(tokens_per_second=100)
        impatient = asyncio.create_task(pacer.acquire(50))
        await asyncio.sleep(0.1)
        impatient.cancel()
        return await pacer.acquire(20)

    assert run(story()) == pytest.approx(0.2)


@pytest.mark.parametrize("limits", [(60.0, 0.0), (0.0, 6_000.0)])
def test_no_minute_holds_more_than_its_limit_wherever_it_begins(limits: tuple[float, float]) -> None:
    requests, tokens = limits
    times = run(grants(Pacer(requests_per_minute=requests, tokens_per_minute=tokens), [100] * 300))
    assert all(sum(start <= time < start + 60 for time in times) <= 60 for start in times)


@pytest.mark.parametrize("tokens", [100, 667, 4_010, 19_000])
@pytest.mark.parametrize("minute_window", ["bucket", "fixed", "sliding"])
def test_the_published_limits_and_growth_refuse_nothing(tokens: int, minute_window: WindowKind) -> None:
    limiter = Limiter(Limits.beijing().model_copy(update={"minute_window": minute_window}))

    async def story() -> list[str | None]:
        pacer = beijing()
        return [limiter.decide(await pacer.acquire(tokens), 1, tokens) for _ in range(4_000 if tokens < 1_000 else 600)]

    assert set(run(story())) == {None}


def test_a_refused_rate_is_lowered_once_for_all_that_were_sent_under_it() -> None:
    async def story() -> list[float]:
        pacer = Pacer(tokens_per_second=1_000)
        sent = [await pacer.acquire(100) for _ in range(5)]
        for at in sent:
            pacer.slow_down("tokens", sent_at=at)
        shares = [pacer.shares[1]]
        await asyncio.sleep(2)
        pacer.slow_down("tokens", sent_at=await pacer.acquire(100))
        return [*shares, pacer.shares[1]]

    assert run(story()) == [pytest.approx(0.8), pytest.approx(0.8 * 0.82, abs=0.01)]


def test_a_lowered_rate_is_probed_upward_until_it_is_whole_again() -> None:
    async def story() -> tuple[float, float]:
        pacer = Pacer(tokens_per_second=1_000)
        await pacer.acquire(100)
        pacer.slow_down("tokens")
        lowered = pacer.shares[1]
        for _ in range(300):
            await pacer.acquire(100)
        return lowered, pacer.shares[1]

    lowered, later = run(story())
    assert lowered == pytest.approx(0.8)
    assert later == 1.0


def test_only_the_limit_that_was_named_is_lowered() -> None:
    async def story() -> tuple[float, float]:
        pacer = beijing()
        await pacer.acquire(100)
        pacer.slow_down("requests")
        return pacer.shares

    requests, tokens = run(story())
    assert requests == pytest.approx(0.8)
    assert tokens == 1.0


def test_a_pause_holds_everything_up_and_can_end_early() -> None:
    async def story() -> float:
        pacer = Pacer()
        pacer.pause_until(60.0)
        waiting = asyncio.create_task(pacer.acquire(1))
        await asyncio.sleep(5)
        assert pacer.waiting_for == "pause"
        pacer.resume()
        return await waiting

    assert run(story()) == pytest.approx(5.0, abs=1.0)
