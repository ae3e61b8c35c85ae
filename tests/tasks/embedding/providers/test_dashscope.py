"""One request, one try, through the real openai SDK against the simulated provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from millrace.tasks.embedding.models import find_model
from millrace.tasks.embedding.providers.client import BilledInvalidResponse, EmbeddingClient, LostAnswer, Unreachable
from millrace.tasks.embedding.providers.factory import make_client
from millrace.tasks.embedding.providers.openai_compatible import CompatibleClient
from millrace.tasks.errors import (
    ConfigurationError,
    MillraceError,
    ProviderStopped,
    ProviderUnavailable,
    TextsRefused,
    Throttled,
)
from tests.simulator.clock import SetClock
from tests.simulator.faults import Damage, scripted
from tests.simulator.model.tokens import bpe_tokens
from tests.simulator.model.vectors import expected_vector
from tests.simulator.refusals import Reason
from tests.simulator.server import Simulator, serving
from tests.simulator.settings import API_KEY, Latency, SimulatorSettings
from tests.tasks.embedding.one_request import TEXTS, failure_of


def client_of(simulator: Simulator, model: str = "", **options: Any) -> EmbeddingClient:
    spec = find_model("dashscope", model, base_url=simulator.base_url)
    return make_client(spec, **{"base_url": simulator.base_url, "api_key": API_KEY, "timeout_s": 5.0, **options})


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[EmbeddingClient]:
    client = client_of(simulator)
    yield client
    await client.close()


async def test_vectors_come_as_float32_each_with_its_text_and_the_bill(client: EmbeddingClient) -> None:
    answer = await client.embed(TEXTS)
    assert answer.vectors.dtype == np.float32
    expected = np.stack([expected_vector("text-embedding-v4", 1024, text) for text in TEXTS])
    assert np.array_equal(answer.vectors, expected)
    assert answer.billed_tokens == sum(bpe_tokens(text) + 1 for text in TEXTS)
    assert answer.request_id


async def test_shuffled_items_are_put_back_in_order(simulator: Simulator, client: EmbeddingClient) -> None:
    plain = await client.embed(TEXTS * 3)
    simulator.change({"shuffled": True})
    assert np.array_equal((await client.embed(TEXTS * 3)).vectors, plain.vectors)


async def test_floats_are_asked_for_in_words(simulator: Simulator, client: EmbeddingClient) -> None:
    simulator.change({"encoding_format": "refuse"})
    assert (await client.embed(TEXTS)).vectors.shape == (3, 1024)


async def test_compressed_answers_are_read(simulator: Simulator, client: EmbeddingClient) -> None:
    simulator.change({"gzip": True})
    assert (await client.embed(TEXTS)).vectors.shape == (3, 1024)


async def test_dimensions_are_asked_for_where_the_model_takes_them(simulator: Simulator) -> None:
    for model, given, length in (("text-embedding-v4", 256, 256), ("text-embedding-v2", None, 1536)):
        client = client_of(simulator, model, dimensions=given)
        assert (await client.embed(TEXTS)).vectors.shape == (3, length)
        await client.close()


async def test_one_connection_serves_requests_that_follow_each_other(
    simulator: Simulator, client: EmbeddingClient
) -> None:
    for _ in range(5):
        await client.embed(TEXTS)
    assert simulator.books.connections == 1


async def test_as_many_requests_at_once_as_before_go_over_the_connections_of_those_before() -> None:
    """Connections are kept in pools of 8, because a pool looks at all it has at every request."""
    clock, at_once = SetClock(), len(TEXTS) * 10
    async with serving(SimulatorSettings(latency=Latency(fixed_s=60)), clock=clock) as simulator:
        client = client_of(simulator, timeout_s=60.0)
        for _ in range(2):
            asked = asyncio.gather(*(client.embed([text]) for text in TEXTS * 10))
            await clock.slept_on(at_once)
            assert (simulator.books.connections, simulator.books.peak_concurrency) == (at_once, at_once)
            clock.advance(60)
            await asked
        await client.close()


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (Reason.LIMIT_REQUESTS, Throttled, "limit_requests"),
        (Reason.INSUFFICIENT_QUOTA, Throttled, "insufficient_quota"),
        (Reason.LIMIT_BURST_RATE, Throttled, "limit_burst_rate"),
        (Reason.GATEWAY_429, Throttled, "429"),
        (Reason.ARREARAGE, ProviderStopped, "Arrearage"),
        (Reason.FREE_TIER_ONLY, ProviderStopped, "FreeTierOnly"),
        (Reason.FREE_QUOTA_429, ProviderStopped, "Free allocated quota exceeded"),
        (Reason.NOT_PURCHASED_429, ProviderStopped, "CommodityNotPurchased"),
        (Reason.BILL_OVERDUE_429, ProviderStopped, "BillOverdue"),
        (Reason.ACCESS_DENIED, ProviderStopped, "AccessDenied"),
        (Reason.WRONG_KEY, ProviderStopped, "invalid_api_key"),
        (Reason.REQUEST_TIMEOUT, ProviderUnavailable, "408"),
        (Reason.INTERNAL_ERROR, ProviderUnavailable, "500"),
        (Reason.MODEL_SERVING, ProviderUnavailable, "ModelServingError"),
        (Reason.MODEL_UNAVAILABLE, ProviderUnavailable, "503"),
        (Reason.GATEWAY_TIMEOUT, ProviderUnavailable, "504"),
        (Reason.HTML_502, ProviderUnavailable, "502"),
        (Reason.HTML_503, ProviderUnavailable, "503"),
        (Damage.DROP, LostAnswer, "lost"),
        (Damage.RESET, LostAnswer, "lost"),
        (Damage.TRUNCATED, BilledInvalidResponse, "not complete JSON"),
        (Damage.EMPTY_DATA, BilledInvalidResponse, "0 items"),
        (Damage.MISSING_ITEM, BilledInvalidResponse, "2 items"),
        (Damage.EXTRA_ITEM, BilledInvalidResponse, "4 items"),
        (Damage.DOUBLED_INDEX, BilledInvalidResponse, "numbered"),
        (Damage.WRONG_DIMENSION, BilledInvalidResponse, "dimensions"),
        (Damage.NAN_VECTOR, BilledInvalidResponse, "not"),
        (Damage.ZERO_VECTOR, BilledInvalidResponse, "zero"),
        (Damage.NULL_EMBEDDING, BilledInvalidResponse, "missing"),
    ],
)
async def test_each_fault_becomes_the_error_that_says_what_to_do(
    simulator: Simulator, client: EmbeddingClient, fault: Reason | Damage, kind: type[MillraceError], words: str
) -> None:
    simulator.change({"faults": scripted(fault)})
    error = await failure_of(client)
    assert type(error) is kind
    assert words in str(error)
    assert API_KEY not in str(error)


async def test_an_error_in_a_200_is_an_error(simulator: Simulator, client: EmbeddingClient) -> None:
    simulator.change({"faults": scripted(Damage.ERROR_IN_200)})
    assert isinstance(await failure_of(client), ProviderUnavailable | Throttled | BilledInvalidResponse)


@pytest.mark.parametrize("fault", [Damage.HANG, Damage.STALL])
async def test_an_answer_that_does_not_come_is_given_up_in_time(simulator: Simulator, fault: Damage) -> None:
    simulator.change({"faults": scripted(fault)})
    error = await failure_of(client_of(simulator, timeout_s=0.2))
    assert type(error) is LostAnswer
    assert "not complete within 0.2 s" in str(error)


async def test_a_wait_that_the_provider_asks_for_is_passed_on(simulator: Simulator, client: EmbeddingClient) -> None:
    simulator.change({"faults": scripted(Reason.LIMIT_REQUESTS), "retry_after_s": 7})
    error = await failure_of(client)
    assert isinstance(error, Throttled)
    assert error.retry_after_s == 7.0


async def test_a_wrong_key_stops_with_the_providers_words_and_what_to_do(simulator: Simulator) -> None:
    error = await failure_of(client_of(simulator, api_key="sk-wrong-0123456789"))
    assert isinstance(error, ProviderStopped)
    assert (error.code, bool(error.request_id)) == ("invalid_api_key", True)
    assert "embedding.api_key_env" in str(error)
    assert "0123456789" not in str(error)


async def test_a_model_that_is_not_there_stops(simulator: Simulator) -> None:
    simulator.change({"models": []})
    error = await failure_of(client_of(simulator))
    assert isinstance(error, ProviderStopped)
    assert "embedding.model" in str(error)


async def test_texts_that_the_provider_does_not_take_are_refused(simulator: Simulator, client: EmbeddingClient) -> None:
    simulator.change({"inspection_words": ["forbidden"]})
    error = await failure_of(client, ["fine", "forbidden"])
    assert isinstance(error, TextsRefused)
    assert error.reason == "content_inspection"


async def test_too_many_texts_are_a_wrong_setting(client: EmbeddingClient) -> None:
    error = await failure_of(client, ["text"] * 11)
    assert isinstance(error, ConfigurationError)
    assert "should not be larger than 10" in str(error)


async def test_nobody_listening_is_told_with_the_address() -> None:
    spec = find_model("dashscope", "")
    error = await failure_of(make_client(spec, base_url="http://127.0.0.1:9/v1", api_key="sk-x"))
    assert type(error) is Unreachable
    assert "http://127.0.0.1:9/v1 cannot be reached" in str(error)
    assert "check embedding.base_url" in str(error)


async def test_a_wrong_path_stops_and_names_the_base_url(simulator: Simulator) -> None:
    client = client_of(simulator, base_url=f"{simulator.root_url}/nowhere/v1")
    error = await failure_of(client)
    assert isinstance(error, ProviderStopped)
    assert "embedding.base_url" in str(error)


async def test_a_web_server_in_the_providers_place_is_not_reached() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b"<html>Welcome</html>"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(page, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        client = make_client(find_model("dashscope", ""), base_url=f"http://127.0.0.1:{port}/v1", api_key="sk-x")
        assert type(await failure_of(client)) is Unreachable


@pytest.mark.parametrize("api_key", ["", "  ", "钥匙"])
def test_a_key_that_cannot_be_one_is_refused_before_anything_is_sent(api_key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"embedding.api_key_env"):
        make_client(find_model("dashscope", ""), api_key=api_key)


def test_a_client_does_not_show_its_key() -> None:
    client = make_client(find_model("dashscope", ""), api_key="sk-0123456789")
    assert isinstance(client, CompatibleClient)
    assert "0123456789" not in repr(client)
