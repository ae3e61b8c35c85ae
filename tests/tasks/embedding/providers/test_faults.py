"""The whole way to the simulated provider and back, through the real openai SDK, under faults: rows right, nothing lost."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import pytest

from millrace.tasks.embedding.dispatch.dispatcher import Dispatcher
from millrace.tasks.embedding.dispatch.queue import Outcome, Text
from millrace.tasks.embedding.dispatch.retry_policy import RetryPolicy
from millrace.tasks.embedding.dispatch.usage import Usage
from millrace.tasks.embedding.models import find_model
from millrace.tasks.embedding.providers.client import Vectors
from millrace.tasks.embedding.providers.factory import make_client
from millrace.tasks.embedding.rate_limit.limiter import RateLimiter
from millrace.tasks.errors import ProviderStopped
from tests.simulator.faults import Damage, FaultRule
from tests.simulator.model.tokens import bpe_tokens
from tests.simulator.model.vectors import expected_vector
from tests.simulator.refusals import Reason
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY

HURRIED = RetryPolicy(first_backoff_s=0.005, longest_backoff_s=0.1, linger_s=0.2, give_up_s=0.2)
DIMENSIONS = 256


class Rows:
    """A sink in memory that takes each text once."""

    def __init__(self) -> None:
        self.vectors: dict[bytes, Vectors] = {}
        self.tokens: dict[bytes, int] = {}

    async def append(
        self, keys: Sequence[bytes], vectors: Vectors, tokens: Sequence[int], sparse: Sequence[bytes] | None = None
    ) -> None:
        for key, vector, billed in zip(keys, vectors, tokens, strict=True):
            assert key not in self.vectors
            self.vectors[key], self.tokens[key] = vector.copy(), billed


def corpus(count: int) -> list[Text]:
    texts = [f"第{number}段：水轮与水闸 passage {number} " + "on sluices " * (number % 7) for number in range(count)]
    return [Text(hashlib.sha256(t.encode()).digest(), t, bpe_tokens(t) + 1, f"{n}.md") for n, t in enumerate(texts)]


async def buy(
    simulator: Simulator, items: list[Text], rows: Rows, *, timeout_s: float = 5.0, limiter: RateLimiter | None = None
) -> tuple[list[Outcome], Usage]:
    spec = find_model("dashscope", "", base_url=simulator.base_url)
    client = make_client(spec, base_url=simulator.base_url, api_key=API_KEY, dimensions=DIMENSIONS, timeout_s=timeout_s)
    try:
        async with Dispatcher(
            client,
            limiter or RateLimiter(requests_per_second=1e5, tokens_per_second=1e9),
            texts_per_request=spec.texts_per_request,
            tokens_per_request=spec.tokens_per_request,
            store=rows,
            max_in_flight=16,
            retry_policy=HURRIED,
        ) as dispatcher:
            futures = [await dispatcher.submit(item) for item in items]
            await dispatcher.drain()
            return [await future for future in futures], dispatcher.usage
    finally:
        await client.close()


def assert_rows_are_right(rows: Rows, items: list[Text]) -> None:
    assert rows.vectors.keys() == {item.key for item in items}
    for item in items:
        assert np.array_equal(rows.vectors[item.key], expected_vector("text-embedding-v4", DIMENSIONS, item.text))
        assert rows.tokens[item.key] == item.tokens


async def test_a_corpus_takes_a_tenth_as_many_requests_and_is_billed_as_counted(simulator: Simulator) -> None:
    items, rows = corpus(1_003), Rows()
    _, usage = await buy(simulator, items, rows)
    assert_rows_are_right(rows, items)
    assert simulator.books.requests == usage.requests_sent == math.ceil(1_003 / 10)
    assert simulator.books.tokens_billed == usage.tokens_billed == usage.tokens_counted
    assert simulator.books.largest_batch == 10


@pytest.mark.parametrize(
    "fault",
    [
        *(Reason.LIMIT_REQUESTS, Reason.INSUFFICIENT_QUOTA, Reason.LIMIT_BURST_RATE, Reason.GATEWAY_429),
        *(Reason.INTERNAL_ERROR, Reason.MODEL_SERVING, Reason.MODEL_UNAVAILABLE, Reason.HTML_502),
        *(Damage.DROP, Damage.RESET, Damage.HANG, Damage.STALL, Damage.TRUNCATED, Damage.ERROR_IN_200),
        *(Damage.EMPTY_DATA, Damage.MISSING_ITEM, Damage.EXTRA_ITEM, Damage.DOUBLED_INDEX, Damage.SHUFFLED),
        *(Damage.WRONG_DIMENSION, Damage.NAN_VECTOR, Damage.ZERO_VECTOR, Damage.NULL_EMBEDDING),
    ],
)
async def test_a_fault_on_every_seventh_answer_leaves_every_row_right_and_buys_nothing_twice(
    simulator: Simulator, fault: Reason | Damage
) -> None:
    simulator.change({"faults": [FaultRule(fault=fault, every=7)]})
    items, rows = corpus(300), Rows()
    # What is given up too early was bought, and is bought again; so no answer that comes may take longer than this.
    outcomes, _ = await buy(simulator, items, rows, timeout_s=2.0 if fault in {Damage.HANG, Damage.STALL} else 30.0)
    assert outcomes == [None] * 300
    assert_rows_are_right(rows, items)
    assert simulator.books.texts_bought_again == 0


async def test_a_mixture_of_faults_on_a_fifth_of_the_answers_leaves_every_row_right(simulator: Simulator) -> None:
    faults: list[Reason | Damage] = [Reason.INTERNAL_ERROR, Reason.LIMIT_REQUESTS, Damage.RESET, Damage.NAN_VECTOR]
    simulator.change({"faults": [FaultRule(fault=fault, share=0.05, seed=3) for fault in faults], "shuffled": True})
    items, rows = corpus(1_000), Rows()
    outcomes, usage = await buy(simulator, items, rows)
    assert outcomes == [None] * 1_000
    assert_rows_are_right(rows, items)
    assert simulator.books.texts_bought_again == 0
    assert usage.tokens_billed <= simulator.books.tokens_billed <= usage.tokens_billed + usage.tokens_in_doubt


async def test_a_second_of_503_is_waited_out(simulator: Simulator) -> None:
    simulator.change({"faults": [FaultRule(fault=Reason.MODEL_UNAVAILABLE, until_s=1.0)]})
    simulator.reset()
    items, rows = corpus(200), Rows()
    outcomes, usage = await buy(simulator, items, rows)
    assert outcomes == [None] * 200
    assert_rows_are_right(rows, items)
    # One probe at a time while nothing works, not the whole flight again and again.
    assert usage.unavailable < 100


async def test_poisoned_texts_cost_themselves_and_few_requests(simulator: Simulator) -> None:
    simulator.change({"poison_words": ["passage 123 ", "passage 777 "]})
    items, rows = corpus(1_000), Rows()
    outcomes, usage = await buy(simulator, items, rows)
    refused = {number: outcome.reason for number, outcome in enumerate(outcomes) if outcome is not None}
    assert refused == {123: "content_inspection", 777: "content_inspection"}
    assert_rows_are_right(rows, [item for number, item in enumerate(items) if number not in refused])
    assert usage.requests_sent <= 100 + 2 * 8
    assert simulator.books.texts_bought_again == 0


async def test_texts_on_which_the_provider_fails_inside_are_found_too(simulator: Simulator) -> None:
    simulator.change({"poison_words": ["passage 23 ", "passage 199 "], "poison_as": "internal_error"})
    items, rows = corpus(200), Rows()
    outcomes, _ = await buy(simulator, items, rows)
    assert {n: o.reason for n, o in enumerate(outcomes) if o} == dict.fromkeys((23, 199), "provider_fails_on_text")
    assert_rows_are_right(rows, [item for number, item in enumerate(items) if number not in {23, 199}])


@pytest.mark.parametrize("fault", [Reason.ARREARAGE, Reason.WRONG_KEY, Reason.FREE_QUOTA_429])
async def test_what_cannot_heal_stops_in_mid_run_and_what_was_bought_is_kept(
    simulator: Simulator, fault: Reason
) -> None:
    simulator.change({"faults": [FaultRule(fault=fault, numbers=tuple(range(30, 10_000)))]})
    items, rows = corpus(1_000), Rows()
    with pytest.raises(ProviderStopped):
        await buy(simulator, items, rows)
    assert len(rows.vectors) == simulator.books.texts_bought == 290
    assert simulator.books.requests < 29 + 20


async def test_nobody_listening_stops_the_run(simulator: Simulator) -> None:
    spec = find_model("dashscope", "")
    client = make_client(spec, base_url="http://127.0.0.1:9/v1", api_key="sk-x")
    dispatcher = Dispatcher(
        client, RateLimiter(), texts_per_request=10, tokens_per_request=0, store=Rows(), retry_policy=HURRIED
    )
    for item in corpus(30):
        await dispatcher.submit(item)
    with pytest.raises(ProviderStopped, match=r"none before: .*cannot be reached"):
        await dispatcher.drain()
    await dispatcher.close()
    await client.close()
