from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from tasks.embedding.bill import Budget
from tasks.embedding.client import AnswerLost, AnswerUnproven, Unreachable
from tasks.embedding.dispatcher import Dispatcher
from tasks.embedding.pacing import Pacer
from tasks.embedding.patience import Patience
from tasks.embedding.purchases import Event, Outcome, TextItem
from tasks.errors import (
    BudgetReached,
    LakeError,
    MillraceError,
    ProviderStopped,
    ProviderUnavailable,
    RunStopped,
    TextsRefused,
    Throttled,
)
from tests.embedding.fakes import Behaviour, FakeClient, FakeSink, item, items
from tests.embedding.virtual_time import now, run

PRICE = 0.0005
TOO_LONG = TextsRefused("HTTP 400: Range of input length", reason="text_too_long", remedy="cut it")
DOWN = ProviderUnavailable("HTTP 503")


@dataclass
class Scene:
    """A dispatcher between a fake provider and a fake sink."""

    behaviour: Behaviour = lambda texts, number: None
    options: dict[str, Any] = field(default_factory=dict)
    client: FakeClient = field(init=False)
    sink: FakeSink = field(default_factory=FakeSink)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = FakeClient(self.behaviour)

    def dispatcher(self) -> Dispatcher:
        settings: dict[str, Any] = {"texts_per_request": 10, "tokens_per_request": 20_000, **self.options}
        pacer = settings.pop("pacer", None) or Pacer()
        return Dispatcher(self.client, pacer, store=self.sink, on_event=self.events.append, **settings)

    async def buy(self, texts: Sequence[TextItem]) -> list[Outcome]:
        async with self.dispatcher() as dispatcher:
            self.tally = dispatcher.tally
            futures = [await dispatcher.submit(text) for text in texts]
            await dispatcher.drain()
            return [await future for future in futures]

    def sizes(self) -> list[int]:
        return [len(texts) for _, texts in self.client.requests]


def poisoned(word: str, failure: Callable[[], MillraceError] = lambda: TOO_LONG) -> Behaviour:
    return lambda texts, number: failure() if any(word in text for text in texts) else None


# What is bought


def test_every_text_gets_its_own_vector_and_its_share_of_the_bill() -> None:
    scene = Scene()
    texts = items(95)
    assert run(scene.buy(texts)) == [None] * 95
    assert scene.sink.holds(texts)
    assert {billed for _, billed in scene.sink.rows.values()} == {10}
    assert (scene.tally.texts_bought, scene.tally.tokens_counted, scene.tally.tokens_billed) == (95, 950, 950)


def test_requests_are_packed_full_across_callers() -> None:
    scene = Scene()

    async def story() -> None:
        async with scene.dispatcher() as dispatcher:

            async def document(texts: list[TextItem]) -> None:
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


# Failures


@pytest.mark.parametrize(
    "failure",
    [DOWN, Throttled("HTTP 429", limit="tokens"), AnswerLost("reset"), AnswerUnproven("bad", billed_tokens=5)],
)
def test_a_failed_request_is_tried_again_and_nothing_is_lost_or_doubled(failure: MillraceError) -> None:
    scene = Scene(lambda texts, number: failure if number % 3 == 0 else None)
    texts = items(200)
    assert run(scene.buy(texts)) == [None] * 200
    assert scene.sink.holds(texts)
    assert scene.tally.requests_sent == len(scene.client.requests) < 40
    assert scene.tally.requests_retried >= len(scene.client.requests) // 3


def test_an_hour_without_the_provider_is_waited_out_with_few_requests() -> None:
    scene = Scene(lambda texts, number: DOWN if 5 < now() < 3_600 else None, {"pacer": Pacer(tokens_per_second=100)})
    texts = items(500)
    assert run(scene.buy(texts)) == [None] * 500
    in_outage = [at for at, _ in scene.client.requests if 60 < at < 3_600]
    assert 3_540 / 62 < len(in_outage) < 3_540 / 30 + 10
    assert max(at for at, _ in scene.client.requests) < 3_600 + 60 + 60
    assert scene.client.answered == 50
    assert {event.kind for event in scene.events} == {"retrying"}


