from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from tasks.embedding.client import AnswerUnproven, Unreachable
from tasks.embedding.proof import decode, prove


def answer(*vectors: Any, order: list[Any] | None = None, **changes: Any) -> dict[str, Any]:
    order = order if order is not None else list(range(len(vectors)))
    data = [{"embedding": v, "index": i, "object": "embedding"} for v, i in zip(vectors, order, strict=True)]
    return {"data": data, "object": "list", "usage": {"prompt_tokens": 7, "total_tokens": 7}, "id": "r-1", **changes}


def test_rows_are_float32_in_the_order_of_the_texts_whatever_the_order_of_the_answer() -> None:
    proven = prove(answer([3.0, 4.0], [1.0, 0.5], order=[1, 0]), texts=2, dimensions=2)
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
        (answer([1.0, 2.0], [1.0, 2.0], usage=None), "usage"),
        (answer([1.0, 2.0], [1.0, 2.0], usage={"total_tokens": -1}), "usage"),
    ],
)
def test_an_answer_that_does_not_prove_itself_is_refused(body: dict[str, Any], fault: str) -> None:
    with pytest.raises(AnswerUnproven) as caught:
        prove(body, texts=2, dimensions=2)
    assert fault in str(caught.value)


def test_an_unusable_answer_still_tells_what_it_cost() -> None:
    with pytest.raises(AnswerUnproven) as caught:
        prove(answer([1.0, 2.0]), texts=2, dimensions=2)
    assert caught.value.billed_tokens == 7


@pytest.mark.parametrize("body", [b'{"data": [{"embed', b"", b"null", b"[1]", b"NaN", b'{"data": [NaN]}'])
def test_a_body_that_is_not_a_whole_json_object_is_unproven(body: bytes) -> None:
    with pytest.raises(AnswerUnproven):
        decode(body)


def test_a_web_page_is_not_taken_for_the_provider() -> None:
    with pytest.raises(Unreachable, match=r"web page.*check embedding.base_url"):
        decode(b"\n<!doctype html><title>502</title>")


def test_float32_numbers_printed_as_doubles_come_back_exactly() -> None:
    vector = np.random.default_rng(7).standard_normal(1024).astype(np.float32)
    body = decode(orjson.dumps(answer([float(number) for number in vector])))
    assert np.array_equal(prove(body, texts=1, dimensions=1024).vectors[0], vector)
