from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from millrace.tasks.embedding.providers.client import BilledInvalidResponse, Unreachable
from millrace.tasks.embedding.providers.validation import (
    UnexpectedDimensions,
    decode,
    validate_native,
    validate_response,
)
from millrace.tasks.records import sparse_bytes


def answer(*vectors: Any, order: list[Any] | None = None, **changes: Any) -> dict[str, Any]:
    order = order if order is not None else list(range(len(vectors)))
    data = [{"embedding": v, "index": i, "object": "embedding"} for v, i in zip(vectors, order, strict=True)]
    return {"data": data, "object": "list", "usage": {"prompt_tokens": 7, "total_tokens": 7}, "id": "r-1", **changes}


def test_rows_are_float32_in_the_order_of_the_texts_whatever_the_order_of_the_answer() -> None:
    proven = validate_response(answer([3.0, 4.0], [1.0, 0.5], order=[1, 0]), texts=2, dimensions=2)
    assert proven.vectors.dtype == np.float32
    assert proven.vectors.tolist() == [[1.0, 0.5], [3.0, 4.0]]
    assert (proven.billed_tokens, proven.request_id) == (7, "r-1")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (answer([1.0, 2.0]), "2 texts were sent and 1 items came back"),
        (answer([1.0, 2.0], [1.0, 2.0], [1.0, 2.0]), "2 texts were sent and 3 items came back"),
        (answer(), "2 texts were sent and 0 items came back"),
        (answer(data=None), "no `data`"),
        (answer([1.0, 2.0], [1.0, 2.0], order=[0, 0]), "not 0 to 1 once each"),
        (answer([1.0, 2.0], [1.0, 2.0], order=[1, 2]), "not 0 to 1 once each"),
        (answer([1.0, 2.0], [1.0, 2.0], order=[None, 1]), "not 0 to 1 once each"),
        (answer([1.0, 2.0], [1.0, 2.0], order=[False, True]), "not 0 to 1 once each"),
        (answer([1.0, 2.0], [1.0, 2.0, 3.0]), "vector 1 has 3 dimensions, not the 2 asked for"),
        (answer([1.0, 2.0], None), "vector 1 is missing"),
        (answer([1.0, 2.0], "AACAPwAAAEA"), "vector 1 is a text that is not float32 numbers in base64"),
        (answer([1.0, 2.0], "AACAPwAA"), "vector 1 is a text that is not float32 numbers in base64"),
        (answer([1.0, 2.0], "AACAPwAAAEA=AACA"), "vector 1 is a text that is not float32 numbers in base64"),
        (answer([1.0, 2.0], "AACAPwAAwH8="), "vector 1 holds a number that is not finite"),
        (answer([1.0, 2.0], "AAAAAAAAAAA="), "vector 1 is zero"),
        (answer([1.0, 2.0], 7), "vector 1 is missing"),
        (answer([1.0, 2.0], [0.0, 0.0]), "vector 1 is zero"),
        (answer([1.0, 2.0], [1.0, float("inf")]), "vector 1 holds a number that is not finite"),
        (answer([1.0, 2.0], [1.0, 1e39]), "vector 1 holds a number that is not finite"),
        (answer([1.0, 2.0], [1.0, float("nan")]), "vector 1 holds a number that is not finite"),
        (answer([1.0, 2.0], [1.0, None]), "vector 1 holds something that is not a number"),
        (answer([1.0, 2.0], [1.0, "2.0"]), "vector 1 holds something that is not a number"),
        (answer([1.0, 2.0], [1.0, True]), "vector 1 holds something that is not a number"),
        (answer([1.0, 2.0], [1e-40, 1e-300]), "vector 1 is zero"),
    ],
)
def test_an_answer_that_does_not_prove_itself_is_refused(body: dict[str, Any], fault: str) -> None:
    with pytest.raises(BilledInvalidResponse) as caught:
        validate_response(body, texts=2, dimensions=2)
    assert fault in str(caught.value)


def test_an_unusable_answer_still_tells_what_it_cost() -> None:
    with pytest.raises(BilledInvalidResponse) as caught:
        validate_response(answer([1.0, 2.0]), texts=2, dimensions=2)
    assert caught.value.billed_tokens == 7


@pytest.mark.parametrize("body", [b'{"data": [{"embed', b"", b"null", b"[1]", b"NaN", b'{"data": [NaN]}'])
def test_a_body_that_is_not_a_whole_json_object_is_unproven(body: bytes) -> None:
    with pytest.raises(BilledInvalidResponse):
        decode(body)


def test_a_web_page_is_not_taken_for_the_provider() -> None:
    with pytest.raises(Unreachable, match=r"web page.*check embedding.base_url"):
        decode(b"\n<!doctype html><title>502</title>")


def test_float32_numbers_printed_as_doubles_come_back_exactly() -> None:
    vector = np.random.default_rng(7).standard_normal(1024).astype(np.float32)
    body = decode(orjson.dumps(answer([float(number) for number in vector])))
    assert np.array_equal(validate_response(body, texts=1, dimensions=1024).vectors[0], vector)


def test_base64_is_read_as_little_endian_float32() -> None:
    body = answer([1.0, 2.0], "AACAPwAAAEA=")
    assert validate_response(body, texts=2, dimensions=2).vectors.tolist() == [[1.0, 2.0], [1.0, 2.0]]


