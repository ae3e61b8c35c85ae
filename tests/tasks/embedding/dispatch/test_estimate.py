from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.embedding.dispatch.dispatcher import Dispatcher
from millrace.tasks.embedding.dispatch.estimate import Estimate, Estimator
from millrace.tasks.embedding.dispatch.packing import pack_requests
from millrace.tasks.embedding.models import find_model
from millrace.tasks.embedding.rate_limit.limiter import RateLimiter
from millrace.tasks.embedding.rate_limit.virtual_time import now, run
from tests.tasks.embedding.fakes import FakeClient, FakeSink, items

V4 = find_model("dashscope", "text-embedding-v4")


def estimate_of(tokens: list[int]) -> Estimate:
    estimator = Estimator(V4)
    for count in tokens:
        estimator.add(count)
    return estimator.estimate()


@given(st.lists(st.integers(1, 25_000), max_size=60))
def test_an_estimate_counts_the_requests_that_packing_makes(tokens: list[int]) -> None:
    found = estimate_of(tokens)
    packed = pack_requests(tokens, texts_per_request=10, tokens_per_request=V4.tokens_per_request)
    assert (found.texts, found.requests, found.tokens) == (len(tokens), len(packed), sum(tokens))


def test_prices_are_those_of_the_catalogue() -> None:
    found = estimate_of([1_000] * 2_000)
    assert (found.cost_cny, found.batch_cost_cny) == (1.0, 0.5)


@pytest.mark.parametrize(("texts", "tokens"), [(2_000, 400), (6_000, 40), (400, 2_000)])
def test_the_time_that_is_estimated_is_the_time_that_it_takes(texts: int, tokens: int) -> None:
    async def story() -> float:
        limiter = RateLimiter(requests_per_second=V4.requests_per_second, tokens_per_second=V4.tokens_per_second)
        client = FakeClient(tokens_per_text=tokens)
        async with Dispatcher(
            client, limiter, texts_per_request=10, tokens_per_request=V4.tokens_per_request, store=FakeSink()
        ) as dispatcher:
            for item in items(texts, tokens):
                await dispatcher.submit(item)
        return now()

    assert estimate_of([tokens] * texts).seconds == pytest.approx(run(story()), rel=0.1)


def test_without_limits_there_is_no_telling_the_time() -> None:
    spec = replace(V4, requests_per_second=0.0, tokens_per_second=0.0, requests_per_minute=0.0, tokens_per_minute=0.0)
    assert Estimator(spec).estimate().seconds is None
