"""Regions by name, and where each API is."""

from __future__ import annotations

import doctest

import pytest

from millrace.tasks.embedding import addresses as module
from millrace.tasks.embedding.addresses import embedding_space, endpoint_url, native_url, provider_url
from millrace.tasks.embedding.models import find_model
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.records import EmbeddingSpace

V4 = "text-embedding-v4"
BEIJING = "https://dashscope.aliyuncs.com"
SINGAPORE = "https://dashscope-intl.aliyuncs.com"
WORKSPACE = "https://ws-1.eu-central-1.maas.aliyuncs.com"


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("", BEIJING),
        ("cn-beijing", BEIJING),
        ("ap-southeast-1", SINGAPORE),
        ("cn-hongkong", "https://cn-hongkong.dashscope.aliyuncs.com"),
        ("us-east-1", "https://dashscope-us.aliyuncs.com"),
        ("cn-finance", "https://dashscope-finance.aliyuncs.com"),
    ],
)
def test_a_region_is_a_host(region: str, host: str) -> None:
    spec = find_model("dashscope", V4, region=region)
    assert endpoint_url(spec, "") == provider_url("dashscope", region) == f"{host}/compatible-mode/v1"
    assert native_url(spec, "") == f"{host}/api/v1"


def test_a_region_has_its_own_limits() -> None:
    assert find_model("dashscope", V4, region="ap-southeast-1").tokens_per_minute == 1_000_000
    assert find_model("dashscope", "text-embedding-v3", region="ap-southeast-1").tokens_per_minute == 24_000_000
    assert find_model("dashscope", V4, region="ap-southeast-1", base_url="http://gateway/v1").requests_per_second == 0


def test_a_base_url_comes_before_the_region() -> None:
    spec = find_model("dashscope", V4, region="ap-southeast-1", base_url=BEIJING)
    assert (spec.region, endpoint_url(spec, BEIJING)) == ("cn-beijing", f"{BEIJING}/compatible-mode/v1")


def test_an_unknown_region_is_an_error_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean 'cn-beijing'\? known: cn-beijing, ap-southeast-1"):
        find_model("dashscope", V4, region="beijing")
    with pytest.raises(ConfigurationError, match="provider openai has no regions"):
        find_model("openai", "bge-m3", region="cn-beijing")


@pytest.mark.parametrize("region", ["eu-central-1", "ap-northeast-1"])
def test_a_region_of_workspaces_alone_says_what_its_hosts_look_like(region: str) -> None:
    pattern = rf"embedding\.base_url to https://\{{WorkspaceId\}}\.{region}\.maas\.aliyuncs\.com/compatible-mode/v1"
    with pytest.raises(ConfigurationError, match=pattern):
        find_model("dashscope", V4, region=region)
    spec = find_model("dashscope", V4, region=region, base_url=WORKSPACE)
    assert (spec.region, endpoint_url(spec, WORKSPACE)) == ("eu-central-1", f"{WORKSPACE}/compatible-mode/v1")


@pytest.mark.parametrize(
    ("given", "root"),
    [
        (BEIJING, f"{BEIJING}/api/v1"),
        (f"{BEIJING}/", f"{BEIJING}/api/v1"),
        (f"{BEIJING}/api/v1", f"{BEIJING}/api/v1"),
        (f"{SINGAPORE}/compatible-mode/v1", f"{SINGAPORE}/api/v1"),
        (f"{WORKSPACE}/compatible-mode/v1/", f"{WORKSPACE}/api/v1"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/api/v1"),
        ("http://127.0.0.1:8000/api/v1/", "http://127.0.0.1:8000/api/v1"),
        ("http://gateway/dashscope/compatible-mode/v1", "http://gateway/dashscope/api/v1"),
        ("http://gateway/dashscope/api/v1", "http://gateway/dashscope/api/v1"),
    ],
)
def test_the_native_api_is_beside_the_compatible_one(given: str, root: str) -> None:
    assert native_url(find_model("dashscope", V4, base_url=given), given) == root


@pytest.mark.parametrize("given", ["http://gateway", "http://gateway/embeddings", "ftp://h/api/v1", "h/api/v1"])
def test_any_other_base_url_of_the_native_api_is_an_error(given: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ends in /api/v1"):
        native_url(find_model("dashscope", V4), given)


def test_the_compatible_api_is_found_beside_the_native_one_of_an_official_host() -> None:
    assert endpoint_url(find_model("dashscope", V4), f"{BEIJING}/api/v1") == f"{BEIJING}/compatible-mode/v1"


def test_the_compatible_api_has_the_space_that_it_always_had() -> None:
    spec = find_model("dashscope", V4)
    assert embedding_space(spec, "", 1024) == EmbeddingSpace("dashscope", V4, 1024)
    assert embedding_space(spec, "", 1024).name == "text-embedding-v4-1024-7ac4ee0efba2fb25"
    local = find_model("local", "lexical-hashing-v1")
    assert embedding_space(local, "", 1024).name == "lexical-hashing-v1-1024-47350e48e2fb5977"


def test_text_type_instruction_and_sparse_vectors_are_spaces_of_their_own() -> None:
    spec = find_model("dashscope", V4)
    compatible = embedding_space(spec, "", 1024)
    document = embedding_space(spec, "", 1024, api="native")
    assert document == EmbeddingSpace("dashscope", V4, 1024, text_type="document")
    spaces = [
        compatible,
        document,
        embedding_space(spec, "", 1024, api="native", text_type="query"),
        embedding_space(spec, "", 1024, api="native", text_type="query", instruct="Find"),
        embedding_space(spec, "", 1024, api="native", sparse=True),
    ]
    assert len({space.name for space in spaces}) == len(spaces)
    assert embedding_space(spec, "http://h/v1", 1024, api="native").endpoint == "http://h/api/v1"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1", "http://127.0.0.1:7997", "https://h/api/paas/v4", "http://h/v1"]
)
def test_a_server_may_have_its_api_anywhere_and_stands_for_itself(url: str) -> None:
    spec = find_model("openai", "BAAI/bge-m3", base_url=url)
    assert endpoint_url(spec, url + "/") == url
    assert embedding_space(spec, url, 1024) == EmbeddingSpace(url, "BAAI/bge-m3", 1024)


def test_a_server_on_the_host_of_another_provider_stands_for_itself_too() -> None:
    url = f"{BEIJING}/compatible-mode/v1"
    assert embedding_space(find_model("openai", V4, dimensions=1024), url, 1024).endpoint == url


@pytest.mark.parametrize("given", ["", "http://h/v1/embeddings", "http://h/v1?key=1", "h:8000/v1"])
def test_a_server_must_have_an_address(given: str) -> None:
    with pytest.raises(ConfigurationError, match=r"embedding\.base_url"):
        endpoint_url(find_model("openai", "BAAI/bge-m3"), given)


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0
