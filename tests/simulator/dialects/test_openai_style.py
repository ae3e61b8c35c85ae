"""The server that speaks OpenAI's API, in the flavours of its kind, as bare HTTP."""

from __future__ import annotations

import base64

import numpy as np
import openai
import pytest

from tests.simulator.dialects.openai_settings import OpenAiSettings
from tests.simulator.faults import Damage, scripted
from tests.simulator.fixtures import StartSimulator
from tests.simulator.limits import Limits
from tests.simulator.model.ranking import expected_scores
from tests.simulator.model.vectors import expected_vector
from tests.simulator.raw import Reply, post
from tests.simulator.refusals import Reason
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY, SimulatorSettings

QWEN, BGE = "Qwen/Qwen3-Embedding-0.6B", "BAAI/bge-m3"
RERANKER = "BAAI/bge-reranker-v2-m3"
FLAVOURS = ("openai", "vllm", "vllm_flat", "tei", "ollama", "fastapi")
DOCUMENTS = ["of headings", "the order is refunded", "an order"]


def embed(simulator: Simulator, given: object = "a", key: str | None = None, **fields: object) -> Reply:
    return post(f"{simulator.openai_url}/embeddings", {"model": QWEN, "input": given} | fields, key)


def rerank(simulator: Simulator, **fields: object) -> Reply:
    body = {"model": RERANKER, "query": "refunded", "documents": DOCUMENTS} | fields
    return post(f"{simulator.openai_url}/rerank", body, None)


def tei_rerank(simulator: Simulator, **fields: object) -> Reply:
    return post(f"{simulator.root_url}/openai/rerank", {"query": "refunded", "texts": DOCUMENTS} | fields, None)


def flavoured(simulator: Simulator, flavour: str, **knobs: object) -> None:
    simulator.change({"openai": {"flavour": flavour} | knobs})


def vector_of(found: object) -> list[float]:
    if isinstance(found, str):
        return [float(value) for value in np.frombuffer(base64.b64decode(found), "<f4")]
    assert isinstance(found, list)
    return [float(np.float32(value)) for value in found]


@pytest.mark.parametrize(
    ("knob", "asked", "kind"),
    [
        ("asked", None, list),
        ("asked", "float", list),
        ("asked", "base64", str),
        ("float", "base64", list),
        ("base64", "float", str),
    ],
)
def test_vectors_come_as_floats_or_as_base64(
    simulator: Simulator, knob: str, asked: str | None, kind: type[object]
) -> None:
    simulator.change({"openai": {"embeddings_as": knob}})
    found = embed(simulator, **({} if asked is None else {"encoding_format": asked}))["data.0.embedding"]
    assert isinstance(found, kind)
    assert vector_of(found) == expected_vector(QWEN, 1024, "a").tolist()


def test_the_openai_sdk_reads_it_without_a_key(simulator: Simulator) -> None:
    with openai.OpenAI(base_url=simulator.openai_url, api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()][:2] == [QWEN, BGE]
        answer = client.embeddings.create(model=BGE, input=["a", "b"])
    assert answer.data[1].embedding == pytest.approx(expected_vector(BGE, 1024, "b").tolist())
    assert answer.usage.total_tokens == 4


@pytest.mark.parametrize(
    ("knob", "model", "length"),
    [("by_model", QWEN, 256), ("honour", BGE, 256), ("ignore", QWEN, 1024), ("ignore", BGE, 1024)],
)
def test_dimensions_are_honoured_or_ignored(simulator: Simulator, knob: str, model: str, length: int) -> None:
    simulator.change({"openai": {"dimensions": knob}})
    reply = embed(simulator, model=model, dimensions=256)
    assert vector_of(reply["data.0.embedding"]) == expected_vector(model, length, "a").tolist()
    assert simulator.books.text("a", (model, length)).bought == 1


