"""DashScope's rerank endpoints, as bare HTTP."""

from __future__ import annotations

import math

import pytest

from tests.simulator.books import RerankCounts
from tests.simulator.faults import Damage, scripted
from tests.simulator.fixtures import StartSimulator
from tests.simulator.limits import Limits
from tests.simulator.model.ranking import expected_scores
from tests.simulator.raw import Reply, post
from tests.simulator.refusals import Reason
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY, RerankSettings, SimulatorSettings

QWEN, GTE = "qwen3-rerank", "gte-rerank-v2"
QUERY = "How is an order refunded?"
DOCUMENTS = [
    "Chunks are cut at headings, never inside a character.",
    "To have an order refunded, open the order and press Refund; refunded money arrives in a week.",
    "An order may be changed until it leaves the house.",
    "退款在七天内到账。",
]
BEST_FIRST = [1, 2, 0, 3]


def compatible(simulator: Simulator, key: str | None = API_KEY, **fields: object) -> Reply:
    body = {"model": QWEN, "query": QUERY, "documents": DOCUMENTS} | fields
    return post(f"{simulator.rerank_url}/reranks", body, key)


def native(simulator: Simulator, model: str = QWEN, documents: object = None, **parameters: object) -> Reply:
    given = {"query": QUERY, "documents": DOCUMENTS if documents is None else documents}
    body = {"model": model, "input": given, "parameters": parameters}
    return post(f"{simulator.native_url}/services/rerank/text-rerank/text-rerank", body)


def scored(found: object) -> list[tuple[int, float]]:
    assert isinstance(found, list)
    return [(result["index"], result["relevance_score"]) for result in found]


def expected(instruct: str = "") -> list[tuple[int, float]]:
    scores = expected_scores(QUERY, DOCUMENTS, instruct)
    return [(number, scores[number]) for number in BEST_FIRST]


def test_scores_are_shares_and_the_passage_that_answers_comes_first() -> None:
    scores = expected_scores(QUERY, DOCUMENTS)
    assert sorted(range(4), key=lambda number: -scores[number]) == BEST_FIRST
    assert all(0 <= score < 1 for score in scores)
    assert max(expected_scores("几天退款", DOCUMENTS)) == expected_scores("几天退款", DOCUMENTS)[3]


def test_a_rare_word_outweighs_the_common_ones_and_a_short_passage_a_long_one() -> None:
    rare, common = "the error is E-4711", "the error is in the order of the order"
    assert expected_scores("what is the error E-4711", [rare, common])[0] > 0.5
    short, long = "refund policy", "refund policy " + "of the house and all its rooms " * 50
    assert expected_scores("refund", [short, long])[0] > expected_scores("refund", [short, long])[1]


def test_an_instruction_changes_scores_a_little() -> None:
    plain, told = expected_scores(QUERY, DOCUMENTS), expected_scores(QUERY, DOCUMENTS, "Prefer policies")
    assert plain != told
    assert all(0.9 * one <= other <= one for one, other in zip(plain, told, strict=True))


def test_the_compatible_answer_is_sorted_and_names_model_and_usage(simulator: Simulator) -> None:
    reply = compatible(simulator)
    assert isinstance(reply.body, dict)
    assert sorted(reply.body) == ["id", "model", "object", "results", "usage"]
    assert (reply["object"], reply["model"], reply["id"]) == ("list", QWEN, reply.headers["x-request-id"])
    assert scored(reply["results"]) == expected()
    assert all(sorted(result) == ["index", "relevance_score"] for result in reply.body["results"])


def test_top_n_and_documents_come_when_asked_for(simulator: Simulator) -> None:
    reply = compatible(simulator, top_n=2, return_documents=True)
    assert scored(reply["results"]) == expected()[:2]
    assert reply["results.0.document"] == {"text": DOCUMENTS[1]}
    assert len(scored(compatible(simulator, top_n=99)["results"])) == 4
    reply = native(simulator, GTE, top_n=1, return_documents=True)
    assert scored(reply["output.results"]) == expected()[:1]
    assert reply["output.results.0.document"] == {"text": DOCUMENTS[1]}


def test_instruct_counts_with_qwen_on_both_endpoints_and_not_with_gte(simulator: Simulator) -> None:
    told = sorted(expected("Prefer policies"))
    assert sorted(scored(compatible(simulator, instruct="Prefer policies")["results"])) == told
    assert sorted(scored(native(simulator, instruct="Prefer policies")["output.results"])) == told
    assert scored(native(simulator, GTE, instruct="Prefer policies")["output.results"]) == expected()


def test_the_native_answer_has_output_usage_and_request_id(simulator: Simulator) -> None:
    reply = native(simulator, GTE)
    assert isinstance(reply.body, dict)
    assert sorted(reply.body) == ["output", "request_id", "usage"]
    assert reply["request_id"] == reply.headers["x-request-id"]


