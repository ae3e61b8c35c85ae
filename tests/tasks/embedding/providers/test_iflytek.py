"""iFlytek MaaS, through the real openai SDK against the simulated provider."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from millrace.tasks.embedding.addresses import embedding_space, endpoint_url
from millrace.tasks.embedding.models import choose_dimensions, find_model
from millrace.tasks.embedding.providers.client import EmbeddingClient
from millrace.tasks.embedding.providers.factory import make_client
from millrace.tasks.errors import (
    ConfigurationError,
    MillraceError,
    ProviderStopped,
    ProviderUnavailable,
    TextsRefused,
    Throttled,
)
from tests.simulator.faults import scripted
from tests.simulator.model.vectors import expected_vector
from tests.simulator.refusals import Reason
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY
from tests.tasks.embedding.one_request import TEXTS, failure_of

SERVICE, BEHIND = "sde0a5839", "xop3qwen0b6embedding"


def client_of(simulator: Simulator, service: str = SERVICE, **options: Any) -> EmbeddingClient:
    given = {"base_url": simulator.iflytek_url, "api_key": API_KEY, "timeout_s": 5.0, **options}
    return make_client(find_model("iflytek", service, base_url=given["base_url"]), **given)


async def test_a_service_answers_under_the_name_of_its_model_with_its_own_bill(simulator: Simulator) -> None:
    client = client_of(simulator)
    answer = await client.embed(TEXTS)
    assert np.array_equal(answer.vectors, np.stack([expected_vector(BEHIND, 1024, text) for text in TEXTS]))
    assert answer.billed_tokens
    await client.close()


async def test_dimensions_are_named_only_when_they_are_not_the_services_own(simulator: Simulator) -> None:
    simulator.change({"iflytek": {"dimensions": "refuse"}})
    client = client_of(simulator)
    assert (await client.embed(TEXTS)).vectors.shape == (3, 1024)
    await client.close()
    simulator.change({"iflytek": {"dimensions": "honour"}})
    client = client_of(simulator, dimensions=256)
    assert (await client.embed(TEXTS)).vectors.shape == (3, 256)
    await client.close()


async def test_a_service_with_vectors_of_another_length_is_a_wrong_setting_that_names_the_length(
    simulator: Simulator,
) -> None:
    simulator.change({"iflytek": {"services": {"s-large": ("xop3qwen8bembedding", 4096)}}})
    error = await failure_of(client_of(simulator, "s-large"))
    assert isinstance(error, ConfigurationError)
    assert "embedding.dimensions = 4096" in str(error)


@pytest.mark.parametrize("body", ["empty", "text", "message"])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Reason.WRONG_KEY, ProviderStopped),
        (Reason.ACCESS_DENIED, ProviderStopped),
        (Reason.LIMIT_REQUESTS, Throttled),
        (Reason.INTERNAL_ERROR, ProviderUnavailable),
        (Reason.MODEL_UNAVAILABLE, ProviderUnavailable),
    ],
)
async def test_the_status_alone_decides(
    simulator: Simulator, fault: Reason, kind: type[MillraceError], body: str
) -> None:
    simulator.change({"faults": scripted(fault), "iflytek": {"error_body": body}})
    error = await failure_of(client_of(simulator))
    assert type(error) is kind
    assert not isinstance(error, Throttled) or error.limit == "unknown"


async def test_too_many_texts_are_halved_because_nobody_says_how_many_are(simulator: Simulator) -> None:
    assert isinstance(await failure_of(client_of(simulator), ["text"] * 17), TextsRefused)


def test_the_id_of_a_service_is_needed() -> None:
    with pytest.raises(ConfigurationError, match=r"embedding\.model is empty.*the id of your service"):
        find_model("iflytek", "")


def test_what_is_not_published_is_not_made_up() -> None:
    spec = find_model("iflytek", SERVICE)
    assert (spec.requests_per_second, spec.tokens_per_minute, spec.tokens_per_text) == (0, 0, 0)
    assert (spec.priced, spec.tokenizer, spec.texts_per_request) == (False, "qwen", 10)
    assert [choose_dimensions(spec, given) for given in (None, 512, 4096)] == [1024, 512, 4096]


def test_both_versions_of_the_api_are_the_providers_own() -> None:
    spec = find_model("iflytek", SERVICE)
    root = "https://maas-api.cn-huabei-1.xf-yun.com"
    assert endpoint_url(spec, "") == endpoint_url(spec, root) == f"{root}/v1"
    assert endpoint_url(spec, f"{root}/v2/") == f"{root}/v2"
    spaces = {embedding_space(spec, url, 1024).name for url in ("", root, f"{root}/v2")}
    assert len(spaces) == 1
    assert embedding_space(spec, "http://127.0.0.1:9/v1", 1024).name not in spaces
