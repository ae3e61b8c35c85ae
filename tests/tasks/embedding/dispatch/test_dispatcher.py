"""What the dispatcher buys, packs, pays and keeps when all goes well, and when it is broken off."""

from __future__ import annotations

import asyncio

import pytest

from millrace.tasks.embedding.dispatch.queue import Outcome, Text
from millrace.tasks.embedding.dispatch.retry_policy import RetryPolicy
from millrace.tasks.embedding.dispatch.usage import Budget
from millrace.tasks.embedding.providers.client import LostAnswer
from millrace.tasks.embedding.rate_limit.limiter import RateLimiter
from millrace.tasks.embedding.rate_limit.virtual_time import now, run
from millrace.tasks.errors import BudgetReached, RunStopped, TextsRefused
from tests.tasks.embedding.fakes import Scene, item, items, sparse_of

PRICE = 0.0005


# What is bought


def test_every_text_gets_its_own_vector_and_its_share_of_the_bill() -> None:
    scene = Scene()
    texts = items(95)
    assert run(scene.buy(texts)) == [None] * 95
    assert scene.sink.holds(texts)
    assert {billed for _, billed in scene.sink.rows.values()} == {10}
    assert (scene.usage.texts_embedded, scene.usage.tokens_counted, scene.usage.tokens_billed) == (95, 950, 950)


def test_sparse_vectors_become_durable_with_their_texts() -> None:
    scene = Scene()
    scene.client.sparse = True
    texts = [item("t" * length) for length in range(1, 25)]
    run(scene.buy(texts))
    assert scene.sink.holds(texts)
    assert scene.sink.sparse == {one.key: sparse_of(one.text) for one in texts}


def test_requests_are_packed_full_across_callers() -> None:
    scene = Scene()

    async def story() -> None:
        async with scene.dispatcher() as dispatcher:

            async def document(texts: list[Text]) -> None:
                await asyncio.gather(*[await dispatcher.submit(text) for text in texts])

            every = items(303)
            documents = [asyncio.create_task(document(every[start : start + 3])) for start in range(0, 303, 3)]
            await asyncio.sleep(0.5)
            dispatcher.flush()
            await asyncio.gather(*documents)

    run(story())
    assert scene.sizes() == [10] * 30 + [3]


def test_the_token_budget_of_a_request_is_kept() -> None:
    scene = Scene(options={"tokens_per_request": 100})
    run(scene.buy(items(10, tokens=40)))
    assert scene.sizes() == [2] * 5


def test_a_text_that_is_under_way_is_not_bought_twice() -> None:
    scene = Scene()
    assert run(scene.buy([item("same")] * 7 + [item("other")])) == [None] * 8
    assert scene.sizes() == [2]


def test_whoever_gives_up_waiting_takes_nothing_from_others_who_wait_for_the_same_text() -> None:
    scene = Scene()

    async def story() -> Outcome:
        async with scene.dispatcher() as dispatcher:
            first, second = [await dispatcher.submit(item("same")) for _ in range(2)]
            first.cancel()
            dispatcher.flush()
            return await second

    assert run(story()) is None


def test_a_text_counts_only_when_it_is_on_disk() -> None:
    scene = Scene()
    scene.sink.fsync_s = 5.0

    async def story() -> bool:
        async with scene.dispatcher() as dispatcher:
            future = await dispatcher.submit(item("a"))
            dispatcher.flush()
            await asyncio.sleep(5.0)
            assert scene.client.answered == 1
            return future.done()

    assert run(story()) is False


def test_a_blank_text_is_refused_without_a_request() -> None:
    scene = Scene()
    blank, _ = run(scene.buy([item(" \n\u3000"), item("a")]))
    assert isinstance(blank, TextsRefused)
    assert blank.reason == "text_empty"
    assert scene.sizes() == [1]


# Partial requests


def test_a_partial_request_waits_for_more_texts_while_others_are_under_way() -> None:
    scene = Scene()
    scene.client.latency_s = 30.0

    async def story() -> None:
        async with scene.dispatcher() as dispatcher:
            for text in items(13):
                await dispatcher.submit(text)
            await asyncio.sleep(20)
            for text in items(20)[13:]:
                await dispatcher.submit(text)
            await dispatcher.drain()

    run(story())
    assert scene.sizes() == [10, 10]


