"""Servers that speak OpenAI's embeddings API, through the real SDK against the simulated ones."""

from __future__ import annotations

from typing import Any

import httpx2
import numpy as np
import orjson
import pytest

from millrace.tasks.embedding.models import find_model
from millrace.tasks.embedding.providers.client import BilledInvalidResponse, EmbeddingClient
from millrace.tasks.embedding.providers.factory import make_client, probe
from millrace.tasks.embedding.providers.openai_compatible import CompatibleClient
from millrace.tasks.errors import ConfigurationError, ProviderStopped, ProviderUnavailable, TextsRefused, Throttled
from tests.simulator.dialects.openai_settings import ServedModel
from tests.simulator.faults import Damage, scripted
from tests.simulator.model.vectors import expected_vector
from tests.simulator.refusals import Reason
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY
from tests.tasks.embedding.one_request import TEXTS, failure_of

QWEN, BGE = "Qwen/Qwen3-Embedding-0.6B", "BAAI/bge-m3"
FLAVOURS = ["openai", "vllm", "vllm_flat", "tei", "ollama", "fastapi"]


def client_of(simulator: Simulator, model: str = QWEN, **options: Any) -> EmbeddingClient:
    given = {"base_url": simulator.openai_url, "timeout_s": 5.0, **options}
    return make_client(find_model("openai", model, dimensions=options.get("dimensions")), **given)


def flavoured(simulator: Simulator, flavour: str, **knobs: object) -> None:
    simulator.change({"openai": {"flavour": flavour} | knobs})


@pytest.mark.parametrize("form", ["asked", "float", "base64"])
@pytest.mark.parametrize("usage", ["counted", "absent", "zero"])
async def test_vectors_come_as_floats_or_base64_with_or_without_a_bill(
    simulator: Simulator, form: str, usage: str
) -> None:
    simulator.change({"openai": {"embeddings_as": form, "usage": usage}, "shuffled": True})
    client = client_of(simulator)
    answer = await client.embed(TEXTS)
    assert np.array_equal(answer.vectors, np.stack([expected_vector(QWEN, 1024, text) for text in TEXTS]))
    assert bool(answer.billed_tokens) is (usage == "counted")
    await client.close()


@pytest.mark.parametrize("status", [400, 422, 501])
async def test_base64_is_asked_for_until_a_server_refuses_it(status: int) -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(orjson.loads(request.content)["encoding_format"])
        if asked[-1] == "base64":
            return httpx2.Response(status, json={"error": {"message": "encoding_format: input should be 'float'"}})
        return httpx2.Response(200, json={"data": [{"index": 0, "embedding": [0.1, 2.0]}]})

    client = make_client(find_model("openai", "mine", dimensions=2), base_url="http://127.0.0.1:9/v1", dimensions=2)
    assert isinstance(client, CompatibleClient)
    client._endpoint._pools[0].client._client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    for _ in range(2):
        assert np.array_equal((await client.embed(["a"])).vectors, np.array([[0.1, 2.0]], np.float32))
    assert asked == ["base64", "float", "float"]
    await client.close()


@pytest.mark.parametrize("key", ["", API_KEY])
async def test_a_key_is_sent_only_where_there_is_one(key: str) -> None:
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json={"data": [{"index": 0, "embedding": [1.0, 2.0]}]})

    client = make_client(
        find_model("openai", "mine", dimensions=2), base_url="http://127.0.0.1:9/v1", api_key=key, dimensions=2
    )
    assert isinstance(client, CompatibleClient)
    client._endpoint._pools[0].client._client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    assert (await client.embed(["a"])).vectors.tolist() == [[1.0, 2.0]]
    assert sent[0].headers.get("authorization") == (f"Bearer {key}" if key else None)
    assert sent[0].read() == b'{"model":"mine","encoding_format":"base64","input":["a"]}'


