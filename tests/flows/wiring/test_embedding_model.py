"""From settings to a model and its clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from millrace.configs.settings import Settings, load_settings
from millrace.flows.wiring.components import fingerprint, load_model, open_client, query_space
from millrace.tasks.errors import ConfigurationError
from tests.simulator.model.sparse import expected_sparse
from tests.simulator.model.vectors import expected_vector
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY

V4, QWEN = "text-embedding-v4", "Qwen/Qwen3-Embedding-0.6B"
ENVIRONMENT = {"DASHSCOPE_API_KEY": API_KEY, "IFLYTEK_API_KEY": API_KEY}
NATIVE = ["embedding.provider=dashscope", "embedding.api=native"]
SERVER = ["embedding.provider=openai", "embedding.base_url=http://127.0.0.1:9/v1"]


def settings_of(*overrides: str) -> Settings:
    return load_settings(overrides=overrides, environment={})


def refusal_of(*overrides: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_model(settings_of(*overrides))
    return str(caught.value)


async def embedded(settings: Settings, text: str, *, query: bool = False) -> Any:
    client = open_client(settings, load_model(settings), ENVIRONMENT, query=query)
    answer = await client.embed([text])
    await client.close()
    return answer


async def test_documents_and_queries_are_embedded_as_what_they_are(simulator: Simulator) -> None:
    settings = settings_of(*NATIVE, f"embedding.base_url={simulator.native_url}", "search.instruct=Find the order")
    document = await embedded(settings, "E-4711")
    assert np.array_equal(document.vectors[0], expected_vector(V4, 1024, "E-4711", "document"))
    query = await embedded(settings, "E-4711", query=True)
    assert np.array_equal(query.vectors[0], expected_vector(V4, 1024, "E-4711", "query", "Find the order"))


async def test_hybrid_search_by_sparse_vectors_makes_both_sides_sparse(simulator: Simulator) -> None:
    settings = settings_of(*NATIVE, f"embedding.base_url={simulator.native_url}", "milvus.hybrid=sparse")
    assert load_model(settings).space.sparse
    for query in (False, True):
        assert (await embedded(settings, "E-4711", query=query)).sparse == (expected_sparse(V4, "E-4711"),)


async def test_a_query_to_a_server_carries_its_instruction_and_a_document_none(simulator: Simulator) -> None:
    at = f"embedding.base_url={simulator.openai_url}"
    settings = settings_of("embedding.provider=openai", at, f"embedding.model={QWEN}", "search.instruct=Find it")
    document = await embedded(settings, "E-4711")
    assert np.array_equal(document.vectors[0], expected_vector(QWEN, 1024, "E-4711"))
    query = await embedded(settings, "E-4711", query=True)
    assert np.array_equal(query.vectors[0], expected_vector(QWEN, 1024, "Instruct: Find it\nQuery:E-4711"))


async def test_a_query_without_an_instruction_goes_as_it_is(simulator: Simulator) -> None:
    at = f"embedding.base_url={simulator.iflytek_url}"
    settings = settings_of("embedding.provider=iflytek", at, "embedding.model=sde0a5839")
    query = await embedded(settings, "E-4711", query=True)
    assert np.array_equal(query.vectors[0], expected_vector("xop3qwen0b6embedding", 1024, "E-4711"))


def test_the_query_side_has_a_space_of_its_own_where_it_differs() -> None:
    native = settings_of(*NATIVE, "search.instruct=Find")
    model = load_model(native)
    assert (model.space.text_type, model.space.instruct) == ("document", "")
    side = query_space(native, model)
    assert (side.text_type, side.instruct, side.model, side.dimensions) == ("query", "Find", V4, 1024)
    plain = settings_of("embedding.provider=dashscope")
    assert query_space(plain, load_model(plain)) == load_model(plain).space


@pytest.mark.parametrize(
    "overrides", [["search.instruct=Find"], ["embedding.provider=dashscope", "search.instruct=Find"]]
)
def test_an_instruction_that_nobody_would_heed_stops_a_search_and_no_ingest(overrides: list[str]) -> None:
    settings = settings_of(*overrides)
    model = load_model(settings)
    open_client(settings, model, ENVIRONMENT)
    with pytest.raises(ConfigurationError, match=r"search\.instruct"):
        open_client(settings, model, ENVIRONMENT, query=True)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["embedding.provider=dashscope", "embedding.text_type=query"], 'embedding.api = "native"'),
        ([*SERVER, "embedding.model=bge-m3", "embedding.instruct=Find"], "search.instruct"),
        ([*NATIVE, "embedding.instruct=Find"], 'needs embedding.text_type = "query"'),
        (["embedding.api=native"], "local needs embedding.api"),
        (["embedding.provider=dashscope", "milvus.hybrid=sparse"], 'milvus.hybrid is "sparse"'),
        ([*SERVER, "embedding.model=bge-m3", "milvus.hybrid=sparse"], 'milvus.hybrid is "sparse"'),
        (["embedding.provider=dashscope", "embedding.region=mars"], "known: cn-beijing"),
        (["embedding.provider=openai", "embedding.model=bge-m3"], "needs embedding.base_url"),
        (SERVER, "embedding.model is empty"),
        ([*SERVER, "embedding.model=mine"], "set embedding.dimensions"),
        ([*SERVER, "embedding.model=bge-large-zh-v1.5"], "takes 509 tokens a text at most"),
        ([*SERVER, "embedding.model=bge-m3", "embedding.tokenizer=gpt"], "There is no tokenizer 'gpt'"),
        ([*SERVER, "embedding.model=bge-m3", "embedding.tokenizer=nowhere.json"], "nowhere.json cannot be read"),
        (["embedding.provider=iflytek"], "the id of your service"),
        (
            ["embedding.provider=iflytek", "embedding.model=s1", "budget.max_cny=5"],
            "budget.max_cny = 5.0 cannot be kept",
        ),
    ],
)
def test_what_cannot_be_right_is_said_before_anything_is_done(overrides: list[str], words: str) -> None:
    assert words in refusal_of(*overrides)


def test_a_region_chooses_limits_and_the_space_stays() -> None:
    beijing, singapore = (
        load_model(settings_of("embedding.provider=dashscope", f"embedding.region={region}"))
        for region in ("", "ap-southeast-1")
    )
    assert (beijing.spec.tokens_per_minute, singapore.spec.tokens_per_minute) == (1_200_000, 1_000_000)
    assert beijing.space == singapore.space


def test_an_unknown_model_is_counted_in_bytes_and_the_user_hears_of_it() -> None:
    model = load_model(settings_of(*SERVER, "embedding.model=mine", "embedding.dimensions=77"))
    assert (model.spec.tokenizer, model.space.dimensions) == ("bytes", 77)
    assert [note.split(",")[0] for note in model.notes] == [
        "the tokenizer of mine is not known",
        "how long a text mine takes is not known; a server that cuts longer ones in silence gives vectors of their "
        "beginnings",
    ]
    named = load_model(
        settings_of(*SERVER, "embedding.model=mine", "embedding.dimensions=77", "embedding.tokenizer=qwen")
    )
    assert (named.spec.tokenizer, len(named.notes)) == ("qwen", 1)


def test_a_known_model_has_nothing_to_tell_but_what_its_makers_say() -> None:
    assert load_model(settings_of(*SERVER, f"embedding.model={QWEN}")).notes == ()
    assert load_model(settings_of()).notes == ()
    e5 = load_model(settings_of(*SERVER, "embedding.model=intfloat/multilingual-e5-large", "chunking.max_tokens=500"))
    assert any("passage: " in note for note in e5.notes)


def test_a_price_that_nobody_knows_does_not_look_like_none() -> None:
    model = load_model(settings_of("embedding.provider=iflytek", "embedding.model=s1"))
    assert any("is not known, so costs are shown as 0" in note for note in model.notes)
    capped = load_model(settings_of(*SERVER, f"embedding.model={QWEN}", "budget.max_cny=5"))
    assert any("budget.max_cny does nothing" in note for note in capped.notes)


def test_a_server_of_ones_own_is_asked_for_little_at_once_unless_told_otherwise() -> None:
    overrides = [*SERVER, f"embedding.model={QWEN}"]
    assert load_model(settings_of(*overrides)).max_in_flight == 4
    assert load_model(settings_of(*overrides, "limits.max_in_flight=64")).max_in_flight == 64
    assert load_model(settings_of("embedding.provider=dashscope")).max_in_flight == 128


def test_chunks_are_made_anew_by_another_tokenizer_and_not_because_its_file_moved(tmp_path: Path) -> None:
    model = {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}
    (tmp_path / "one.json").write_bytes(orjson.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    (tmp_path / "two.json").write_bytes((tmp_path / "one.json").read_bytes())

    def made_by(tokenizer: object) -> str:
        settings = settings_of(*SERVER, "embedding.model=bge-m3", f"embedding.tokenizer={tokenizer}")
        return fingerprint(settings, load_model(settings))

    assert made_by(tmp_path / "one.json") == made_by(tmp_path / "two.json")
    assert len({made_by(name) for name in ("qwen", "bytes", tmp_path / "one.json")}) == 3


@pytest.mark.parametrize(
    ("overrides", "setting"),
    [
        (("embedding.provider=openai", "embedding.base_url=http://gpu.example:8000/v1"), "embedding.base_url"),
        (("milvus.uri=http://milvus.example:19530",), "milvus.uri"),
        (("lake.endpoint=http://minio.example:9000",), "lake.endpoint"),
        (("rerank.provider=openai", "rerank.base_url=http://gpu.example:8001/v1"), "rerank.base_url"),
        (("embedding.provider=openai", "embedding.base_url=https://gpu.example:8000/v1"), ""),
        (("embedding.provider=openai", "embedding.base_url=http://127.0.0.1:8000/v1"), ""),
        (("milvus.uri=http://localhost:19530",), ""),
    ],
)
def test_a_secret_over_plain_http_to_another_host_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], setting: str
) -> None:
    for variable in ("OPENAI_API_KEY", "MILVUS_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "Wq83jd0aKx")
    model = ("embedding.model=m", "embedding.dimensions=8", "embedding.tokenizer=bytes")
    overrides = (*overrides, *(model if "embedding.provider=openai" in overrides else ()))
    warnings = [
        note for note in load_model(load_settings(overrides=overrides, environment={})).notes if "unencrypted" in note
    ]
    assert len(warnings) == bool(setting)
    assert all(f"warning: {setting} is http://" in note and "Wq83jd0aKx" not in note for note in warnings)


def test_without_a_secret_plain_http_is_nobodys_concern(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MILVUS_TOKEN", raising=False)
    settings = load_settings(overrides=["milvus.uri=http://milvus.example:19530"], environment={})
    assert [note for note in load_model(settings).notes if "unencrypted" in note] == []