def test_a_minute_of_429_is_waited_out_with_few_requests() -> None:
    def throttled(texts: Sequence[str], number: int) -> MillraceError | None:
        return Throttled("HTTP 429", limit="tokens") if 20 < now() < 80 else None

    scene = Scene(throttled, {"pacer": Pacer(requests_per_second=30, tokens_per_second=1_000)})
    run(scene.buy(items(5_000)))
    assert scene.tally.requests_throttled < 20
    assert scene.tally.throttled_by == {"tokens": scene.tally.requests_throttled}
    assert scene.client.answered == 500


def test_a_wait_that_the_provider_asks_for_is_kept_by_all_requests() -> None:
    throttled = Throttled("HTTP 429", limit="requests", retry_after_s=33.0)
    scene = Scene(lambda texts, number: throttled if number == 1 else None, {"pacer": Pacer(requests_per_second=5)})
    run(scene.buy(items(100)))
    first_refused_at = scene.client.requests[0][0] + 0.1
    assert not [at for at, _ in scene.client.requests if first_refused_at < at < first_refused_at + 33.0]


def test_retries_take_new_leave_from_the_pacing() -> None:
    scene = Scene(lambda texts, number: DOWN if number in {2, 4, 6} else None, {"pacer": Pacer(tokens_per_second=100)})
    run(scene.buy(items(100)))
    times = [at for at, _ in scene.client.requests]
    assert len(times) == 13
    assert all(later - earlier >= 0.74 for earlier, later in pairwise(times))


def test_a_provider_that_was_never_reached_stops_the_run_in_seconds() -> None:
    scene = Scene(lambda texts, number: Unreachable("cannot be reached (connection refused)"))

    async def story() -> float:
        with pytest.raises(ProviderStopped, match=r"none before: cannot be reached \(connection refused\)"):
            await scene.buy(items(1_000))
        return now()

    assert 15 <= run(story()) < 40


def test_what_cannot_heal_stops_everything_and_keeps_what_was_answered() -> None:
    stop = ProviderStopped("HTTP 400 Arrearage", code="Arrearage", request_id="r")
    scene = Scene(lambda texts, number: stop if number == 6 else None, {"max_in_flight": 4})
    texts = items(60)

    async def story() -> list[Outcome | BaseException]:
        dispatcher = scene.dispatcher()
        futures = [await dispatcher.submit(text) for text in texts]
        with pytest.raises(ProviderStopped):
            await dispatcher.drain()
        with pytest.raises(ProviderStopped):
            await dispatcher.submit(item("late"))
        await dispatcher.close()
        return list(await asyncio.gather(*futures, return_exceptions=True))

    outcomes = run(story())
    assert {type(outcome) for outcome in outcomes} == {type(None), ProviderStopped}
    bought = [text for text, outcome in zip(texts, outcomes, strict=True) if outcome is None]
    assert scene.sink.holds(bought)
    assert len(bought) == 10 * scene.client.answered


def test_a_full_disk_stops_the_run() -> None:
    scene = Scene()
    scene.sink.error = LakeError("disk full")
    with pytest.raises(LakeError, match="disk full"):
        run(scene.buy(items(30)))


def test_a_defect_of_ours_stops_the_run_rather_than_hanging_it() -> None:
    def broken(texts: Sequence[str], number: int) -> MillraceError | None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(Scene(broken).buy(items(30)))


# One bad text


@pytest.mark.parametrize("position", range(10))
def test_one_bad_text_of_ten_costs_at_most_eight_more_requests_and_only_itself(position: int) -> None:
    texts = items(10)
    scene = Scene(lambda sent, number: TOO_LONG if texts[position].text in sent else None)
    outcomes = run(scene.buy(texts))
    assert outcomes == [TOO_LONG if number == position else None for number in range(10)]
    assert scene.sink.holds([text for text in texts if text is not texts[position]])
    assert len(scene.client.requests) <= 1 + 8
    assert scene.client.answered * 10 >= len(scene.sink.rows)
    assert scene.tally.texts_refused == 1