@pytest.mark.parametrize(
    ("usage", "needed", "billed"),
    [
        (None, False, 0),
        (None, True, None),
        ({}, True, None),
        ({"total_tokens": 0}, True, 0),
        ({"total_tokens": -1}, False, None),
        ({"total_tokens": True}, False, None),
        ({"total_tokens": 1.0}, False, None),
        ({"total_tokens": "7"}, False, None),
        ({"total_tokens": 10**9 + 1}, False, None),
        ({"total_tokens": 2**64}, False, None),
        ({"total_tokens": [7]}, False, None),
        ({"total_tokens": -1, "prompt_tokens": 7}, True, 7),
    ],
)
def test_usage_is_a_number_that_can_be_or_none(usage: object, needed: bool, billed: int | None) -> None:
    response = validate_response(answer([1.0, 2.0], usage=usage), texts=1, dimensions=2, usage_needed=needed)
    assert response.billed_tokens == billed


def test_one_other_length_of_all_vectors_is_told_apart_from_a_mixture() -> None:
    with pytest.raises(UnexpectedDimensions) as caught:
        validate_response(answer([1.0, 2.0], [1.0, 2.0]), texts=2, dimensions=3)
    assert (caught.value.found, caught.value.billed_tokens) == (2, 7)
    for mixed in (answer([1.0], [1.0, 2.0]), answer([1.0, 2.0, 3.0], [1.0, 2.0]), answer([], [])):
        with pytest.raises(BilledInvalidResponse) as other:
            validate_response(mixed, texts=2, dimensions=3)
        assert not isinstance(other.value, UnexpectedDimensions)


def native(*items: Any, **changes: Any) -> dict[str, Any]:
    numbered = [{"text_index": i, "embedding": [1.0, i + 1.0]} | item for i, item in enumerate(items)]
    return {"output": {"embeddings": numbered}, "usage": {"total_tokens": 7}, "request_id": "r-1", **changes}


def entries(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    return {"sparse_embedding": [{"index": index, "value": value, "token": "t"} for index, value in pairs]}


def test_a_native_answer_is_put_in_the_order_of_the_texts_dense_and_sparse() -> None:
    items = [entries((9, 0.5), (3, 0.25)) | {"text_index": 1}, entries((7, 1.0)) | {"text_index": 0}]
    proven = validate_native(native(*items), texts=2, dimensions=2, sparse=True)
    assert proven.vectors.tolist() == [[1.0, 2.0], [1.0, 1.0]]
    assert proven.sparse == (sparse_bytes([7], [1.0]), sparse_bytes([3, 9], [0.25, 0.5]))
    assert (proven.billed_tokens, proven.request_id) == (7, "r-1")


def test_of_entries_with_one_index_the_largest_value_stays() -> None:
    items = [entries((7, 0.25), (7, 0.5), (7, 0.125))]
    assert validate_native(native(*items), texts=1, dimensions=2, sparse=True).sparse == (sparse_bytes([7], [0.5]),)


def test_sparse_vectors_that_were_not_asked_for_are_not_looked_at() -> None:
    assert validate_native(native({"sparse_embedding": "?"}), texts=1, dimensions=2, sparse=False).sparse is None


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (native({}), "text 0 has no sparse vector"),
        (native({"sparse_embedding": []}), "text 0 has no sparse vector"),
        (native({"sparse_embedding": None}), "text 0 has no sparse vector"),
        (native({"sparse_embedding": ["?"]}), "the sparse vector of text 0 cannot be read"),
        (native({"sparse_embedding": [{"index": 7}]}), "the sparse vector of text 0 cannot be read"),
        (native(entries(("7", 0.5))), "the sparse vector of text 0 cannot be read"),
        (native(entries((7.5, 0.5))), "the sparse vector of text 0 cannot be read"),
        (native(entries((7, "0.5"))), "the sparse vector of text 0 cannot be read"),
        (native(entries((7, None))), "the sparse vector of text 0 cannot be read"),
        (native(entries((7, -0.5))), "the sparse vector of text 0 cannot be read"),
        (native(entries((7, float("nan")))), "the sparse vector of text 0 cannot be read"),
        (native(entries((2**32, 0.5))), "has an index above 4,294,967,294"),
        (native(entries((2**70, 0.5))), "the sparse vector of text 0 cannot be read"),
        (native(entries((7, 0.0))), "the sparse vector of text 0 is zero"),
        (native(entries((7, 0.5)) | {"embedding": None}), "vector 0 is missing"),
        (native(entries((7, 0.5)) | {"text_index": 1}), "not 0 to 0 once each"),
        (native(entries((7, 0.5)) | {"text_index": None, "index": 0}), "not 0 to 0 once each"),
        (native(entries((7, True))), "the sparse vector of text 0 has true or false for a number"),
        (native(entries((True, 0.5))), "the sparse vector of text 0 has true or false for a number"),
        (native(entries((2**32 - 1, 0.5))), "has an index above 4,294,967,294"),
        ({"output": None, "usage": {"total_tokens": 7}}, "no `output.embeddings`"),
        ({"output": {}, "usage": {"total_tokens": 7}}, "no `output.embeddings`"),
    ],
)
def test_a_native_answer_that_does_not_prove_itself_is_refused(body: dict[str, Any], fault: str) -> None:
    with pytest.raises(BilledInvalidResponse) as caught:
        validate_native(body, texts=1, dimensions=2, sparse=True)
    assert fault in str(caught.value)
