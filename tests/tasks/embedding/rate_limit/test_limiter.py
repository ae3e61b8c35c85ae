from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from millrace.tasks.embedding.rate_limit.adaptive_rate import HOLD_REQUESTS
from millrace.tasks.embedding.rate_limit.limiter import RateLimiter
from millrace.tasks.embedding.rate_limit.virtual_time import now, run
from millrace.tasks.embedding.rate_limit.windows import BURST_S
from tests.simulator.limits import Limiter, Limits, WindowKind


def beijing() -> RateLimiter:
    return RateLimiter(
        requests_per_second=30, tokens_per_second=20_000, requests_per_minute=1_800, tokens_per_minute=1_200_000
    )


async def grants(limiter: RateLimiter, requests: list[int]) -> list[float]:
    return [await limiter.acquire(tokens) for tokens in requests]


def test_without_limits_nobody_waits() -> None:
    assert run(grants(RateLimiter(), [1_000_000] * 100)) == [0.0] * 100


def test_the_first_request_waits_because_the_bucket_starts_empty() -> None:
    (first,) = run(grants(RateLimiter(tokens_per_second=20_000), [4_000]))
    assert first == pytest.approx(0.2)


def test_requests_are_spread_evenly_at_the_token_rate() -> None:
    times = run(grants(beijing(), [4_000] * 100))
    assert [after - before for before, after in pairwise(times)][10:] == [pytest.approx(0.2)] * 89


def test_the_steady_rate_is_the_ceiling() -> None:
    times = run(grants(beijing(), [4_010] * 400))
    assert 4_010 * 400 / (times[-1] + 4_010 / 20_000) >= 0.99 * 20_000


def test_the_request_rate_grows_from_nothing() -> None:
    times = run(grants(RateLimiter(requests_per_second=30), [10] * 200))
    seconds = [sum(second <= time < second + 1 for time in times) for second in range(6)]
    assert seconds[0] == 8
    assert all(after - before <= 9 for before, after in pairwise([0, *seconds]))
    assert 29 <= seconds[-1] <= 31


def test_a_quiet_minute_does_not_save_up_a_burst() -> None:
    async def story() -> list[float]:
        limiter = beijing()
        await grants(limiter, [100] * 300)
        await asyncio.sleep(60)
        began = now()
        return [time - began for time in await grants(limiter, [100] * 60)]

    times = run(story())
    assert sum(time < 1 for time in times) <= 10


def test_a_request_larger_than_a_second_goes_and_the_next_one_pays() -> None:
    first, second = run(grants(RateLimiter(tokens_per_second=20_000), [80_000, 1]))
    assert first == pytest.approx(BURST_S)
    assert second == pytest.approx(80_000 / 20_000, abs=0.01)


def test_leave_is_given_in_the_order_it_was_asked_for() -> None:
    async def story() -> list[int]:
        limiter, order = RateLimiter(tokens_per_second=100), list[int]()

        async def one(number: int, tokens: int) -> None:
            await limiter.acquire(tokens)
            order.append(number)

        await asyncio.gather(*(one(number, tokens) for number, tokens in enumerate([90, 1, 400, 1, 50])))
        return order

    assert run(story()) == [0, 1, 2, 3, 4]


def test_whoever_gives_up_waiting_takes_no_leave_with_them() -> None:
    async def story() -> float:
        limiter = RateLimiter(tokens_per_second=100)
        impatient = asyncio.create_task(limiter.acquire(50))
        await asyncio.sleep(0.1)
        impatient.cancel()
        return await limiter.acquire(20)

    assert run(story()) == pytest.approx(0.2)


@pytest.mark.parametrize("limits", [(60.0, 0.0), (0.0, 6_000.0)])
def test_no_minute_holds_more_than_its_limit_wherever_it_begins(limits: tuple[float, float]) -> None:
    requests, tokens = limits
    times = run(grants(RateLimiter(requests_per_minute=requests, tokens_per_minute=tokens), [100] * 300))
    assert all(sum(start <= time < start + 60 for time in times) <= 60 for start in times)


@pytest.mark.parametrize("tokens", [100, 667, 4_010, 19_000])
@pytest.mark.parametrize("minute_window", ["bucket", "fixed", "sliding"])
def test_the_published_limits_and_growth_refuse_nothing(tokens: int, minute_window: WindowKind) -> None:
    account = Limiter(Limits.beijing().model_copy(update={"minute_window": minute_window}))

    async def story() -> list[str | None]:
        limiter = beijing()
        return [
            account.decide(await limiter.acquire(tokens), 1, tokens) for _ in range(4_000 if tokens < 1_000 else 600)
        ]

    assert set(run(story())) == {None}


