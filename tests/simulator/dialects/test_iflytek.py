"""iFlytek's endpoints, as bare HTTP."""

from __future__ import annotations

import numpy as np
import pytest

from tests.simulator.faults import Damage, scripted
from tests.simulator.fixtures import StartSimulator
from tests.simulator.limits import Limits
from tests.simulator.model.ranking import expected_scores
from tests.simulator.model.vectors import expected_vector
from tests.simulator.raw import Reply, post
from tests.simulator.refusals import Reason
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY, IflytekSettings, SimulatorSettings

SERVICE, MODEL = "sde0a5839", "xop3qwen0b6embedding"
RERANK_SERVICE, RERANKER = "s7c31fe02", "xop3qwen0b6reranker"
DOCUMENTS = ["of headings", "the order is refunded", "an order"]


def embed(simulator: Simulator, given: object = "a", key: str | None = API_KEY, **fields: object) -> Reply:
    return post(f"{simulator.iflytek_url}/embeddings", {"model": SERVICE, "input": given} | fields, key)


def rerank(simulator: Simulator, **fields: object) -> Reply:
    body = {"model": RERANK_SERVICE, "query": "refunded", "documents": DOCUMENTS} | fields
    return post(f"{simulator.iflytek_url}/rerank", body)


def test_an_answer_names_the_model_behind_the_service_and_bills_a_template(simulator: Simulator) -> None:
    reply = embed(simulator, ["衣服的质量杠杠的", "代码改变世界"])
    assert isinstance(reply.body, dict)
    assert sorted(reply.body) == ["created", "data", "id", "model", "object", "usage"]
    assert (reply["model"], reply["object"]) == (MODEL, "list")
    assert reply["usage"] == {"prompt_tokens": 5 + 4 + 3 + 4, "total_tokens": 5 + 4 + 3 + 4}
    assert reply["data.1.index"] == 1
    assert np.array_equal(
        np.asarray(reply["data.1.embedding"], np.float32), expected_vector(MODEL, 1024, "代码改变世界")
    )
    assert simulator.books.text("代码改变世界", (MODEL, 1024)).bought == 1


@pytest.mark.parametrize(
    ("knob", "status", "length"), [("honour", 200, 256), ("ignore", 200, 1024), ("refuse", 400, 0)]
)
def test_dimensions_are_as_set(simulator: Simulator, knob: str, status: int, length: int) -> None:
    simulator.change({"iflytek": {"dimensions": knob}})
    reply = embed(simulator, dimensions=256)
    assert reply.status == status
    if status == 200:
        found = reply["data.0.embedding"]
        assert np.array_equal(np.asarray(found, np.float32), expected_vector(MODEL, length, "a"))


@pytest.mark.parametrize(
    ("body", "content"), [("empty", b""), ("text", b"Unauthorized"), ("message", b'{"message":"Unauthorized"}')]
)
def test_an_error_is_a_status_and_a_body_of_any_kind(simulator: Simulator, body: str, content: bytes) -> None:
    simulator.change({"iflytek": {"error_body": body}})
    reply = embed(simulator, key="sk-wrong")
    assert (reply.status, reply.content) == (401, content)
    assert "x-request-id" not in reply.headers


@pytest.mark.parametrize(
    ("given", "fields", "status"),
    [
        ("a", {"model": "s00000000"}, 403),
        (["a"] * 17, {}, 400),
        ([[1, 2]], {}, 400),
        ("词" * 9000, {}, 400),
        ("a", {"dimensions": 4096}, 400),
    ],
)
def test_a_wrong_request_is_refused_without_a_word(
    simulator: Simulator, given: object, fields: dict[str, object], status: int
) -> None:
    reply = post(f"{simulator.iflytek_url}/embeddings", {"model": SERVICE, "input": given} | fields)
    assert (reply.status, reply.content) == (status, b"")


def test_services_and_their_batch_size_can_be_set(simulator: Simulator) -> None:
    simulator.change({"iflytek": {"services": {"s1": ("other-model", 64)}, "texts_per_request": 2}})
    reply = embed(simulator, ["a", "b"], model="s1")
    assert (reply["model"], len(reply["data.0.embedding"])) == ("other-model", 64)  # type: ignore[arg-type]
    assert embed(simulator, ["a", "b", "c"], model="s1").status == 400
    assert embed(simulator).status == 403


def test_its_limits_are_its_own(start_simulator: StartSimulator) -> None:
    limits = Limits(requests_per_second=1, second_window="sliding")
    simulator = start_simulator(SimulatorSettings(iflytek=IflytekSettings(limits=limits)))
    assert [embed(simulator).status for _ in range(2)] == [200, 429]
    assert post(f"{simulator.base_url}/embeddings", {"model": "text-embedding-v4", "input": "a"}).status == 200


def test_planned_errors_come_with_the_documented_statuses(simulator: Simulator) -> None:
    reasons = (Reason.ACCESS_DENIED, Reason.INSUFFICIENT_QUOTA, Reason.INTERNAL_ERROR, Reason.MODEL_SERVING)
    simulator.change({"faults": scripted(*reasons), "iflytek": {"error_body": "text"}})
    replies = [embed(simulator) for _ in reasons]
    assert [reply.status for reply in replies] == [403, 429, 500, 503]
    assert replies[-1].content.decode() == "引擎过载"


def test_every_reason_has_an_answer(simulator: Simulator) -> None:
    for ask in (embed, rerank):
        simulator.change({"faults": scripted(*Reason)})
        simulator.reset()
        for reason in Reason:
            assert ask(simulator).status >= 400
            assert simulator.books.refused[reason] == 1


def test_the_plan_damages_items(start_simulator: StartSimulator) -> None:
    simulator = start_simulator(SimulatorSettings(faults=scripted(Damage.MISSING_ITEM, Damage.ERROR_IN_200)))
    items = embed(simulator, ["a", "b", "c"])["data"]
    assert isinstance(items, list)
    assert [item["index"] for item in items] == [0, 2]
    error = embed(simulator)
    assert (error.status, error.body) == (200, {"message": "引擎过载"})


def test_reranked_documents_keep_their_order_and_all_of_them_come(simulator: Simulator) -> None:
    reply = rerank(simulator, top_n=1, return_documents=True)
    scores = expected_scores("refunded", DOCUMENTS)
    assert reply["results"] == [{"index": number, "relevance_score": scores[number]} for number in range(3)]
    assert scores[1] == max(scores)
    assert (reply["model"], sorted(reply["usage"])) == (RERANKER, ["prompt_tokens", "total_tokens"])  # type: ignore[call-overload]
    assert rerank(simulator, model=SERVICE).status == 403
