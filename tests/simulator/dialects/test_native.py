"""The native embeddings endpoint, as bare HTTP."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from millrace.tasks.records import sparse_bytes
from tests.simulator.books import TextCount
from tests.simulator.faults import Damage, scripted
from tests.simulator.fixtures import StartSimulator
from tests.simulator.limits import Limits
from tests.simulator.model.sparse import expected_sparse, sparse_entries
from tests.simulator.model.vectors import expected_vector
from tests.simulator.raw import Reply, post
from tests.simulator.refusals import Reason
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY, SimulatorSettings

V4, V2 = "text-embedding-v4", "text-embedding-v2"
TEXTS = ["衣服的质量杠杠的", "Order E-4711 was refunded", "three"]


def embed(
    simulator: Simulator, texts: object = None, model: str = V4, key: str | None = API_KEY, **parameters: object
) -> Reply:
    body = {"model": model, "input": {"texts": TEXTS if texts is None else texts}, "parameters": parameters}
    return post(f"{simulator.native_url}/services/embeddings/text-embedding/text-embedding", body, key)


def vectors(reply: Reply) -> list[list[float]]:
    items = reply["output.embeddings"]
    assert isinstance(items, list)
    return [item["embedding"] for item in sorted(items, key=lambda item: item["text_index"])]


def sparse(reply: Reply) -> list[bytes]:
    items = reply["output.embeddings"]
    assert isinstance(items, list)
    return [
        sparse_bytes(
            [pair["index"] for pair in item["sparse_embedding"]], [pair["value"] for pair in item["sparse_embedding"]]
        )
        for item in sorted(items, key=lambda item: item["text_index"])
    ]


def same(found: list[list[float]], text_type: str, instruct: str = "", dimensions: int = 1024) -> bool:
    expected = [expected_vector(V4, dimensions, text, text_type, instruct) for text in TEXTS]
    return np.array_equal(np.asarray(found, np.float32), np.array(expected))


def test_an_answer_has_output_usage_and_request_id(simulator: Simulator) -> None:
    reply = embed(simulator, ["衣服的质量杠杠的"])
    assert isinstance(reply.body, dict)
    assert sorted(reply.body) == ["output", "request_id", "usage"]
    assert reply["usage"] == {"total_tokens": 6}
    assert reply["request_id"] == reply.headers["x-request-id"]
    assert sorted(reply["output.embeddings.0"]) == ["embedding", "text_index"]  # type: ignore[call-overload]


def test_documents_are_the_default_and_queries_and_instructions_have_other_vectors(simulator: Simulator) -> None:
    assert same(vectors(embed(simulator)), "document")
    assert same(vectors(embed(simulator, text_type="document")), "document")
    assert same(vectors(embed(simulator, text_type="query")), "query")
    assert same(vectors(embed(simulator, text_type="query", instruct="Find it")), "query", "Find it")
    kinds = [("", ""), ("document", ""), ("query", ""), ("query", "Find it")]
    each = [expected_vector(V4, 1024, "a", *kind) for kind in kinds]
    assert all(0.7 < float(one @ other) < 0.95 for one, other in itertools.combinations(each, 2))


def test_dimension_is_its_own_word_here(simulator: Simulator) -> None:
    assert same(vectors(embed(simulator, dimension=64)), "document", dimensions=64)
    assert len(vectors(embed(simulator, dimensions=64))[0]) == 1024
    reply = embed(simulator, dimension=100)
    assert (reply.status, reply["code"]) == (400, "InvalidParameter")


@pytest.mark.parametrize("output", ["sparse", "dense&sparse"])
@pytest.mark.parametrize("doubled", [False, True])
def test_sparse_vectors_are_those_of_their_texts(simulator: Simulator, output: str, doubled: bool) -> None:
    simulator.change({"native": {"duplicate_sparse_indices": doubled}, "shuffled": True})
    reply = embed(simulator, output_type=output)
    assert sparse(reply) == [expected_sparse(V4, text) for text in TEXTS]
    items = reply["output.embeddings"]
    assert isinstance(items, list)
    for item in items:
        indices = [pair["index"] for pair in item["sparse_embedding"]]
        assert (len(set(indices)) < len(indices)) is doubled
        assert ("embedding" in item) is (output == "dense&sparse")
        assert all(0 <= pair["index"] < 250_000 and 0 < pair["value"] <= 1 for pair in item["sparse_embedding"])


def test_the_rare_word_weighs_most_in_a_sparse_vector() -> None:
    entries = {entry.token: entry.value for entry in sparse_entries(V4, "the refund of order XJ-48213 is in the mail")}
    assert max(entries, key=lambda token: entries[token]) == "xj-48213"
    assert min(entries, key=lambda token: entries[token]) in {"the", "of", "is", "in"}


def test_a_sparse_only_answer_may_say_null(simulator: Simulator) -> None:
    simulator.change({"native": {"sparse_only_embedding": "null"}})
    assert vectors(embed(simulator, output_type="sparse")) == [None] * 3


@pytest.mark.parametrize(
    ("model", "parameters", "message"),
    [
        (V2, {"output_type": "sparse"}, "output_type sparse is not supported by text-embedding-v2."),
        (V4, {"output_type": "both"}, "output_type is invalid, it should be in ['dense', 'sparse', 'dense&sparse']."),
        (V4, {"text_type": "title"}, "text_type is invalid, it should be in ['document', 'query']."),
        (V4, {"instruct": "Find"}, "instruct is only supported by text-embedding-v4 with text_type query."),
        ("text-embedding-v3", {"instruct": "Find", "text_type": "query"}, "instruct is only supported"),
    ],
)
def test_a_wrong_parameter_is_refused(
    simulator: Simulator, model: str, parameters: dict[str, object], message: str
) -> None:
    reply = embed(simulator, None, model, API_KEY, **parameters)
    assert (reply.status, reply["code"]) == (400, "InvalidParameter")
    assert message in str(reply["message"])


def test_a_misplaced_instruct_is_ignored_when_so_set(simulator: Simulator) -> None:
    simulator.change({"native": {"misplaced_instruct": "ignore"}})
    assert same(vectors(embed(simulator, instruct="Find it")), "document")


@pytest.mark.parametrize(
    ("texts", "model", "key", "expected"),
    [
        (["a"] * 11, V4, API_KEY, (400, "InvalidParameter", "batch size is invalid, it should not be larger than 10.")),
        (["a", "词" * 9000], V4, API_KEY, (400, "InvalidParameter", "Range of input length should be [1, 8192]")),
        (["a", ""], V4, API_KEY, (400, "InvalidParameter", "Range of input length should be [1, 8192]")),
        ([[1, 2]], V4, API_KEY, (400, "InvalidParameter", "contents is neither str nor list of str.")),
        (["a"], "text-embedding-v9", API_KEY, (404, "ModelNotFound", "Model not exist.")),
        (["a"], "gte-rerank-v2", API_KEY, (400, "InvalidParameter", "url error, please check url！")),
        (["a"], V4, "sk-wrong", (401, "InvalidApiKey", "Invalid API-key provided.")),
        (["a"], V4, None, (401, "InvalidApiKey", "No API-key provided.")),
    ],
)
def test_a_wrong_request_is_refused_in_the_native_shape(
    simulator: Simulator, texts: object, model: str, key: str | None, expected: tuple[int, str, str]
) -> None:
    reply = embed(simulator, texts, model, key)
    status, code, message = expected
    assert isinstance(reply.body, dict)
    assert sorted(reply.body) == ["code", "message", "request_id"]
    assert (reply.status, reply["code"]) == (status, code)
    assert message in str(reply["message"])


def test_a_body_without_input_is_refused(simulator: Simulator) -> None:
    url = f"{simulator.native_url}/services/embeddings/text-embedding/text-embedding"
    for body in ({"model": V4}, {"model": V4, "input": ["a"]}, b"{", {"model": V4, "input": {}, "parameters": 1}):
        assert post(url, body).status == 400
    assert post(url, b"", method="GET").status == 405


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (Reason.LIMIT_REQUESTS, 429, "Throttling.RateQuota"),
        (Reason.INSUFFICIENT_QUOTA, 429, "Throttling.AllocationQuota"),
        (Reason.LIMIT_BURST_RATE, 429, "Throttling.BurstRate"),
        (Reason.GATEWAY_429, 429, "Throttling"),
        (Reason.FREE_QUOTA_429, 429, "Throttling.AllocationQuota"),
        (Reason.ARREARAGE, 400, "Arrearage"),
        (Reason.INSPECTION, 400, "DataInspectionFailed"),
        (Reason.FREE_TIER_ONLY, 403, "AllocationQuota.FreeTierOnly"),
        (Reason.INTERNAL_ERROR, 500, "InternalError.Algo"),
        (Reason.MODEL_UNAVAILABLE, 503, "ModelUnavailable"),
        (Reason.GATEWAY_TIMEOUT, 504, "GatewayTimeout"),
    ],
)
def test_a_planned_error_comes_with_its_native_code(
    start_simulator: StartSimulator, reason: Reason, status: int, code: str
) -> None:
    simulator = start_simulator(SimulatorSettings(faults=scripted(reason)))
    reply = embed(simulator)
    assert (reply.status, reply["code"]) == (status, code)
    assert embed(simulator).status == 200


def test_every_reason_has_a_native_answer(simulator: Simulator) -> None:
    simulator.change({"faults": scripted(*Reason)})
    for reason in Reason:
        assert embed(simulator).status >= 400
        assert simulator.books.refused[reason] == 1


def test_both_endpoints_of_a_model_share_its_limit(start_simulator: StartSimulator) -> None:
    simulator = start_simulator(SimulatorSettings(limits=Limits(requests_per_minute=1, minute_window="sliding")))
    assert post(f"{simulator.base_url}/embeddings", {"model": V4, "input": "a"}).status == 200
    reply = embed(simulator)
    assert (reply.status, reply["code"]) == (429, "Throttling.RateQuota")


def test_the_books_keep_apart_what_a_text_was_embedded_as(simulator: Simulator) -> None:
    embed(simulator, ["a"])
    embed(simulator, ["a"], output_type="dense&sparse")
    embed(simulator, ["a"], text_type="query", instruct="Find")
    books = simulator.books
    assert books.texts_bought_again == 0
    assert books.text("a") == TextCount(sent=3, bought=3)
    assert books.text("a", (f"{V4}:document", 1024)) == TextCount(sent=1, bought=1)
    assert books.text("a", (f"{V4}:document:dense&sparse", 1024)) == TextCount(sent=1, bought=1)
    assert books.text("a", (f"{V4}:query:Find", 1024)) == TextCount(sent=1, bought=1)


@pytest.mark.parametrize(
    ("damage", "indices"),
    [
        (Damage.MISSING_ITEM, [0, 2]),
        (Damage.EXTRA_ITEM, [0, 1, 2, 3]),
        (Damage.DOUBLED_INDEX, [0, 0, 2]),
        (Damage.EMPTY_DATA, []),
        (Damage.SHUFFLED, [0, 1, 2]),
    ],
)
def test_the_plan_damages_native_items(start_simulator: StartSimulator, damage: Damage, indices: list[int]) -> None:
    simulator = start_simulator(SimulatorSettings(faults=scripted(damage)))
    items = embed(simulator)["output.embeddings"]
    assert isinstance(items, list)
    assert sorted(item["text_index"] for item in items) == indices
    assert simulator.books.spoiled == (damage is not Damage.SHUFFLED)


def test_an_error_may_come_with_status_200(start_simulator: StartSimulator) -> None:
    reply = embed(start_simulator(SimulatorSettings(faults=scripted(Damage.ERROR_IN_200))))
    assert (reply.status, reply["code"], reply["message"]) == (200, "InternalError.Algo", "inference internal error")


def test_one_item_may_lack_its_sparse_vector(start_simulator: StartSimulator) -> None:
    simulator = start_simulator(SimulatorSettings(faults=scripted(Damage.NO_SPARSE)))
    items = embed(simulator, output_type="dense&sparse")["output.embeddings"]
    assert isinstance(items, list)
    assert ["sparse_embedding" in item for item in items] == [True, False, True]


def test_damage_falls_on_the_sparse_vector_where_it_is_alone(start_simulator: StartSimulator) -> None:
    faults = scripted(Damage.WRONG_DIMENSION, Damage.ZERO_VECTOR, Damage.NULL_EMBEDDING)
    simulator = start_simulator(SimulatorSettings(faults=faults))
    wrong, zero, null = (
        embed(simulator, output_type="sparse")["output.embeddings.1.sparse_embedding"] for _ in range(3)
    )
    assert isinstance(wrong, list)
    assert wrong[0]["index"] == -1
    assert isinstance(zero, list)
    assert [pair["value"] for pair in zero] == [0.0]
    assert null is None