async def test_a_server_that_wants_a_key_says_so(simulator: Simulator) -> None:
    simulator.change({"openai": {"key_needed": True}})
    error = await failure_of(client_of(simulator))
    assert isinstance(error, ProviderStopped)
    assert "embedding.api_key_env" in str(error)
    client = client_of(simulator, api_key=API_KEY)
    assert (await client.embed(TEXTS)).vectors.shape == (3, 1024)
    await client.close()


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_dimensions_are_named_only_when_they_are_not_the_models_own(simulator: Simulator, flavour: str) -> None:
    flavoured(simulator, flavour, dimensions="refuse")
    client = client_of(simulator)
    assert (await client.embed(TEXTS)).vectors.shape == (3, 1024)
    await client.close()
    flavoured(simulator, flavour, dimensions="by_model")
    client = client_of(simulator, dimensions=256)
    assert (await client.embed(TEXTS)).vectors.shape == (3, 256)
    await client.close()


# TEI shortens the vectors of any model.
@pytest.mark.parametrize("flavour", [flavour for flavour in FLAVOURS if flavour != "tei"])
async def test_dimensions_that_a_server_refuses_are_a_wrong_setting(simulator: Simulator, flavour: str) -> None:
    flavoured(simulator, flavour, dimensions="refuse")
    error = await failure_of(client_of(simulator, dimensions=256))
    assert isinstance(error, ConfigurationError), error
    assert "dimensions" in str(error)


async def test_what_the_user_says_of_dimensions_is_done(simulator: Simulator) -> None:
    simulator.change({"openai": {"dimensions": "refuse"}})
    assert isinstance(await failure_of(client_of(simulator, ask_dimensions="always")), ConfigurationError)
    client = client_of(simulator, ask_dimensions="never")
    assert (await client.embed(TEXTS)).vectors.shape == (3, 1024)
    await client.close()


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"dimensions": 512}, "though 512 were requested; set embedding.dimensions = 1024"),
        ({"dimensions": 512, "ask_dimensions": "never"}, "embedding.dimensions = 1024, or embedding.ask_dimensions"),
    ],
)
async def test_a_first_answer_of_another_length_is_a_wrong_setting_that_names_the_length(
    simulator: Simulator, options: dict[str, Any], advice: str
) -> None:
    simulator.change({"openai": {"dimensions": "ignore"}})
    error = await failure_of(client_of(simulator, **options))
    assert isinstance(error, ConfigurationError)
    assert advice in str(error)


async def test_a_later_answer_of_another_length_is_a_fault_that_passes(simulator: Simulator) -> None:
    simulator.change({"faults": scripted(None, Damage.WRONG_DIMENSION)})
    client = client_of(simulator)
    await client.embed(TEXTS)
    assert isinstance(await failure_of(client, ["one"]), BilledInvalidResponse)


async def test_the_length_of_an_unknown_model_must_be_told(simulator: Simulator) -> None:
    simulator.change({"openai": {"models": [ServedModel(name="mine", dimensions=77).model_dump()]}})
    with pytest.raises(ConfigurationError, match=r"'mine'.*set embedding\.dimensions"):
        find_model("openai", "mine")
    client = client_of(simulator, "mine", dimensions=77)
    assert (await client.embed(TEXTS)).vectors.shape == (3, 77)
    await client.close()


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_too_many_texts_are_a_wrong_setting_that_is_named(simulator: Simulator, flavour: str) -> None:
    flavoured(simulator, flavour, texts_per_request=2)
    error = await failure_of(client_of(simulator))
    assert isinstance(error, ConfigurationError), error
    assert "lower limits.texts_per_request" in str(error)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("status", [413, 422])
async def test_texts_that_are_too_long_are_refused(simulator: Simulator, flavour: str, status: int) -> None:
    flavoured(simulator, flavour, tokens_per_text=5, tei_validation_status=status)
    error = await failure_of(client_of(simulator), ["one two three four five six"])
    assert isinstance(error, TextsRefused), error
    assert error.reason == "text_too_long"