@pytest.mark.parametrize(("knob", "model", "asked"), [("by_model", BGE, 1024), ("refuse", QWEN, 512)])
def test_dimensions_are_refused_in_vllms_words(simulator: Simulator, knob: str, model: str, asked: int) -> None:
    simulator.change({"openai": {"dimensions": knob}})
    reply = embed(simulator, model=model, dimensions=asked)
    assert reply.status == 400
    assert reply.body == {
        "error": {
            "message": f'Model "{model}" does not support matryoshka representation, changing output dimensions will '
            "lead to poor results.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        }
    }


@pytest.mark.parametrize(("usage", "found"), [("counted", 6), ("zero", 0), ("absent", None)])
def test_usage_may_be_zero_or_missing(simulator: Simulator, usage: str, found: int | None) -> None:
    simulator.change({"openai": {"usage": usage}})
    for body in (embed(simulator, "衣服的质量杠杠的").body, rerank(simulator).body):
        assert isinstance(body, dict)
        assert ("usage" in body) is (found is not None)
        assert found is None or (body["usage"]["total_tokens"] == 0) is (found == 0)


@pytest.mark.parametrize(
    ("flavour", "status", "body"),
    [
        (
            "tei",
            413,
            {"message": "batch size 33 > maximum allowed batch size 32", "code": 413, "type": "Validation"},
        ),
        (
            "openai",
            400,
            {
                "error": {
                    "message": "Invalid 'input': array too long. Expected an array with maximum length 32, but got an "
                    "array with length 33 instead.",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": "array_above_max_length",
                }
            },
        ),
    ],
)
def test_too_many_texts_are_refused_in_each_ones_words(
    simulator: Simulator, flavour: str, status: int, body: object
) -> None:
    flavoured(simulator, flavour, texts_per_request=32)
    assert embed(simulator, ["a"] * 32).status == 200
    reply = embed(simulator, ["a"] * 33)
    assert (reply.status, reply.body) == (status, body)


def test_fastapi_lists_what_is_wrong_with_a_list(simulator: Simulator) -> None:
    flavoured(simulator, "fastapi", texts_per_request=2)
    reply = embed(simulator, ["a"] * 3)
    assert (reply.status, reply["detail.0.msg"]) == (422, "List should have at most 2 items after validation, not 3")


@pytest.mark.parametrize(
    ("flavour", "status", "message"),
    [
        (
            "vllm",
            400,
            "This model's maximum context length is 512 tokens. However, you requested 601 tokens in the input for "
            "embedding generation. Please reduce the length of the input.",
        ),
        (
            "vllm_flat",
            400,
            "This model's maximum context length is 512 tokens. However, you requested 601 tokens in the input for "
            "embedding generation. Please reduce the length of the input.",
        ),
        ("tei", 413, "Input validation error: `inputs` must have less than 512 tokens. Given: 601"),
        ("ollama", 400, "the input length exceeds the context length"),
    ],
)
def test_too_long_a_text_is_refused_in_each_ones_words(
    simulator: Simulator, flavour: str, status: int, message: str
) -> None:
    flavoured(simulator, flavour, tokens_per_text=512)
    reply = embed(simulator, " word" * 600)
    assert isinstance(reply.body, dict)
    assert (reply.status, reply.body.get("error", reply.body)["message"]) == (status, message)


def test_tei_may_say_422(simulator: Simulator) -> None:
    flavoured(simulator, "tei", texts_per_request=1, tei_validation_status=422)
    assert embed(simulator, ["a", "b"]).status == 422


def test_an_over_long_text_is_cut_when_so_set(simulator: Simulator) -> None:
    flavoured(simulator, "ollama", tokens_per_text=512)
    simulator.change({"over_long": "truncate"})
    assert embed(simulator, " word" * 600).status == 200


@pytest.mark.parametrize(
    ("flavour", "status", "said"),
    [
        ("openai", 404, "The model `nope` does not exist or you do not have access to it."),
        ("vllm", 404, "The model `nope` does not exist."),
        ("vllm_flat", 404, '"object":"error"'),
        ("ollama", 404, 'model \\"nope\\" not found, try pulling it first'),
        ("fastapi", 404, '"detail":"The model `nope` does not exist'),
        ("tei", 200, QWEN),
    ],
)
def test_an_unknown_model_is_404_but_for_tei_which_has_one_only(
    simulator: Simulator, flavour: str, status: int, said: str
) -> None:
    flavoured(simulator, flavour)
    reply = embed(simulator, model="nope")
    assert reply.status == status
    assert said in reply.content.decode()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_key_counts_only_where_it_is_needed(simulator: Simulator, flavour: str) -> None:
    flavoured(simulator, flavour)
    assert [embed(simulator, key=key).status for key in (None, "sk-wrong", API_KEY)] == [200, 200, 200]
    simulator.change({"openai": {"key_needed": True}})
    assert [embed(simulator, key=key).status for key in (None, "sk-wrong", API_KEY)] == [401, 401, 200]
    assert post(f"{simulator.openai_url}/models", b"", "sk-wrong", method="GET").status == 401


def test_vllm_says_of_a_key_only_that_it_is_wrong(simulator: Simulator) -> None:
    simulator.change({"openai": {"key_needed": True}})
    assert embed(simulator).body == {"error": "Unauthorized"}


def test_an_empty_wallet_is_429_insufficient_quota_to_every_request(simulator: Simulator) -> None:
    flavoured(simulator, "openai", wallet_empty=True)
    reply = embed(simulator)
    assert (reply.status, reply["error.code"], reply["error.type"]) == (429, "insufficient_quota", "insufficient_quota")
    assert rerank(simulator).status == 429
    assert simulator.books.throttled == {}


def test_a_rate_limit_has_another_code_than_the_wallet(start_simulator: StartSimulator) -> None:
    limits = Limits(requests_per_minute=1, minute_window="sliding")
    simulator = start_simulator(SimulatorSettings(openai=OpenAiSettings(flavour="openai", limits=limits)))
    assert embed(simulator).status == 200
    reply = embed(simulator)
    assert (reply.status, reply["error.code"], reply["error.type"]) == (429, "rate_limit_exceeded", "requests")
    assert QWEN in str(reply["error.message"])
    assert embed(simulator, model=BGE).status == 200


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_reason_has_an_answer_in_every_flavour(simulator: Simulator, flavour: str) -> None:
    for ask in (embed, tei_rerank) if flavour == "tei" else (embed, rerank, tei_rerank):
        simulator.change({"faults": scripted(*Reason), "openai": {"flavour": flavour}})
        simulator.reset()
        for reason in Reason:
            assert ask(simulator).status >= 400
            assert simulator.books.refused[reason] == 1


def test_tei_names_the_trouble_of_its_backend_424(start_simulator: StartSimulator) -> None:
    settings = SimulatorSettings(openai=OpenAiSettings(flavour="tei"), faults=scripted(*[Reason.INTERNAL_ERROR] * 2))
    simulator = start_simulator(settings)
    assert (embed(simulator).status, sorted(tei_rerank(simulator).body)) == (424, ["error", "error_type"])  # type: ignore[call-overload]


def test_the_plan_damages_items(start_simulator: StartSimulator) -> None:
    faults = scripted(Damage.MISSING_ITEM, Damage.ERROR_IN_200, Damage.WRONG_DIMENSION)
    simulator = start_simulator(SimulatorSettings(faults=faults))
    missing, error, short = (embed(simulator, ["a", "b", "c"]) for _ in range(3))
    assert isinstance(missing["data"], list)
    assert [item["index"] for item in missing["data"]] == [0, 2]
    assert (error.status, error["error.type"]) == (200, "InternalServerError")
    assert len(vector_of(short["data.1.embedding"])) == 512


def test_reranked_documents_are_sorted_as_jina_has_them(simulator: Simulator) -> None:
    scores = expected_scores("refunded", DOCUMENTS)
    best_first = sorted(range(3), key=lambda number: -scores[number])
    reply = rerank(simulator)
    assert reply["results"] == [{"index": number, "relevance_score": scores[number]} for number in best_first]
    assert (best_first[0], reply["model"]) == (1, RERANKER)
    reply = rerank(simulator, top_n=1, return_documents=True, documents=[{"text": text} for text in DOCUMENTS])
    assert reply["results"] == [
        {"index": 1, "relevance_score": scores[1], "document": {"text": "the order is refunded"}}
    ]
    simulator.change({"openai": {"returned_documents": "always"}})
    assert rerank(simulator)["results.0.document"] == {"text": DOCUMENTS[1]}


def test_rerank_is_refused_as_embeddings_are(simulator: Simulator) -> None:
    simulator.change({"openai": {"texts_per_request": 2, "tokens_per_text": 100}})
    assert rerank(simulator).status == 400
    reply = rerank(simulator, documents=[" word" * 100])
    assert (reply.status, reply["error.type"]) == (400, "BadRequestError")
    assert rerank(simulator, model=QWEN, documents=["a"]).status == 404
    assert embed(simulator, model=RERANKER).status == 404


def test_teis_own_rerank_takes_texts_and_gives_a_bare_list(simulator: Simulator) -> None:
    scores = expected_scores("refunded", DOCUMENTS)
    best_first = sorted(range(3), key=lambda number: -scores[number])
    assert tei_rerank(simulator).body == [{"index": number, "score": scores[number]} for number in best_first]
    assert tei_rerank(simulator, return_text=True)["0.text"] == DOCUMENTS[1]
    assert post(f"{simulator.root_url}/openai/rerank", {"query": "a", "documents": DOCUMENTS}).status == 422


def test_teis_own_rerank_refuses_in_its_own_shape(simulator: Simulator) -> None:
    simulator.change({"openai": {"texts_per_request": 2, "tokens_per_text": 100}})
    reply = tei_rerank(simulator)
    assert reply.body == {"error": "batch size 3 > maximum allowed batch size 2", "error_type": "Validation"}
    assert reply.status == 413
    assert tei_rerank(simulator, texts=[" word" * 100]).status == 413
    assert tei_rerank(simulator, texts=[" word" * 100], truncate=True).status == 200
    assert tei_rerank(simulator, texts=[]).status == 400


def test_tei_has_no_rerank_below_v1(simulator: Simulator) -> None:
    flavoured(simulator, "tei")
    assert rerank(simulator).status == 404