def test_a_text_that_always_gets_a_useless_answer_is_found_and_refused() -> None:
    scene = Scene(poisoned("text 17", lambda: AnswerUnproven("vector 7 is zero", billed_tokens=None)))
    outcomes = run(scene.buy(items(50)))
    (refusal,) = [outcome for outcome in outcomes if outcome is not None]
    assert outcomes.index(refusal) == 17
    assert (refusal.reason, str(refusal)) == ("answer_unproven", "vector 7 is zero")
    assert len(scene.client.requests) < 30


def test_a_text_on_which_the_provider_always_fails_is_found_and_refused_while_others_succeed() -> None:
    scene = Scene(poisoned("text 317", lambda: DOWN), {"pacer": Pacer(tokens_per_second=100)})
    outcomes = run(scene.buy(items(1_000)))
    (refusal,) = [outcome for outcome in outcomes if outcome is not None]
    assert outcomes.index(refusal) == 317
    assert refusal.reason == "provider_fails_on_text"


@pytest.mark.parametrize("count", [1, 10, 12])
def test_the_last_texts_of_a_run_are_told_from_an_outage_by_a_probe(count: int) -> None:
    scene = Scene(poisoned("text", lambda: ProviderUnavailable("HTTP 500 InternalError.Algo")))

    async def story() -> float:
        outcomes = await scene.buy(items(count))
        assert {outcome.reason for outcome in outcomes if outcome} == {"provider_fails_on_text"}
        assert None not in outcomes
        return now()

    assert run(story()) < 60
    assert ["millrace"] in [texts for _, texts in scene.client.requests]
    assert not scene.sink.rows


def test_an_outage_at_the_end_of_a_run_rejects_nothing() -> None:
    scene = Scene(lambda texts, number: DOWN if 0.3 < now() < 3_600 else None, {"pacer": Pacer(tokens_per_second=300)})
    assert run(scene.buy(items(20))) == [None] * 20


def test_a_request_too_large_for_the_real_limit_is_made_smaller_never_refused() -> None:
    def small_only(texts: Sequence[str], number: int) -> MillraceError | None:
        return Throttled("HTTP 429", limit="tokens") if len(texts) > 5 and "text 3" in texts else None

    scene = Scene(small_only, {"pacer": Pacer(tokens_per_second=500)})
    assert run(scene.buy(items(1_000))) == [None] * 1_000


def test_nothing_but_useless_answers_stops_the_run_before_texts_are_rejected() -> None:
    scene = Scene(lambda texts, number: AnswerUnproven("vector 0 has 512 dimensions", billed_tokens=100))
    with pytest.raises(ProviderStopped, match="512 dimensions"):
        run(scene.buy(items(1_000)))
    assert not [event for event in scene.events if event.kind == "refused"]


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
    scene = Scene(lambda texts, number: AnswerLost("time-out") if number % 2 else None, {"budget": budget})
    with pytest.raises(BudgetReached):
        run(scene.buy(items(100)))
    assert budget.spent_tokens <= 500
    assert scene.tally.tokens_billed + scene.tally.tokens_in_doubt == budget.spent_tokens


# Breaking off


def test_breaking_off_keeps_what_was_under_way_and_sends_nothing_more() -> None:
    scene = Scene(options={"pacer": Pacer(tokens_per_second=500)})
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
    scene = Scene(options={"patience": Patience(grace_s=3.0)})
    scene.client.latency_s = 60.0

    async def story() -> float:
        async with asyncio.timeout(100):
            dispatcher = scene.dispatcher()
            future = await dispatcher.submit(item("a"))
            dispatcher.flush()
            await asyncio.sleep(1.0)
            await dispatcher.close()
            with pytest.raises(RunStopped, match="broken off"):
                await future
            return now()

    assert run(story()) == pytest.approx(4.0)
