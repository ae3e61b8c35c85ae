"""Rerankers by name, and where they are reached from whatever address somebody has."""

from __future__ import annotations

import pytest

from millrace.tasks.embedding.rerank.models import RerankSpec, find_reranker, rerank_url
from millrace.tasks.errors import ConfigurationError

COMPATIBLE = "https://dashscope.aliyuncs.com/compatible-api/v1/reranks"
NATIVE = "https://dashscope.aliyuncs.com/api/v1/services/rerank/text-rerank/text-rerank"


def test_the_published_figures() -> None:
    assert find_reranker("dashscope", "") == RerankSpec(
        provider="dashscope",
        api="compatible",
        name="qwen3-rerank",
        takes_instruct=True,
        documents_per_request=500,
        tokens_per_text=4000,
        tokens_per_request=120_000,
        requests_per_minute=5_400,
        tokens_per_minute=5_000_000_000,
        price_cny_per_1k_tokens=0.0005,
        tokenizer="qwen",
    )
    gte = find_reranker("dashscope", "gte-rerank-v2", api="native")
    assert (gte.documents_per_request, gte.tokens_per_text, gte.tokens_per_request) == (500, 4000, 30_000)
    assert (gte.api, gte.price_cny_per_1k_tokens, gte.takes_instruct) == ("native", 0.0008, False)


@pytest.mark.parametrize("provider", ["iflytek", "openai"])
def test_any_name_is_a_model_where_names_are_not_known(provider: str) -> None:
    spec = find_reranker(provider, "sde0a5839")
    assert (spec.name, spec.documents_per_request, spec.tokens_per_request, spec.tokenizer) == ("sde0a5839", 0, 0, "")


@pytest.mark.parametrize(
    ("provider", "model", "api", "words"),
    [
        ("dashscope", "gte-rerank-v2", "compatible", 'set rerank.api = "native"'),
        ("dashscope", "qwen-rerank", "compatible", "did you mean 'qwen3-rerank'"),
        ("dashscope", "xyz", "compatible", "known: qwen3-rerank, gte-rerank-v2"),
        ("iflytek", "", "compatible", "rerank.model is empty"),
        ("local", "", "compatible", "use one of dashscope, iflytek, openai, or none"),
    ],
)
def test_what_is_not_offered_is_refused_in_words(provider: str, model: str, api: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_reranker(provider, model, api=api)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "known",
    [
        "",
        "https://dashscope.aliyuncs.com",
        "https://dashscope.aliyuncs.com/compatible-mode/v1/",
        "https://dashscope.aliyuncs.com/compatible-api/v1",
        "https://dashscope.aliyuncs.com/v1",
        "https://dashscope.aliyuncs.com/api/v1",
        COMPATIBLE,
        NATIVE,
    ],
)
def test_dashscope_reranks_beside_its_embeddings(known: str) -> None:
    qwen, gte = find_reranker("dashscope", ""), find_reranker("dashscope", "gte-rerank-v2", api="native")
    assert rerank_url(qwen, embedding_base_url=known) == COMPATIBLE
    assert rerank_url(gte, embedding_base_url=known) == NATIVE
    assert (
        rerank_url(gte, base_url=known, embedding_base_url="https://else.where/v1").endswith("/text-rerank")
        or not known
    )


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (
            "https://ws-1.cn-beijing.maas.aliyuncs.com/compatible-mode/v1",
            "https://ws-1.cn-beijing.maas.aliyuncs.com/compatible-api/v1/reranks",
        ),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/compatible-api/v1/reranks"),
        ("http://gateway/qwen/compatible-mode/v1", "http://gateway/qwen/compatible-api/v1/reranks"),
        ("http://gateway/qwen/rerank", "http://gateway/qwen/rerank"),
    ],
)
def test_workspaces_and_gateways_keep_their_own_hosts_and_paths(given: str, url: str) -> None:
    assert rerank_url(find_reranker("dashscope", ""), base_url=given) == url


@pytest.mark.parametrize(
    ("base", "embedding", "url"),
    [
        ("", "http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1/rerank"),
        ("http://127.0.0.1:9000/v1/", "http://127.0.0.1:8000/v1", "http://127.0.0.1:9000/v1/rerank"),
        ("http://127.0.0.1:9000/v2", "", "http://127.0.0.1:9000/v2/rerank"),
        ("http://127.0.0.1:9000/v1/rerank", "", "http://127.0.0.1:9000/v1/rerank"),
        ("http://127.0.0.1:9000/rerank", "", "http://127.0.0.1:9000/rerank"),
        ("http://127.0.0.1:9000", "", "http://127.0.0.1:9000/rerank"),
        ("", "http://127.0.0.1:7997/", "http://127.0.0.1:7997/rerank"),
    ],
)
def test_other_servers_rerank_below_their_root_or_where_they_are_said_to(base: str, embedding: str, url: str) -> None:
    for provider in ("openai", "iflytek"):
        spec = find_reranker(provider, "m")
        assert rerank_url(spec, base_url=base, embedding_base_url=embedding) == url
        assert rerank_url(spec, base_url=url) == url


def test_a_region_or_a_host_alone_is_enough_for_a_provider_that_has_its_own() -> None:
    assert rerank_url(find_reranker("iflytek", "m")) == "https://maas-api.cn-huabei-1.xf-yun.com/v1/rerank"
    host = "https://maas-api.cn-huabei-1.xf-yun.com"
    assert rerank_url(find_reranker("iflytek", "m"), base_url=host) == f"{host}/v1/rerank"
    singapore = rerank_url(find_reranker("dashscope", ""), region="ap-southeast-1")
    assert singapore == "https://dashscope-intl.aliyuncs.com/compatible-api/v1/reranks"


@pytest.mark.parametrize("given", ["", "127.0.0.1:9000/v1", "http:///v1", "http://127.0.0.1/v1?x=1"])
def test_an_address_that_tells_nothing_is_refused_with_what_would(given: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"rerank\.base_url to the root of its API, such as http://HOST:8000/v1"
    ):
        rerank_url(find_reranker("openai", "m"), base_url=given)
