from __future__ import annotations

import pytest

from millrace.tasks.embedding.addresses import embedding_space, endpoint_url, official_endpoint
from millrace.tasks.embedding.models import choose_dimensions, find_model, known_models
from millrace.tasks.errors import ConfigurationError

BEIJING = "https://dashscope.aliyuncs.com/compatible-mode/v1"
SINGAPORE = "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"
WORKSPACE = "https://ws-1.cn-beijing.maas.aliyuncs.com/compatible-mode/v1"
ELSEWHERE = "http://127.0.0.1:8000/v1"


def test_the_default_model_has_the_published_figures() -> None:
    v4 = find_model("dashscope", "")
    assert (v4.name, v4.region, v4.base_url) == ("text-embedding-v4", "cn-beijing", BEIJING)
    assert v4.dimensions == (2048, 1536, 1024, 768, 512, 256, 128, 64)
    assert (v4.default_dimensions, v4.texts_per_request, v4.tokens_per_text) == (1024, 10, 8192)
    assert (v4.requests_per_second, v4.tokens_per_second) == (30, 20_000)
    assert (v4.requests_per_minute, v4.tokens_per_minute) == (1_800, 1_200_000)
    assert (v4.price_cny_per_1k_tokens, v4.batch_price_cny_per_1k_tokens) == (0.0005, 0.00025)
    assert v4.end_mark_tokens == 1


def test_older_models_take_25_texts_of_fixed_dimensions_and_bill_no_end_mark() -> None:
    for name in ("text-embedding-v1", "text-embedding-v2"):
        spec = find_model("dashscope", name)
        assert (spec.dimensions, spec.takes_dimensions, spec.texts_per_request) == ((1536,), False, 25)
        assert (spec.tokens_per_text, spec.end_mark_tokens, spec.price_cny_per_1k_tokens) == (2048, 0, 0.0007)


def test_every_model_of_the_provider_is_known() -> None:
    assert known_models("dashscope") == tuple(f"text-embedding-v{version}" for version in (4, 3, 2, 1))
    assert known_models("local") == ("lexical-hashing-v2", "lexical-hashing-v1", "semantic-v1")


def test_the_region_follows_from_the_host() -> None:
    assert find_model("dashscope", "text-embedding-v4", base_url=SINGAPORE).requests_per_minute == 1_800
    assert find_model("dashscope", "text-embedding-v4", base_url=SINGAPORE).requests_per_second == 0
    assert find_model("dashscope", "text-embedding-v3", base_url=SINGAPORE).dimensions == (1024, 768, 512)
    workspace = find_model("dashscope", "text-embedding-v4", base_url=WORKSPACE)
    assert (workspace.region, workspace.base_url) == ("cn-beijing", WORKSPACE)
    assert find_model("dashscope", "text-embedding-v4", base_url=ELSEWHERE).region == "cn-beijing"


def test_a_region_without_figures_of_its_own_is_taken_to_have_the_default_ones() -> None:
    spec = find_model("dashscope", "text-embedding-v4", base_url="https://cn-hongkong.dashscope.aliyuncs.com")
    assert (spec.region, spec.requests_per_second) == ("cn-hongkong", 30)


@pytest.mark.parametrize(
    ("provider", "model", "hint"),
    [
        ("dashscope", "text-embeding-v4", "did you mean 'text-embedding-v4'?"),
        ("dashscope", "gpt", "known: text-embedding-v1"),
        ("dashcope", "text-embedding-v4", "did you mean 'dashscope'?"),
    ],
)
def test_an_unknown_name_is_an_error_that_names_the_nearest(provider: str, model: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_model(provider, model)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("", BEIJING),
        (BEIJING, BEIJING),
        (BEIJING + "/", BEIJING),
        ("https://dashscope.aliyuncs.com", BEIJING),
        ("https://dashscope-intl.aliyuncs.com/", SINGAPORE),
        (ELSEWHERE, ELSEWHERE),
    ],
)
def test_a_base_url_is_a_host_of_the_provider_or_ends_in_v1(given: str, url: str) -> None:
    assert endpoint_url(find_model("dashscope", "text-embedding-v4", base_url=given), given) == url


