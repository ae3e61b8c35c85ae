"""How well what was found answers what was expected: recall, reciprocal rank and nDCG. Pure.

`found` is the same throughout: for each hit, the best first, the number (from 0) of the expected item that it is, or
None where it is none of them. An item that is hit again, as by another passage of the same source, counts once.
"""

import math
from collections.abc import Sequence


def rank_of_first(found: Sequence[int | None]) -> int | None:
    """The place, from 1, of the first hit that was expected; None when there is none.

    >>> rank_of_first([None, None, 0])
    3
    """
    return next((rank for rank, item in enumerate(found, start=1) if item is not None), None)


def recall_at(found: Sequence[int | None], expected: int, k: int) -> float:
    """The share of the `expected` items that are among the first `k` hits.

    >>> recall_at([2, None, 2, 0], expected=3, k=4)
    0.6666666666666666
    """
    return len({item for item in found[:k] if item is not None}) / expected


def reciprocal_rank(found: Sequence[int | None]) -> float:
    """One over the place of the first hit that was expected; 0 when there is none. Its mean is the MRR.

    >>> reciprocal_rank([None, 0]), reciprocal_rank([None])
    (0.5, 0.0)
    """
    rank = rank_of_first(found)
    return 0.0 if rank is None else 1.0 / rank


def ndcg_at(found: Sequence[int | None], relevance: Sequence[float], k: int) -> float:
    """The discounted gain of the first `k` hits, as a share of the best that was possible.

    `relevance[i]`, above 0, is the gain of expected item i; a hit at place r counts 1 / log2(r + 1) of it. Source:
    Järvelin and Kekäläinen 2002, with linear gain, as scikit-learn's `ndcg_score`.

    >>> ndcg_at([0, 1], [2.0, 1.0], k=10)
    1.0
    >>> round(ndcg_at([None, 0], [1.0], k=10), 4)
    0.6309
    """
    seen: set[int] = set()
    gains: list[float] = []
    for item in found[:k]:
        gains.append(relevance[item] if item is not None and item not in seen else 0.0)
        if item is not None:
            seen.add(item)
    return _discounted(gains) / _discounted(sorted(relevance, reverse=True)[:k])


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; 0 of nothing."""
    return math.fsum(values) / len(values) if values else 0.0


def _discounted(gains: Sequence[float]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