@pytest.mark.parametrize("flavour", [flavour for flavour in FLAVOURS if flavour != "tei"])
async def test_a_model_that_is_not_there_stops_and_is_named(simulator: Simulator, flavour: str) -> None:
    flavoured(simulator, flavour)
    error = await failure_of(client_of(simulator, "nowhere", dimensions=8))
    assert isinstance(error, ProviderStopped), error
    assert "check embedding.model" in str(error)


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_trouble_of_the_server_is_waited_for(simulator: Simulator, flavour: str) -> None:
    flavoured(simulator, flavour)
    simulator.change({"faults": scripted(Reason.INTERNAL_ERROR, Reason.MODEL_UNAVAILABLE, Reason.LIMIT_REQUESTS)})
    client = client_of(simulator)
    assert [type(await failure_of(client_of(simulator))) for _ in range(3)] == [
        *(ProviderUnavailable, ProviderUnavailable),
        Throttled,
    ]
    await client.close()


async def test_an_empty_wallet_stops_where_dashscope_only_slows_down(simulator: Simulator) -> None:
    flavoured(simulator, "openai", wallet_empty=True)
    error = await failure_of(client_of(simulator))
    assert isinstance(error, ProviderStopped)
    assert error.code == "insufficient_quota"


async def test_a_query_carries_its_instruction_in_the_models_own_form(simulator: Simulator) -> None:
    client = client_of(simulator, instruct="Given a question, find what answers it")
    answer = await client.embed(["how long are logs kept"])
    sent = "Instruct: Given a question, find what answers it\nQuery:how long are logs kept"
    assert np.array_equal(answer.vectors[0], expected_vector(QWEN, 1024, sent))
    await client.close()


@pytest.mark.parametrize("order", [[None, None], [0, 0], [1, 2]])
async def test_items_without_their_numbers_are_not_trusted(order: list[int | None]) -> None:
    items = [{"embedding": [1.0, 2.0]} | ({} if at is None else {"index": at}) for at in order]
    client = make_client(find_model("openai", "mine", dimensions=2), base_url="http://127.0.0.1:9/v1", dimensions=2)
    assert isinstance(client, CompatibleClient)
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json={"data": items}))
    client._endpoint._pools[0].client._client = httpx2.AsyncClient(transport=transport)
    assert isinstance(await failure_of(client, ["a", "b"]), BilledInvalidResponse)


async def test_a_probe_finds_wrong_settings_before_anything_is_made(simulator: Simulator) -> None:
    await probe(client_of(simulator))
    with pytest.raises(ConfigurationError, match=r"embedding\.dimensions = 1024"):
        await probe(client_of(simulator, dimensions=512, ask_dimensions="never"))
    with pytest.raises(ProviderStopped, match=r"check embedding\.model"):
        await probe(client_of(simulator, "nowhere", dimensions=8))
    with pytest.raises(ProviderStopped, match=r"check embedding\.base_url"):
        await probe(client_of(simulator, base_url=f"{simulator.root_url}/nowhere"))


async def test_a_probe_waits_for_nobody(simulator: Simulator) -> None:
    simulator.change({"faults": scripted(Reason.MODEL_UNAVAILABLE, Reason.LIMIT_REQUESTS)})
    client = client_of(simulator)
    await probe(client)
    await probe(client)
    await client.close()
    assert simulator.books.requests == 2


async def test_a_server_that_takes_not_even_one_word_is_a_wrong_setting() -> None:
    client = make_client(find_model("openai", "mine", dimensions=2), base_url="http://127.0.0.1:9/v1", dimensions=2)
    assert isinstance(client, CompatibleClient)
    refusal = httpx2.Response(400, json={"error": "unknown field encoding_format"})
    client._endpoint._pools[0].client._client = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: refusal))
    with pytest.raises(ConfigurationError, match=r"not even one word.*unknown field"):
        await probe(client)
