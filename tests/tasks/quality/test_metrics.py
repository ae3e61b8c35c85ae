"""Each measure beside a slow, obvious one, or somebody else's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from millrace.tasks.quality.metrics import mean, ndcg_at, recall_at, reciprocal_rank

EXPECTED = 4
rankings = st.lists(st.one_of(st.none(), st.integers(0, EXPECTED - 1)), max_size=30)


@given(rankings, st.integers(1, 30))
def test_recall_is_the_share_of_expected_items_among_the_first(found: list[int | None], k: int) -> None:
    slow = sum(1 for item in range(EXPECTED) if item in found[:k]) / EXPECTED
    assert recall_at(found, EXPECTED, k) == slow


@given(rankings)
def test_the_reciprocal_rank_is_that_of_the_first_hit(found: list[int | None]) -> None:
    slow = 0.0
    for place in range(len(found), 0, -1):
        if found[place - 1] is not None:
            slow = 1 / place
    assert reciprocal_rank(found) == slow


@given(
    order=st.permutations(range(12)),
    relevance=st.lists(st.floats(0.1, 10), min_size=1, max_size=12),
    k=st.integers(1, 12),
)
def test_ndcg_is_scikit_learns(order: list[int], relevance: list[float], k: int) -> None:
    """All twelve documents are ranked; the first of them are expected."""
    found = [item if item < len(relevance) else None for item in order]
    gains = np.zeros(12)
    gains[: len(relevance)] = relevance
    scores = np.empty(12)
    scores[order] = np.arange(12, 0, -1)
    assert ndcg_at(found, relevance, k) == pytest.approx(ndcg_score([gains], [scores], k=k))


def test_a_second_passage_of_a_source_gains_nothing() -> None:
    assert ndcg_at([0, 0, 1], [1.0, 1.0], 10) < 1.0
    assert recall_at([0, 0, 0], 2, 3) == 0.5


def test_what_is_not_found_is_worth_nothing() -> None:
    assert (recall_at([], 2, 5), reciprocal_rank([]), ndcg_at([], [1.0], 10), mean([])) == (0.0, 0.0, 0.0, 0.0)
