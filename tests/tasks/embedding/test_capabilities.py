from __future__ import annotations

import pytest

from millrace.tasks.embedding.models import check_capabilities, find_model
from millrace.tasks.embedding.providers.factory import make_client
from millrace.tasks.errors import ConfigurationError

V4 = find_model("dashscope", "text-embedding-v4")
V3 = find_model("dashscope", "text-embedding-v3")
V2 = find_model("dashscope", "text-embedding-v2")
LOCAL = find_model("local", "")
SERVICE = find_model("iflytek", "s1")
SERVER = find_model("openai", "BAAI/bge-m3")


def test_what_a_model_offers_is_let_pass() -> None:
    check_capabilities(V4, api="native", text_type="query", instruct="Find", sparse=True)
    check_capabilities(V3, api="native", text_type="document", sparse=True)
    check_capabilities(V2, api="native", text_type="query")
    check_capabilities(LOCAL, sparse=True)
    for spec in (SERVICE, SERVER):
        check_capabilities(spec, instruct="Find")


@pytest.mark.parametrize("spec", [LOCAL, SERVICE, SERVER])
def test_the_native_api_is_dashscopes_alone(spec: object) -> None:
    with pytest.raises(ConfigurationError, match=r"embedding\.api"):
        check_capabilities(spec, api="native")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "options", "words"),
    [
        (V4, {"api": "native", "text_type": "document"}, 'needs search.text_type = "query"'),
        (V4, {"api": "native"}, 'needs search.text_type = "query"'),
        (V3, {"api": "native", "text_type": "query"}, "text-embedding-v3 takes no instruction"),
        (V4, {}, 'needs embedding.api = "native"'),
        (LOCAL, {}, "provider local takes no instruction"),
    ],
)
def test_an_instruction_that_nobody_would_heed_is_an_error(spec: object, options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=r"search\.instruct is set, but ") as caught:
        check_capabilities(spec, instruct="Find", section="search", **options)  # type: ignore[arg-type]
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "api"), [(V4, "compatible"), (V2, "native"), (SERVICE, "compatible"), (SERVER, "compatible")]
)
def test_sparse_vectors_that_a_model_does_not_give_are_an_error_that_says_who_does(spec: object, api: str) -> None:
    with pytest.raises(ConfigurationError, match=r'milvus\.hybrid is "sparse".*text-embedding-v4 and v3'):
        check_capabilities(spec, api=api, sparse=True)  # type: ignore[arg-type]


def test_no_client_is_made_for_what_is_not_offered() -> None:
    with pytest.raises(ConfigurationError, match=r"milvus\.hybrid"):
        make_client(V4, api_key="sk-x", sparse=True)
