"""DashScope's native API, through the real openai SDK against the simulated provider."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from millrace.tasks.embedding.models import find_model
from millrace.tasks.embedding.providers.client import BilledInvalidResponse, EmbeddingClient, LostAnswer
from millrace.tasks.embedding.providers.dashscope_native import NativeClient
from millrace.tasks.embedding.providers.factory import make_client
from millrace.tasks.errors import (
    ConfigurationError,
    MillraceError,
    ProviderStopped,
    ProviderUnavailable,
    TextsRefused,
    Throttled,
)
from tests.simulator.faults import Damage, scripted
from tests.simulator.model.sparse import expected_sparse
from tests.simulator.model.tokens import bpe_tokens
from tests.simulator.model.vectors import expected_vector
from tests.simulator.refusals import Reason
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY
from tests.tasks.embedding.one_request import failure_of

V4 = "text-embedding-v4"
TEXTS = ["衣服的质量杠杠的", "Order E-4711 was refunded.", "été"]


def client_of(simulator: Simulator, model: str = V4, **options: Any) -> EmbeddingClient:
    given = {"base_url": simulator.native_url, "api_key": API_KEY, "timeout_s": 5.0, **options}
    return make_client(find_model("dashscope", model, base_url=given["base_url"]), api="native", **given)


@pytest.mark.parametrize(
    ("options", "text_type", "instruct"),
    [
        ({}, "document", ""),
        ({"text_type": "query"}, "query", ""),
        ({"text_type": "query", "instruct": "Find the order"}, "query", "Find the order"),
    ],
)
async def test_texts_are_embedded_as_what_they_are_said_to_be(
    simulator: Simulator, options: dict[str, str], text_type: str, instruct: str
) -> None:
    client = client_of(simulator, **options)
    answer = await client.embed(TEXTS)
    expected = np.stack([expected_vector(V4, 1024, text, text_type, instruct) for text in TEXTS])
    assert np.array_equal(answer.vectors, expected)
    assert answer.billed_tokens == sum(bpe_tokens(text) + 1 for text in TEXTS)
    assert answer.sparse is None
    assert answer.request_id
    await client.close()


async def test_dimensions_are_asked_for_where_the_model_takes_them(simulator: Simulator) -> None:
    for model, given, length in ((V4, 64, 64), ("text-embedding-v2", None, 1536)):
        client = client_of(simulator, model, dimensions=given)
        assert (await client.embed(TEXTS)).vectors.shape == (3, length)
        await client.close()


@pytest.mark.parametrize("root", ["native_url", "base_url"])
async def test_the_native_api_is_found_beside_the_compatible_one(simulator: Simulator, root: str) -> None:
    client = client_of(simulator, base_url=getattr(simulator, root))
    assert (await client.embed(TEXTS)).vectors.shape == (3, 1024)
    await client.close()


@pytest.mark.parametrize("doubled", [False, True])
async def test_sparse_vectors_come_beside_the_dense_ones_each_with_its_text(
    simulator: Simulator, doubled: bool
) -> None:
    simulator.change({"shuffled": True, "native": {"duplicate_sparse_indices": doubled}})
    client = client_of(simulator, sparse=True)
    answer = await client.embed(TEXTS * 3)
    assert answer.sparse == tuple(expected_sparse(V4, text) for text in TEXTS * 3)
    assert np.array_equal(answer.vectors[0], expected_vector(V4, 1024, TEXTS[0], "document"))
    await client.close()


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (Reason.LIMIT_REQUESTS, Throttled, "Throttling.RateQuota"),
        (Reason.INSUFFICIENT_QUOTA, Throttled, "Throttling.AllocationQuota"),
        (Reason.LIMIT_BURST_RATE, Throttled, "Throttling.BurstRate"),
        (Reason.ARREARAGE, ProviderStopped, "Arrearage"),
        (Reason.FREE_QUOTA_429, ProviderStopped, "Free allocated quota exceeded"),
        (Reason.WRONG_KEY, ProviderStopped, "InvalidApiKey"),
        (Reason.INTERNAL_ERROR, ProviderUnavailable, "500"),
        (Reason.HTML_502, ProviderUnavailable, "502"),
        (Damage.RESET, LostAnswer, "lost"),
        (Damage.TRUNCATED, BilledInvalidResponse, "not complete JSON"),
        (Damage.EMPTY_DATA, BilledInvalidResponse, "0 items"),
        (Damage.MISSING_ITEM, BilledInvalidResponse, "2 items"),
        (Damage.DOUBLED_INDEX, BilledInvalidResponse, "numbered"),
        (Damage.WRONG_DIMENSION, BilledInvalidResponse, "dimensions"),
        (Damage.NAN_VECTOR, BilledInvalidResponse, "not"),
        (Damage.ZERO_VECTOR, BilledInvalidResponse, "zero"),
        (Damage.NULL_EMBEDDING, BilledInvalidResponse, "missing"),
        (Damage.NO_SPARSE, BilledInvalidResponse, "no sparse vector"),
    ],
)
async def test_each_fault_becomes_the_error_that_says_what_to_do(
    simulator: Simulator, fault: Reason | Damage, kind: type[MillraceError], words: str
) -> None:
    simulator.change({"faults": scripted(fault)})
    error = await failure_of(client_of(simulator, sparse=True))
    assert type(error) is kind
    assert words in str(error)


async def test_an_error_in_a_200_is_an_error(simulator: Simulator) -> None:
    simulator.change({"faults": scripted(Damage.ERROR_IN_200)})
    assert isinstance(await failure_of(client_of(simulator)), ProviderUnavailable | Throttled)


async def test_a_wrong_key_says_which_setting_names_it(simulator: Simulator) -> None:
    error = await failure_of(client_of(simulator, api_key="sk-wrong-0123456789"))
    assert isinstance(error, ProviderStopped)
    assert (error.code, bool(error.request_id)) == ("InvalidApiKey", True)
    assert "embedding.api_key_env" in str(error)


async def test_texts_that_are_too_long_are_refused_and_too_many_are_a_wrong_setting(simulator: Simulator) -> None:
    error = await failure_of(client_of(simulator), ["word " * 9000])
    assert isinstance(error, TextsRefused)
    assert error.reason == "text_too_long"
    assert isinstance(await failure_of(client_of(simulator), ["text"] * 11), ConfigurationError)


def test_a_client_needs_a_key_and_does_not_show_it() -> None:
    spec = find_model("dashscope", V4)
    with pytest.raises(ConfigurationError, match=r"embedding.api_key_env"):
        make_client(spec, api="native")
    client = make_client(spec, api="native", api_key="sk-0123456789")
    assert isinstance(client, NativeClient)
    assert "0123456789" not in repr(client)
    assert "https://dashscope.aliyuncs.com/api/v1" in repr(client)
