"""Sound answers of every dialect, changed at random: the result is right, or an error of the tree."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks.embedding.providers.error_rules import SERVER_RULES, error_for, is_refusal, read_refusal
from millrace.tasks.embedding.providers.validation import decode, validate_native, validate_response
from millrace.tasks.embedding.rerank import dialects
from millrace.tasks.embedding.rerank.dialects import validate_ranking
from millrace.tasks.errors import MillraceError
from millrace.tasks.records import SPARSE_PAIR

TEXTS, DIMENSIONS = 3, 4

numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 1, 2, 3, -1, 1e39, 1e-60, 2**32 - 1, 2**53 + 1, True, False]),
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.sampled_from(["index", "embedding", "value", "message", "code", "x"]), inner, max_size=3),
    ),
    max_leaves=8,
)
KEYS = ["data", "output", "error", "code", "message", "usage", "results", "index", "embedding", "score", "id", "msg"]


def compatible() -> dict[str, Any]:
    data = [{"index": i, "embedding": [i + 1.0, 0.5, -0.25, 0.0]} for i in range(TEXTS)]
    return {"data": data, "usage": {"total_tokens": 7, "prompt_tokens": 7}, "id": "r"}


def native() -> dict[str, Any]:
    data = [
        {
            "text_index": i,
            "embedding": [i + 1.0, 0.5, -0.25, 0.0],
            "sparse_embedding": [{"index": 7 + i, "value": 0.5}, {"index": 3, "value": 0.25}],
        }
        for i in range(TEXTS)
    ]
    return {"output": {"embeddings": data}, "usage": {"total_tokens": 7}, "request_id": "r"}


def ranking() -> dict[str, Any]:
    results = [{"index": i, "relevance_score": 0.5 - i / 10} for i in range(TEXTS)]
    return {"output": {"results": results}, "usage": {"total_tokens": 7}}


@st.composite
def mutations(draw: st.DrawFn, base: Callable[[], Any]) -> bytes:
    """The answer as bytes, after one to four changes anywhere in it, and perhaps of the bytes themselves."""
    answer = copy.deepcopy(base())
    for _ in range(draw(st.integers(1, 4))):
        spots: list[tuple[Any, Any]] = []
        pending = [answer]
        while pending:
            node = pending.pop()
            items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
            for key, inner in items:
                spots.append((node, key))
                pending.append(inner)
        if not spots:
            break
        node, key = draw(st.sampled_from(spots))
        match draw(st.sampled_from(["replace", "delete", "double", "swap", "add"])):
            case "delete":
                del node[key]
            case "double" if isinstance(node, list):
                node.insert(key, copy.deepcopy(node[key]))
            case "swap":
                other, other_key = draw(st.sampled_from(spots))
                node[key] = copy.deepcopy(other[other_key])
            case "add" if isinstance(node, dict):
                node[draw(st.sampled_from(KEYS))] = draw(json_values)
            case _:
                node[key] = draw(json_values)
    body = orjson.dumps(answer)
    if draw(st.booleans()) and draw(st.booleans()):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=4)) + body[at + draw(st.integers(0, 4)) :]
    return body


def assert_is_short(error: MillraceError) -> None:
    assert len(str(error)) < 2_000


def assert_vectors_are_of_the_answer(vectors: Any, items: list[dict[str, Any]], index_key: str) -> None:
    assert vectors.dtype == np.float32
    assert vectors.shape == (TEXTS, DIMENSIONS)
    assert np.isfinite(vectors).all()
    assert (np.abs(vectors).max(axis=1) > 0).all()
    by_index = {item[index_key]: item["embedding"] for item in items}
    assert set(by_index) == set(range(TEXTS))
    for row, vector in enumerate(vectors):
        if not isinstance(by_index[row], str):
            assert all(type(number) in {int, float} for number in by_index[row])
            assert np.array_equal(vector, np.array(by_index[row], np.float64).astype(np.float32))


@given(mutations(compatible), st.booleans())
@settings(max_examples=600, deadline=None)
def test_a_mutated_compatible_answer_is_right_or_an_error_of_ours(body: bytes, usage_needed: bool) -> None:
    try:
        answer = decode(body)
        if is_refusal(answer):
            raise error_for(read_refusal(200, answer), target="m")
        response = validate_response(answer, texts=TEXTS, dimensions=DIMENSIONS, usage_needed=usage_needed)
    except MillraceError as error:
        assert_is_short(error)
        return
    assert_vectors_are_of_the_answer(response.vectors, answer["data"], "index")
    assert response.billed_tokens is None or 0 <= response.billed_tokens <= 10**9
    assert type(response.billed_tokens) in {int, type(None)}
    assert len(response.request_id) <= 100


@given(mutations(native), st.booleans())
@settings(max_examples=600, deadline=None)
def test_a_mutated_native_answer_is_right_or_an_error_of_ours(body: bytes, sparse: bool) -> None:
    try:
        answer = decode(body)
        if is_refusal(answer):
            raise error_for(read_refusal(200, answer), target="m")
        response = validate_native(answer, texts=TEXTS, dimensions=DIMENSIONS, sparse=sparse)
    except MillraceError as error:
        assert_is_short(error)
        return
    items = answer["output"]["embeddings"]
    assert_vectors_are_of_the_answer(response.vectors, items, "text_index")
    for item in items if sparse else ():
        assert response.sparse is not None
        pairs = np.frombuffer(response.sparse[item["text_index"]], SPARSE_PAIR)
        given_entries = {(entry["index"], np.float32(entry["value"])) for entry in item["sparse_embedding"]}
        assert len(pairs)
        assert {(int(index), value) for index, value in pairs} <= given_entries
        assert (pairs["value"] > 0).all()
        assert np.isfinite(pairs["value"]).all()


@pytest.mark.parametrize("returns", ["top_n", "all", "either"])
@given(body=mutations(ranking), top_n=st.integers(1, TEXTS))
@settings(max_examples=300, deadline=None)
def test_a_mutated_ranking_is_right_or_an_error_of_ours(returns: Any, body: bytes, top_n: int) -> None:
    try:
        ranked, billed = validate_ranking(dialects.decode(body), sent=TEXTS, top_n=top_n, returns=returns)
    except MillraceError as error:
        assert_is_short(error)
        return
    assert len(ranked) == top_n
    assert len({one.index for one in ranked}) == top_n
    assert all(type(one.index) is int and 0 <= one.index < TEXTS and math.isfinite(one.score) for one in ranked)
    assert ranked == dialects.in_order(ranked)
    assert billed is None or (type(billed) is int and 0 <= billed <= 10**9)


@given(
    json_values | mutations(lambda: {"error": {"message": "no", "code": "Odd"}, "request_id": "r"}),
    st.integers(200, 599),
)
@settings(max_examples=600, deadline=None)
def test_any_body_of_an_error_is_an_error_of_ours(body: object, status: int) -> None:
    decoded: object = body
    if isinstance(body, bytes):
        try:
            decoded = orjson.loads(body)
        except orjson.JSONDecodeError:
            decoded = body.decode("utf-8", "replace")
    error = error_for(read_refusal(status, decoded), target="m", rules=SERVER_RULES)
    assert isinstance(error, MillraceError)
    assert_is_short(error)
    assert str(error).isprintable()
