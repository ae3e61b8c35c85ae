"""What the dispatcher does about failures: waits, tries again, halves, refuses one text, or stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from millrace.tasks.embedding.dispatch.queue import Outcome
from millrace.tasks.embedding.providers.client import BilledInvalidResponse, LostAnswer, Unreachable
from millrace.tasks.embedding.rate_limit.limiter import RateLimiter
from millrace.tasks.embedding.rate_limit.virtual_time import now, run
from millrace.tasks.errors import (
    LakeError,
    MillraceError,
    ProviderStopped,
    ProviderUnavailable,
    TextsRefused,
    Throttled,
)
from tests.tasks.embedding.fakes import Behaviour, Scene, item, items

TOO_LONG = TextsRefused("HTTP 400: Range of input length", reason="text_too_long", remedy="cut it")
DOWN = ProviderUnavailable("HTTP 503")


def poisoned(word: str, failure: Callable[[], MillraceError] = lambda: TOO_LONG) -> Behaviour:
    return lambda texts, number: failure() if any(word in text for text in texts) else None


# Failures


@pytest.mark.parametrize(
    "failure",
    [DOWN, Throttled("HTTP 429", limit="tokens"), LostAnswer("reset"), BilledInvalidResponse("bad", billed_tokens=5)],
)
def test_a_failed_request_is_tried_again_and_nothing_is_lost_or_doubled(failure: MillraceError) -> None:
    scene = Scene(lambda texts, number: failure if number % 3 == 0 else None)
    texts = items(200)
    assert run(scene.buy(texts)) == [None] * 200
    assert scene.sink.holds(texts)
    assert scene.usage.requests_sent == len(scene.client.requests) < 40
    assert scene.usage.requests_retried >= len(scene.client.requests) // 3


def test_an_hour_without_the_provider_is_waited_out_with_few_requests() -> None:
    scene = Scene(
        lambda texts, number: DOWN if 5 < now() < 3_600 else None, {"limiter": RateLimiter(tokens_per_second=100)}
    )
    texts = items(500)
    assert run(scene.buy(texts)) == [None] * 500
    circuit_open = [at for at, _ in scene.client.requests if 60 < at < 3_600]
    assert 3_540 / 62 < len(circuit_open) < 3_540 / 30 + 10
    assert max(at for at, _ in scene.client.requests) < 3_600 + 60 + 60
    assert scene.client.answered == 50
    assert {event.kind for event in scene.events} == {"retrying", "outage"}
    away, back = [event.outage for event in scene.events if event.outage is not None]
    assert (away.service, away.away_s, back.service) == ("provider", None, "provider")
    assert back.away_s is not None
    assert 3_580 < back.away_s < 3_600 + 60


def test_a_minute_of_429_is_waited_out_with_few_requests() -> None:
    def throttled(texts: Sequence[str], number: int) -> MillraceError | None:
        return Throttled("HTTP 429", limit="tokens") if 20 < now() < 80 else None

    scene = Scene(throttled, {"limiter": RateLimiter(requests_per_second=30, tokens_per_second=1_000)})
    run(scene.buy(items(5_000)))
    assert scene.usage.requests_throttled < 20
    assert scene.usage.throttled_by == {"tokens": scene.usage.requests_throttled}
    assert scene.client.answered == 500


def test_a_wait_that_the_provider_asks_for_is_kept_by_all_requests() -> None:
    throttled = Throttled("HTTP 429", limit="requests", retry_after_s=33.0)
    scene = Scene(
        lambda texts, number: throttled if number == 1 else None, {"limiter": RateLimiter(requests_per_second=5)}
    )
    run(scene.buy(items(100)))
    first_refused_at = scene.client.requests[0][0] + 0.1
    assert not [at for at, _ in scene.client.requests if first_refused_at < at < first_refused_at + 33.0]


def test_retries_take_new_leave_from_the_pacing() -> None:
    scene = Scene(
        lambda texts, number: DOWN if number in {2, 4, 6} else None, {"limiter": RateLimiter(tokens_per_second=100)}
    )
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
    embedded = [text for text, outcome in zip(texts, outcomes, strict=True) if outcome is None]
    assert scene.sink.holds(embedded)
    assert len(embedded) == 10 * scene.client.answered


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
    assert scene.usage.texts_refused == 1


def test_a_text_that_always_gets_a_useless_answer_is_found_and_refused() -> None:
    scene = Scene(poisoned("text 17", lambda: BilledInvalidResponse("vector 7 is zero", billed_tokens=None)))
    outcomes = run(scene.buy(items(50)))
    (refusal,) = [outcome for outcome in outcomes if outcome is not None]
    assert outcomes.index(refusal) == 17
    assert (refusal.reason, str(refusal)) == ("answer_unproven", "vector 7 is zero")
    assert len(scene.client.requests) < 30


def test_a_text_on_which_the_provider_always_fails_is_found_and_refused_while_others_succeed() -> None:
    scene = Scene(poisoned("text 317", lambda: DOWN), {"limiter": RateLimiter(tokens_per_second=100)})
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
    scene = Scene(
        lambda texts, number: DOWN if 0.3 < now() < 3_600 else None, {"limiter": RateLimiter(tokens_per_second=300)}
    )
    assert run(scene.buy(items(20))) == [None] * 20


def test_a_request_too_large_for_the_real_limit_is_made_smaller_never_refused() -> None:
    def small_only(texts: Sequence[str], number: int) -> MillraceError | None:
        return Throttled("HTTP 429", limit="tokens") if len(texts) > 5 and "text 3" in texts else None

    scene = Scene(small_only, {"limiter": RateLimiter(tokens_per_second=500)})
    assert run(scene.buy(items(1_000))) == [None] * 1_000


def test_nothing_but_useless_answers_stops_the_run_before_texts_are_rejected() -> None:
    scene = Scene(lambda texts, number: BilledInvalidResponse("vector 0 has 512 dimensions", billed_tokens=100))
    with pytest.raises(ProviderStopped, match="512 dimensions"):
        run(scene.buy(items(1_000)))
    assert not [event for event in scene.events if event.kind == "refused"]