def test_the_query_is_billed_once_a_document(simulator: Simulator) -> None:
    reply = compatible(simulator, query="衣服的质量杠杠的", documents=["代码改变世界", "我想知道迪士尼的退票政策"])
    assert reply["usage"] == {"total_tokens": 5 * 2 + 3 + 7}
    compatible(simulator, documents=["a"] * 501)
    assert simulator.books.rerank == RerankCounts(
        requests=2, answered=1, documents=2, tokens_billed=20, most_documents=501, largest_request_tokens=20
    )
    assert (simulator.books.tokens_billed, simulator.books.answered) == (0, 0)


def test_an_over_long_document_is_cut_without_a_word(simulator: Simulator) -> None:
    tail_only = "词 " * 5000 + QUERY
    reply = compatible(simulator, documents=[tail_only, "An order."])
    assert scored(reply["results"])[0][0] == 1
    assert reply["usage"] == {"total_tokens": 2 * 6 + 4000 + 3}


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": GTE}, 404, "model_not_supported"),
        ({"model": "text-embedding-v4"}, 404, "model_not_supported"),
        ({"model": "qwen9-rerank"}, 404, "model_not_found"),
        ({"documents": ["a"] * 501}, 400, "InvalidParameter"),
        ({"documents": []}, 400, "InvalidParameter"),
        ({"documents": ["词 " * 4000] * 30}, 400, "InvalidParameter"),
        ({"top_n": 0}, 400, "InvalidParameter"),
        ({"query": None}, 400, "InvalidParameter"),
        ({"key": "sk-wrong"}, 401, "invalid_api_key"),
    ],
)
def test_the_compatible_endpoint_refuses_in_its_shape(
    simulator: Simulator, fields: dict[str, object], status: int, code: str
) -> None:
    key = str(fields.pop("key", API_KEY))
    reply = compatible(simulator, key, **fields)
    assert (reply.status, reply["error.code"]) == (status, code)


@pytest.mark.parametrize(
    ("model", "documents", "status", "code"),
    [
        ("text-embedding-v4", None, 400, "InvalidParameter"),
        ("gte-rerank", None, 404, "ModelNotFound"),
        (GTE, ["词 " * 3000] * 10, 400, "InvalidParameter"),
        (QWEN, "one text", 400, "InvalidParameter"),
    ],
)
def test_the_native_endpoint_refuses_in_its_shape(
    simulator: Simulator, model: str, documents: object, status: int, code: str
) -> None:
    reply = native(simulator, model, documents)
    assert (reply.status, reply["code"]) == (status, code)
    assert reply["request_id"]


def test_what_gte_refuses_for_its_size_qwen_takes(simulator: Simulator) -> None:
    assert native(simulator, QWEN, ["词 " * 3000] * 10).status == 200


def test_rerank_has_limits_of_its_own(start_simulator: StartSimulator) -> None:
    limits = Limits(requests_per_minute=1, minute_window="sliding")
    simulator = start_simulator(SimulatorSettings(rerank=RerankSettings(limits=limits)))
    assert compatible(simulator).status == 200
    reply = native(simulator)
    assert (reply.status, reply["code"]) == (429, "Throttling.RateQuota")
    assert native(simulator, GTE).status == 200
    assert post(f"{simulator.base_url}/embeddings", {"model": "text-embedding-v4", "input": "a"}).status == 200


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (Damage.EMPTY_DATA, []),
        (Damage.MISSING_ITEM, [1, 2, 3]),
        (Damage.EXTRA_ITEM, [1, 2, 0, 3, 4]),
        (Damage.DOUBLED_INDEX, [1, 2, 2, 3]),
        (Damage.WRONG_DIMENSION, [1, 2, 4, 3]),
    ],
)
def test_the_plan_damages_results(start_simulator: StartSimulator, damage: Damage, found: list[int]) -> None:
    simulator = start_simulator(SimulatorSettings(faults=scripted(damage)))
    assert [index for index, _ in scored(compatible(simulator)["results"])] == found
    assert (simulator.books.rerank.answered, simulator.books.rerank.spoiled) == (0, 1)


def test_the_plan_damages_scores(start_simulator: StartSimulator) -> None:
    faults = scripted(Damage.NAN_VECTOR, Damage.NULL_EMBEDDING, Damage.ZERO_VECTOR, Damage.ERROR_IN_200)
    simulator = start_simulator(SimulatorSettings(faults=faults))
    nan, null, missing, error = (compatible(simulator) for _ in range(4))
    found = nan["results.2.relevance_score"]
    assert isinstance(found, float)
    assert math.isnan(found)
    assert null["results.2.relevance_score"] is None
    assert missing["results.2"] == {"index": 0}
    assert (error.status, error["code"]) == (200, "InternalError.Algo")


def test_results_may_come_in_any_order_when_so_set(simulator: Simulator) -> None:
    simulator.change({"shuffled": True, "seed": 3})
    simulator.reset()
    found = scored(compatible(simulator)["results"])
    assert found != expected()
    assert sorted(found) == sorted(expected())


def test_every_reason_has_an_answer_on_both_endpoints(simulator: Simulator) -> None:
    for ask in (compatible, native):
        simulator.change({"faults": scripted(*Reason)})
        simulator.reset()
        for reason in Reason:
            assert ask(simulator).status >= 400
            assert simulator.books.refused[reason] == 1