@pytest.mark.parametrize(
    "given", ["127.0.0.1:8000/v1", "http://127.0.0.1:8000", "http://h/v1/embeddings", "ftp://h/v1", "http://h/v1?a=1"]
)
def test_any_other_base_url_is_an_error_that_says_what_was_expected(given: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a URL that ends in /v1"):
        endpoint_url(find_model("dashscope", "text-embedding-v4"), given)


def test_dimensions_that_the_model_does_not_offer_are_an_error_that_lists_those_it_does() -> None:
    v4 = find_model("dashscope", "text-embedding-v4")
    assert (choose_dimensions(v4, None), choose_dimensions(v4, 256)) == (1024, 256)
    with pytest.raises(ConfigurationError, match="choose one of: 64, 128, 256, 512, 768, 1024, 1536, 2048"):
        choose_dimensions(v4, 1000)


def test_official_hosts_are_one_space_and_any_other_stands_for_itself() -> None:
    v4 = find_model("dashscope", "text-embedding-v4")
    official = {embedding_space(v4, url, 1024).name for url in ("", BEIJING, SINGAPORE, WORKSPACE)}
    assert len(official) == 1
    assert embedding_space(v4, ELSEWHERE + "/", 1024).endpoint == ELSEWHERE
    assert embedding_space(v4, ELSEWHERE, 1024).name not in official
    assert embedding_space(v4, "", 512).name not in official
    assert embedding_space(find_model("local", ""), "", 1024).endpoint == "local"


def test_a_host_that_only_looks_like_the_provider_is_not_official() -> None:
    assert official_endpoint(BEIJING)
    assert official_endpoint("")
    assert not official_endpoint("https://dashscope.aliyuncs.com.example.org/v1")
    assert not official_endpoint("https://example.org/dashscope.aliyuncs.com/v1")


@pytest.mark.parametrize(
    ("model", "length"),
    [
        ("Qwen/Qwen3-Embedding-0.6B", 1024),
        ("Qwen3-Embedding-0.6B", 1024),
        ("qwen3-embedding:0.6b", 1024),
        ("dengcao/Qwen3-Embedding-0.6B:Q8_0", 1024),
        ("Qwen/Qwen3-Embedding-4B", 2560),
        ("qwen3-embedding:8b-fp16", 4096),
        ("BAAI/bge-m3", 1024),
        ("bge-base-en-v1.5", 768),
        ("bge-small-zh-v1.5", 512),
        ("nomic-embed-text", 768),
        ("text-embedding-3-large", 3072),
    ],
)
def test_a_servers_model_is_known_by_its_usual_names_and_asked_for_by_the_one_given(model: str, length: int) -> None:
    spec = find_model("openai", model)
    assert (spec.name, spec.default_dimensions, choose_dimensions(spec, None)) == (model, length, length)


def test_qwen3_embedding_is_counted_by_its_own_tokenizer_and_shortened_on_demand() -> None:
    spec = find_model("openai", "Qwen/Qwen3-Embedding-0.6B")
    assert (spec.tokenizer, spec.end_mark_tokens, spec.tokens_per_text) == ("qwen", 1, 32768)
    assert [choose_dimensions(spec, length) for length in (32, 1000, 1024)] == [32, 1000, 1024]
    for length in (31, 1025):
        with pytest.raises(ConfigurationError, match="choose 32 to 1024"):
            choose_dimensions(spec, length)


def test_a_model_of_one_length_has_no_other() -> None:
    with pytest.raises(ConfigurationError, match="bge-m3 does not offer; choose one of: 1024"):
        choose_dimensions(find_model("openai", "bge-m3"), 512)


def test_an_unknown_model_has_the_length_that_is_said_and_bounds_that_fit_all() -> None:
    spec = find_model("openai", "mine", dimensions=77)
    assert (spec.default_dimensions, choose_dimensions(spec, 77)) == (77, 77)
    assert (spec.tokenizer, spec.texts_per_request, spec.tokens_per_text) == ("bytes", 32, 0)
    assert (spec.price_cny_per_1k_tokens, spec.priced) == (0.0, True)


@pytest.mark.parametrize("provider", ["openai", "iflytek"])
def test_where_any_name_will_do_one_must_be_given(provider: str) -> None:
    with pytest.raises(ConfigurationError, match=r"embedding\.model is empty"):
        find_model(provider, "")


def test_prices_of_openai_are_known_and_those_of_a_service_are_not() -> None:
    assert find_model("openai", "text-embedding-3-small").price_cny_per_1k_tokens == pytest.approx(0.02 * 7.3 / 1000)
    assert not find_model("iflytek", "s1").priced
