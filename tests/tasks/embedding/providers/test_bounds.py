"""Bounds on what a provider sends: time, bytes and numbers, through the real SDK against the simulated provider."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping

import httpx2
import pytest

from millrace.tasks.embedding.dispatch.dispatcher import Dispatcher
from millrace.tasks.embedding.dispatch.queue import Event
from millrace.tasks.embedding.dispatch.usage import Budget, Usage
from millrace.tasks.embedding.models import find_model
from millrace.tasks.embedding.providers.client import BilledInvalidResponse, EmbeddingClient, LostAnswer
from millrace.tasks.embedding.providers.factory import make_client
from millrace.tasks.embedding.providers.http import retry_after_s
from millrace.tasks.embedding.rate_limit.limiter import RateLimiter
from millrace.tasks.embedding.rerank.reranker import Reranker
from millrace.tasks.errors import InvalidResponse, MillraceError, Throttled
from tests.simulator.faults import USAGE_DAMAGE, Damage, FaultRule
from tests.simulator.refusals import Reason
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY
from tests.tasks.embedding.one_request import failure_of
from tests.tasks.embedding.providers.test_faults import HURRIED, Rows, assert_rows_are_right, corpus
from tests.tasks.embedding.rerank.test_rerank_simulator import OTHERS, other_of, reranker_of

DIMENSIONS = 256


def client_of(simulator: Simulator, *, api: str = "compatible", timeout_s: float = 20.0) -> EmbeddingClient:
    base_url = simulator.native_url if api == "native" else simulator.base_url
    spec = find_model("dashscope", "", base_url=base_url)
    return make_client(
        spec,
        base_url=base_url,
        api_key=API_KEY,
        dimensions=DIMENSIONS,
        api=api,
        sparse=api == "native",
        timeout_s=timeout_s,
    )


def damage(simulator: Simulator, kind: Damage) -> None:
    simulator.change({"faults": [FaultRule(fault=kind, share=1.0)]})


@pytest.mark.parametrize("api", ["compatible", "native"])
async def test_an_answer_that_trickles_is_given_up_at_the_deadline(simulator: Simulator, api: str) -> None:
    damage(simulator, Damage.TRICKLE)
    began = time.monotonic()
    error = await failure_of(client_of(simulator, api=api, timeout_s=0.5))
    assert time.monotonic() - began < 60  # it would take minutes to its end
    assert isinstance(error, LostAnswer)
    assert "not complete within 0.5 s" in str(error)


@pytest.mark.parametrize("api", ["compatible", "native"])
@pytest.mark.parametrize("kind", [Damage.ENDLESS, Damage.GZIP_BOMB])
async def test_an_answer_without_end_costs_little_memory_and_is_billed_perhaps(
    simulator: Simulator, kind: Damage, api: str
) -> None:
    damage(simulator, kind)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = await failure_of(client_of(simulator, api=api))
    assert isinstance(error, BilledInvalidResponse)
    assert error.billed_tokens is None
    assert "longer than" in str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


@pytest.mark.parametrize("api", ["compatible", "native"])
async def test_true_for_a_number_is_no_vector(simulator: Simulator, api: str) -> None:
    damage(simulator, Damage.TRUE_IN_VECTOR)
    error = await failure_of(client_of(simulator, api=api))
    assert isinstance(error, InvalidResponse)
    assert "vector 1 holds something that is not a number" in str(error)


@pytest.mark.parametrize("kind", USAGE_DAMAGE)
async def test_absurd_usage_costs_no_vectors_and_our_own_count_stands_for_it_with_a_word(
    simulator: Simulator, kind: Damage
) -> None:
    damage(simulator, kind)
    items, rows, events = corpus(30), Rows(), list[Event]()
    client = client_of(simulator)
    usage = Usage(price_cny_per_1k_tokens=0.0005)
    async with Dispatcher(
        client,
        RateLimiter(),
        texts_per_request=10,
        tokens_per_request=0,
        store=rows,
        retry_policy=HURRIED,
        usage=usage,
        budget=Budget(1.0, 0.0005),
        on_event=events.append,
    ) as dispatcher:
        for item in items:
            await dispatcher.submit(item)
    await client.close()
    assert_rows_are_right(rows, items)
    assert usage.tokens_billed == usage.tokens_counted == simulator.books.tokens_billed
    assert simulator.books.texts_bought_again == 0
    (event,) = events
    assert event.kind == "usage"
    assert "our own count stands" in event.message


RERANKS = [("qwen3-rerank", "compatible"), ("qwen3-rerank", "native"), ("vllm", "")]


def reranker_named(simulator: Simulator, name: str, api: str, timeout_s: float = 20.0) -> Reranker:
    if name in OTHERS:
        return other_of(simulator, name, timeout_s=timeout_s)
    return reranker_of(simulator, name, api, timeout_s=timeout_s)


@pytest.mark.parametrize("named", RERANKS)
@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        (Damage.TRICKLE, LostAnswer, "not complete within 0.5 s"),
        (Damage.ENDLESS, BilledInvalidResponse, "longer than"),
        (Damage.GZIP_BOMB, BilledInvalidResponse, "longer than"),
        (Damage.TRUE_IN_VECTOR, BilledInvalidResponse, "is True, not a finite number"),
    ],
)
async def test_a_ranking_is_bounded_as_vectors_are(
    simulator: Simulator, kind: Damage, error: type[MillraceError], words: str, named: tuple[str, str]
) -> None:
    damage(simulator, kind)
    reranker = reranker_named(simulator, *named, timeout_s=0.5 if kind is Damage.TRICKLE else 20.0)
    with pytest.raises(error, match=words):
        await reranker.rerank("q", ["a gate", "a mill", "a weir"], top_n=3)
    await reranker.close()


@pytest.mark.parametrize(("name", "api"), RERANKS[:2])
@pytest.mark.parametrize("kind", USAGE_DAMAGE)
async def test_absurd_usage_of_a_ranking_is_counted_here_with_a_notice(
    simulator: Simulator, kind: Damage, name: str, api: str
) -> None:
    damage(simulator, kind)
    reranker = reranker_named(simulator, name, api)
    answer = await reranker.rerank("q", ["a gate", "a mill", "a weir"], top_n=3)
    await reranker.close()
    assert 0 < answer.billed_tokens < 1_000
    assert "our own count stands for it" in answer.notices[-1]


async def test_a_long_wish_to_wait_is_told_and_capped(simulator: Simulator) -> None:
    simulator.change({"faults": [FaultRule(fault=Reason.LIMIT_REQUESTS, share=1.0)], "retry_after_s": 86_400})
    error = await failure_of(client_of(simulator))
    assert isinstance(error, Throttled)
    assert error.retry_after_s == 300
    assert "it asks to wait 86,400 s; millrace waits 300 s at most" in str(error)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-7"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000", "date": "Wed, 21 Oct 2015 07:28:30 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 99 Oct 99999 07:28:00 GMT"}, None),
    ],
)
def test_the_wait_is_read_from_a_number_or_a_date(headers: Mapping[str, str], wait_s: float | None) -> None:
    assert retry_after_s(httpx2.Headers(headers)) == wait_s