def test_a_caller_that_waits_before_it_brings_more_is_not_stuck() -> None:
    scene = Scene()

    async def story() -> float:
        async with scene.dispatcher() as dispatcher:
            for text in items(3):
                await (await dispatcher.submit(text))
            return now()

    assert run(story()) == pytest.approx(3 * (1.0 + 0.1 + 0.01))
    assert scene.sizes() == [1, 1, 1]


def test_texts_that_trickle_in_are_still_packed_full() -> None:
    scene = Scene()

    async def story() -> None:
        async with scene.dispatcher() as dispatcher:
            for text in items(50):
                await dispatcher.submit(text)
                await asyncio.sleep(0.9)
            await dispatcher.drain()

    run(story())
    assert scene.sizes() == [10] * 5


def test_submitting_waits_while_too_many_texts_wait() -> None:
    scene = Scene(options={"max_in_flight": 2})
    scene.client.latency_s = 1.0

    async def story() -> tuple[int, float]:
        async with scene.dispatcher() as dispatcher:
            most = 0
            for text in items(1_000):
                await dispatcher.submit(text)
                most = max(most, dispatcher.activity.texts_waiting)
            return most, now()

    most, submitted_at = run(story())
    assert most <= 40
    assert submitted_at > 40
    assert scene.client.most_at_once == 2


# Money


def test_the_cap_is_never_passed_and_what_it_pays_for_is_bought() -> None:
    budget = Budget(0.5 * 1_000 * 10 * PRICE / 1_000, PRICE)
    scene = Scene(options={"budget": budget})
    with pytest.raises(BudgetReached):
        run(scene.buy(items(1_000)))
    assert (budget.spent_tokens, len(scene.sink.rows)) == (5_000, 500)


def test_two_runs_under_half_the_price_buy_the_corpus_once() -> None:
    texts = items(1_000)
    first = Scene(options={"budget": Budget(0.0025, PRICE)})
    with pytest.raises(BudgetReached):
        run(first.buy(texts))
    second = Scene(options={"budget": Budget(0.0025, PRICE)})
    run(second.buy([text for text in texts if text.key not in first.sink.rows]))
    assert first.client.answered + second.client.answered == 100


def test_lost_answers_count_against_the_cap() -> None:
    budget = Budget(0.00025, PRICE)
    scene = Scene(lambda texts, number: LostAnswer("time-out") if number % 2 else None, {"budget": budget})
    with pytest.raises(BudgetReached):
        run(scene.buy(items(100)))
    assert budget.spent_tokens <= 500
    assert scene.usage.tokens_billed + scene.usage.tokens_in_doubt == budget.spent_tokens


# Breaking off


def test_breaking_off_keeps_what_was_under_way_and_sends_nothing_more() -> None:
    scene = Scene(options={"limiter": RateLimiter(tokens_per_second=500)})
    scene.client.latency_s = 2.0

    async def story() -> tuple[float, int]:
        task = asyncio.create_task(scene.buy(items(10_000)))
        await asyncio.sleep(5.1)
        sent = len(scene.client.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return now(), sent

    ended_at, sent = run(story())
    assert ended_at < 5.1 + 2.1
    assert len(scene.client.requests) == scene.client.answered == sent
    assert len(scene.sink.rows) == 10 * sent


def test_breaking_off_does_not_wait_longer_than_its_grace() -> None:
    scene = Scene(options={"retry_policy": RetryPolicy(grace_s=3.0)})
    scene.client.latency_s = 60.0

    async def story() -> float:
        async with asyncio.timeout(100):
            dispatcher = scene.dispatcher()
            future = await dispatcher.submit(item("a"))
            dispatcher.flush()
            await asyncio.sleep(1.0)
            await dispatcher.close()
            with pytest.raises(RunStopped, match="interrupted"):
                await future
            return now()

    assert run(story()) == pytest.approx(4.0)
