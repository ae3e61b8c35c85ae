"""A vector never sits on another text, and neither does a score: an answer is used only if it says of each document once how well it answers."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.tasks.embedding.providers.client import BilledInvalidResponse, Unreachable
from millrace.tasks.embedding.rerank.dialects import decode, validate_ranking
from millrace.tasks.embedding.rerank.reranker import Ranked

GOOD = [
    {"index": 2, "relevance_score": 0.5},
    {"index": 0, "relevance_score": 0.9},
    {"index": 1, "relevance_score": 0.5},
]
USAGE = {"total_tokens": 12}


def answer(*items: Any, **more: Any) -> dict[str, Any]:
    return {"results": list(items), "usage": USAGE, **more}


@pytest.mark.parametrize(
    "body",
    [
        answer(*GOOD),
        {"output": {"results": GOOD}, "usage": USAGE, "request_id": "x"},
        {"object": "rerank", "data": GOOD, "usage": {"prompt_tokens": 12}},
        {"results": [{"index": one["index"], "score": one["relevance_score"]} for one in GOOD], "usage": USAGE},
    ],
)
def test_results_are_sorted_by_score_then_index_wherever_they_stand(body: Any) -> None:
    assert validate_ranking(body, sent=3, top_n=3, returns="all") == (
        [Ranked(0, 0.9), Ranked(1, 0.5), Ranked(2, 0.5)],
        12,
    )


def test_a_bare_list_is_an_answer_that_tells_no_tokens() -> None:
    body = [{"index": 1, "score": 1}, {"index": 0, "score": -3.5}]
    assert validate_ranking(body, sent=2, top_n=2, returns="either") == ([Ranked(1, 1.0), Ranked(0, -3.5)], None)


def test_all_results_are_cut_to_those_asked_for() -> None:
    for answers in ("all", "either"):
        ranked, _ = validate_ranking(answer(*GOOD), sent=3, top_n=1, returns=answers)
        assert ranked == [Ranked(0, 0.9)]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (answer(*GOOD[:2]), "3 results were expected for 3 documents, and 2 results came"),
        (answer(*GOOD, GOOD[0]), "4 results came"),
        (answer(), "0 results came"),
        ({"usage": USAGE}, "no results came"),
        ({"results": {"0": 0.9}, "usage": USAGE}, "no results came"),
        ("[]", "no results came"),
        (None, "no results came"),
        (answer(*GOOD[:2], GOOD[0]), "numbered 2"),
        (answer(*GOOD[:2], {"index": 3, "relevance_score": 0.1}), "numbered 3"),
        (answer(*GOOD[:2], {"index": -1, "relevance_score": 0.1}), "numbered -1"),
        (answer(*GOOD[:2], {"index": True, "relevance_score": 0.1}), "numbered True"),
        (answer(*GOOD[:2], {"index": 1.0, "relevance_score": 0.1}), "numbered 1.0"),
        (answer(*GOOD[:2], {"relevance_score": 0.1}), "numbered None"),
        (answer(*GOOD[:2], "1"), "numbered None"),
        (answer(*GOOD[:2], {"index": 1}), "the score of result 1 is None"),
        (answer(*GOOD[:2], {"index": 1, "relevance_score": "0.1"}), "is 0.1"),
        (answer(*GOOD[:2], {"index": 1, "relevance_score": True}), "is True"),
        (answer(*GOOD[:2], {"index": 1, "relevance_score": float("nan")}), "is nan"),
        (answer(*GOOD[:2], {"index": 1, "relevance_score": float("inf")}), "is inf"),
    ],
)
def test_an_answer_that_proves_nothing_is_not_used_and_its_bill_is_told(body: Any, words: str) -> None:
    with pytest.raises(BilledInvalidResponse) as caught:
        validate_ranking(body, sent=3, top_n=3, returns="top_n")
    assert words in str(caught.value)
    assert caught.value.billed_tokens == (12 if isinstance(body, dict) else None)


def test_as_many_results_as_were_asked_for_and_no_others() -> None:
    with pytest.raises(BilledInvalidResponse, match="2 results were expected for 3 documents, and 3 results came"):
        validate_ranking(answer(*GOOD), sent=3, top_n=2, returns="top_n")
    with pytest.raises(BilledInvalidResponse, match="3 results were expected for 3 documents, and 2 results came"):
        validate_ranking(answer(*GOOD[:2]), sent=3, top_n=2, returns="all")
    with pytest.raises(BilledInvalidResponse, match="1 or 3 results were expected"):
        validate_ranking(answer(*GOOD[:2]), sent=3, top_n=1, returns="either")


def test_bodies_that_are_no_answer() -> None:
    with pytest.raises(Unreachable, match=r"web page.*rerank\.base_url"):
        decode(b"<html>")
    with pytest.raises(BilledInvalidResponse, match="not complete JSON"):
        decode(b'{"results": [')
    with pytest.raises(BilledInvalidResponse, match="not complete JSON"):
        decode(b'{"results": [{"index": 0, "relevance_score": NaN}]}')
