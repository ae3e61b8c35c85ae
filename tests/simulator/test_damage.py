"""Every fault of the plan, as the real openai SDK sees it."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import openai
import pytest

from tests.simulator.books import TextCount
from tests.simulator.clock import SetClock
from tests.simulator.faults import Damage, Fault, FaultRule, scripted
from tests.simulator.fixtures import StartSimulator
from tests.simulator.refusals import Reason
from tests.simulator.server import Simulator, serving
from tests.simulator.settings import API_KEY, Latency, SimulatorSettings

V4 = "text-embedding-v4"
TEXTS = ["one", "two", "three"]


def embed(simulator: Simulator, timeout_s: float = 20.0) -> openai.types.CreateEmbeddingResponse:
    with openai.OpenAI(base_url=simulator.base_url, api_key=API_KEY, max_retries=0, timeout=timeout_s) as client:
        return client.embeddings.create(model=V4, input=TEXTS, encoding_format="float")


def faulty(start_simulator: StartSimulator, fault: Fault) -> Simulator:
    """A simulator whose first answer has `fault`, and no other."""
    return start_simulator(SimulatorSettings(faults=scripted(fault)))


@pytest.mark.parametrize(
    ("fault", "error", "status", "code"),
    [
        (Reason.INTERNAL_ERROR, openai.InternalServerError, 500, "InternalError.Algo"),
        (Reason.MODEL_UNAVAILABLE, openai.InternalServerError, 503, "ModelUnavailable"),
        (Reason.MODEL_SERVING, openai.InternalServerError, 503, "ModelServingError"),
        (Reason.GATEWAY_TIMEOUT, openai.InternalServerError, 504, "GatewayTimeout"),
        (Reason.HTML_502, openai.InternalServerError, 502, None),
        (Reason.HTML_503, openai.InternalServerError, 503, None),
        (Reason.REQUEST_TIMEOUT, openai.APIStatusError, 408, "RequestTimeOut"),
        (Reason.LIMIT_REQUESTS, openai.RateLimitError, 429, "limit_requests"),
        (Reason.INSUFFICIENT_QUOTA, openai.RateLimitError, 429, "insufficient_quota"),
        (Reason.LIMIT_BURST_RATE, openai.RateLimitError, 429, "limit_burst_rate"),
        (Reason.GATEWAY_429, openai.RateLimitError, 429, None),
        (Reason.FREE_QUOTA_429, openai.RateLimitError, 429, "insufficient_quota"),
        (Reason.NOT_PURCHASED_429, openai.RateLimitError, 429, "CommodityNotPurchased"),
        (Reason.BILL_OVERDUE_429, openai.RateLimitError, 429, "PostpaidBillOverdue"),
        (Reason.ARREARAGE, openai.BadRequestError, 400, "Arrearage"),
        (Reason.FREE_TIER_ONLY, openai.PermissionDeniedError, 403, "AllocationQuota.FreeTierOnly"),
        (Reason.ACCESS_DENIED, openai.PermissionDeniedError, 403, "AccessDenied.Unpurchased"),
        (Reason.WRONG_KEY, openai.AuthenticationError, 401, "invalid_api_key"),
        (Reason.TOO_LARGE, openai.APIStatusError, 413, "BadRequest.TooLarge"),
    ],
)
def test_an_error_of_the_plan_comes_once_and_costs_nothing(
    start_simulator: StartSimulator, fault: Reason, error: type[openai.APIStatusError], status: int, code: str | None
) -> None:
    simulator = faulty(start_simulator, fault)
    with pytest.raises(error) as caught:
        embed(simulator)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert simulator.books.tokens_billed == 0
    assert len(embed(simulator).data) == 3
    assert simulator.books.faults == {fault: 1}


def test_every_reason_can_be_planned_and_has_an_answer(simulator: Simulator) -> None:
    simulator.change({"faults": scripted(*Reason)})
    for reason in Reason:
        with pytest.raises(openai.APIStatusError):
            embed(simulator)
        assert simulator.books.refused[reason] == 1


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (Damage.DROP, openai.APIConnectionError),
        (Damage.RESET, openai.APIConnectionError),
        (Damage.HANG, openai.APITimeoutError),
        (Damage.STALL, openai.APITimeoutError),
        (Damage.TRUNCATED, ValueError),
    ],
)
def test_a_broken_answer_is_an_error_and_billed_all_the_same(
    start_simulator: StartSimulator, damage: Damage, error: type[Exception]
) -> None:
    simulator = faulty(start_simulator, damage)
    with pytest.raises(error):
        embed(simulator, timeout_s=0.3)
    assert len(embed(simulator).data) == 3
    assert simulator.books.text("one") == TextCount(sent=2, bought=1, spoiled=1)
    assert simulator.books.tokens_billed == 2 * simulator.books.tokens_spoiled > 0
    assert simulator.books.texts_bought_again == 0


@pytest.mark.parametrize(
    ("damage", "indexes"),
    [
        (Damage.MISSING_ITEM, [0, 2]),
        (Damage.EXTRA_ITEM, [0, 1, 2, 3]),
        (Damage.DOUBLED_INDEX, [0, 0, 2]),
        (Damage.EMPTY_DATA, []),
    ],
)
def test_an_answer_with_the_wrong_items_has_status_200(
    start_simulator: StartSimulator, damage: Damage, indexes: list[int]
) -> None:
    assert [item.index for item in embed(faulty(start_simulator, damage)).data] == indexes


def test_an_error_body_with_status_200_has_no_data(start_simulator: StartSimulator) -> None:
    answer = embed(faulty(start_simulator, Damage.ERROR_IN_200))
    assert not answer.data
    assert answer.model_extra is not None
    assert answer.model_extra["code"] == "InternalError.Algo"


def test_damaged_vectors_are_in_the_middle(start_simulator: StartSimulator) -> None:
    faults = scripted(Damage.WRONG_DIMENSION, Damage.NAN_VECTOR, Damage.ZERO_VECTOR, Damage.NULL_EMBEDDING)
    simulator = start_simulator(SimulatorSettings(faults=faults))
    wrong, nan, zero, null = ([item.embedding for item in embed(simulator).data] for _ in range(4))
    assert [len(vector) for vector in wrong] == [1024, 512, 1024]
    assert [math.isnan(vector[0]) for vector in nan] == [False, True, False]
    assert [float(np.linalg.norm(vector)) > 0.9 for vector in zero] == [True, False, True]
    assert [vector is None for vector in null] == [False, True, False]
    assert simulator.books.spoiled == 4


def test_a_shuffled_answer_is_legal_and_counts_as_bought(start_simulator: StartSimulator) -> None:
    simulator = faulty(start_simulator, Damage.SHUFFLED)
    assert sorted(item.index for item in embed(simulator).data) == [0, 1, 2]
    assert (simulator.books.texts_bought, simulator.books.spoiled) == (3, 0)


def test_a_whole_minute_of_429_ends_after_a_minute(start_simulator: StartSimulator) -> None:
    clock = SetClock()
    rule = FaultRule(fault=Reason.INSUFFICIENT_QUOTA, until_s=60)
    simulator = start_simulator(SimulatorSettings(faults=(rule,)), clock)
    for seconds in (0, 30, 29.9):
        clock.advance(seconds)
        with pytest.raises(openai.RateLimitError):
            embed(simulator)
    clock.advance(0.1)
    assert len(embed(simulator).data) == 3


async def test_a_late_answer_comes_when_the_set_clock_says_so() -> None:
    clock = SetClock()
    settings = SimulatorSettings(latency=Latency(fixed_s=500, tail_share=1, tail_s=100))
    async with (
        serving(settings, clock=clock) as simulator,
        openai.AsyncOpenAI(base_url=simulator.base_url, api_key=API_KEY, max_retries=0, timeout=20) as client,
        asyncio.TaskGroup() as group,
    ):
        pending = group.create_task(client.embeddings.create(model=V4, input=TEXTS, encoding_format="float"))
        await clock.slept_on()
        clock.advance(599)
        assert not pending.done()
        clock.advance(1)
        assert len((await pending).data) == 3
