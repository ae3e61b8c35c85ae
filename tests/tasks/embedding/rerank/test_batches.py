"""More documents than a request takes: the result is that of one large request, whatever has to be asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.embedding.rerank.batches import RequestCapacity, rerank_in_batches
from millrace.tasks.embedding.rerank.reranker import Ranked


@dataclass
class Judge:
    """Scores each document alike in whatever company; notes the requests and refuses those that are too large."""

    scores: Sequence[float]
    loads: Sequence[int]
    capacity: RequestCapacity
    asked: list[list[int]] = field(default_factory=list)

    async def ask(self, indices: Sequence[int], keep: int) -> list[Ranked]:
        assert list(indices) == sorted(set(indices))
        assert 1 <= keep <= len(indices)
        assert not self.capacity.documents or len(indices) <= self.capacity.documents
        assert not self.capacity.tokens or sum(self.loads[index] for index in indices) <= self.capacity.tokens
        self.asked.append(list(indices))
        return best_of(self.scores, indices)[:keep]

    def found(self, wanted: int) -> list[list[Ranked]]:
        return asyncio.run(rerank_in_batches(self.loads, wanted=wanted, capacity=self.capacity, ask=self.ask))


def best_of(scores: Sequence[float], indices: Sequence[int]) -> list[Ranked]:
    return sorted((Ranked(index, scores[index]) for index in indices), key=lambda one: (-one.score, one.index))


def judge(scores: Sequence[float], *, documents: int = 0, tokens: int = 0, load: int = 0) -> Judge:
    return Judge(scores, [load] * len(scores), RequestCapacity(documents, tokens))


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Judge, int]:
    # Few different scores, so that there are ties.
    scores = draw(st.lists(st.integers(0, 8), min_size=1, max_size=60))
    tokens = draw(st.integers(20, 100))
    loads = draw(st.lists(st.integers(1, tokens // 2), min_size=len(scores), max_size=len(scores)))
    capacity = RequestCapacity(draw(st.sampled_from([0, 2, 3, 7, 20])), draw(st.sampled_from([0, tokens])))
    return Judge([float(score) for score in scores], loads, capacity), draw(st.integers(1, len(scores)))


@given(crowds())
def test_the_best_are_those_of_one_request_that_holds_them_all(crowd: tuple[Judge, int]) -> None:
    judge, wanted = crowd
    found = [one for part in judge.found(wanted) for one in part]
    assert found == best_of(judge.scores, range(len(judge.scores)))[:wanted]


@given(crowds())
def test_documents_that_fit_are_asked_for_once(crowd: tuple[Judge, int]) -> None:
    judge, wanted = crowd
    judge.found(wanted)
    fits = judge.capacity.takes(judge.loads) == len(judge.loads)
    assert (len(judge.asked) == 1) == fits


@pytest.mark.parametrize(
    ("documents", "capacity", "wanted", "requests", "parts"),
    [
        (500, 500, 5, 1, [5]),
        (1_000, 500, 5, 3, [5]),  # 500; the best 5 and 495; the best 5 and 5
        (10_000, 500, 5, 21, [5]),
        (20, 7, 5, 8, [5]),
        (100, 56, 20, 3, [20]),
        (100, 56, 100, 6, [28, 28, 44]),  # more than a request holds: in parts
    ],
)
def test_how_many_requests_it_takes(
    documents: int, capacity: int, wanted: int, requests: int, parts: list[int]
) -> None:
    crowd = judge([float(number * 7919 % 10_007) for number in range(documents)], documents=capacity)
    found = crowd.found(wanted)
    assert (len(crowd.asked), [len(part) for part in found]) == (requests, parts)


def test_scores_of_what_was_asked_for_come_from_one_request() -> None:
    crowd = judge([float(number % 13) for number in range(40)], tokens=100, load=10)
    (found,) = crowd.found(5)
    assert {one.index for one in found} <= set(crowd.asked[-1])


def test_nothing_is_asked_about_no_documents() -> None:
    crowd = judge([])
    assert crowd.found(5) == []
    assert crowd.asked == []