def test_a_refused_rate_is_lowered_once_for_all_that_were_sent_under_it() -> None:
    async def story() -> list[float]:
        limiter = RateLimiter(tokens_per_second=1_000)
        sent = [await limiter.acquire(100) for _ in range(5)]
        shares = []
        for at in sent:
            limiter.refused("tokens", sent_at=at, tokens=100)
            shares.append(limiter.shares[1])
        return shares

    assert run(story()) == [0.5] * 5


def test_a_lowered_rate_comes_back_step_by_step_until_it_is_whole_again() -> None:
    async def story() -> list[float]:
        limiter = RateLimiter(tokens_per_second=1_000)
        for _ in range(8):
            at = await limiter.acquire(100)
        limiter.refused("tokens", sent_at=at, tokens=100)
        shares = [limiter.shares[1]]
        for _ in range(HOLD_REQUESTS):
            limiter.answered(sent_at=now())
        for seconds in (2, 3, 2, 2, 9):
            await asyncio.sleep(seconds)
            shares.append(limiter.shares[1])
        return shares

    at_once, back, reserved, past, *_, whole = run(story())
    assert at_once == pytest.approx(0.7)
    assert at_once < back < reserved + 1e-9 < past < 1.0
    assert whole == 1.0


def test_only_the_limit_that_was_named_is_lowered() -> None:
    async def story() -> tuple[float, float]:
        limiter = beijing()
        limiter.refused("requests", sent_at=await limiter.acquire(100), tokens=100)
        return limiter.shares

    assert run(story()) == (0.5, 1.0)


def test_a_refusal_that_whole_seconds_explain_lowers_nothing_and_no_second_holds_more_than_the_limit_after_it() -> None:
    async def story() -> tuple[tuple[float, float], list[float]]:
        limiter = RateLimiter(tokens_per_second=1_000)
        sent = [await limiter.acquire(210) for _ in range(10)]
        limiter.refused("tokens", sent_at=sent[-1], tokens=210)
        return limiter.shares, await grants(limiter, [210] * 40)

    shares, times = run(story())
    assert shares == (1.0, 1.0)
    assert max(sum(start <= time < start + 1 for time in times) for start in times) == 4


def test_requests_are_made_small_where_seconds_are_whole_so_that_they_fill_them() -> None:
    async def story() -> list[int]:
        limiter = beijing()
        sizes = [limiter.tokens_per_request(401)]
        limiter.refused("tokens", sent_at=await limiter.acquire(19_000), tokens=19_000)
        for _ in range(8):
            sizes.append(limiter.tokens_per_request(401))
            await limiter.acquire(sizes[-1] // 401 * 401)
        return sizes

    free, *sizes = run(story())
    assert free == 0
    assert all(401 <= size <= 3_000 for size in sizes)


def test_while_nothing_gets_through_there_is_nothing_to_learn_about_the_rate() -> None:
    async def story() -> tuple[float, float]:
        limiter = RateLimiter(tokens_per_second=1_000)
        limiter.refused("tokens", sent_at=await limiter.acquire(100), tokens=100)
        once = limiter.shares[1]
        for _ in range(20):
            limiter.refused("tokens", sent_at=await limiter.acquire(100), tokens=100)
        return once, limiter.shares[1]

    once, later = run(story())
    assert once == 0.5
    assert later >= once


def test_a_share_of_the_account_is_a_share_of_every_limit() -> None:
    async def story() -> tuple[float, float]:
        limiter = RateLimiter(tokens_per_second=1_000)
        limiter.set_share(0.25)
        quarter = (await grants(limiter, [100] * 20))[-1]
        limiter.set_share(0.5)
        began = now()
        return quarter, (await grants(limiter, [100] * 20))[-1] - began

    quarter, half = run(story())
    assert quarter == pytest.approx(8.0, abs=0.3)
    assert half == pytest.approx(4.0, abs=0.3)


def test_a_pause_holds_everything_up_and_can_end_early() -> None:
    async def story() -> float:
        limiter = RateLimiter()
        limiter.pause_until(60.0)
        waiting = asyncio.create_task(limiter.acquire(1))
        await asyncio.sleep(5)
        assert limiter.waiting_for == "pause"
        limiter.resume()
        return await waiting

    assert run(story()) == pytest.approx(5.0, abs=1.0)
