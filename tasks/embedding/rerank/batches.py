"""Reranks more documents than fit into one request, although scores of different requests are not comparable.

Each request after the first has the best documents so far and as many new ones as fit, so the last request scores all
remaining candidates against each other. The result is that of one large request if the model scores a document
independently of the others, as rerankers do. If more documents are wanted than fit, the rest is reranked again.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from millrace.tasks.embedding.rerank.reranker import Ranked

Ask = Callable[[Sequence[int], int], Awaitable[list[Ranked]]]
"""One request: ascending indices of documents and how many to return -> the best, sorted by score, then index."""


@dataclass(frozen=True, slots=True)
class RequestCapacity:
    """How many documents and tokens fit into one request; 0 is no limit. Any two documents always fit."""

    documents: int
    tokens: int

    def takes(self, loads: Sequence[int]) -> int:
        """How many of the first documents fit; `loads` are their tokens, each with the query's share."""
        most = min(len(loads), self.documents or len(loads))
        return sum(load <= self.tokens for load in accumulate(loads[:most])) if self.tokens else most


async def rerank_in_batches(
    loads: Sequence[int], *, wanted: int, capacity: RequestCapacity, ask: Ask
) -> list[list[Ranked]]:
    """The `wanted` best documents, best first; scores are comparable within each inner list only.

    `loads` are as for `RequestCapacity.takes`. There is more than one inner list only if `wanted` documents and one
    more may not fit into one request.
    """
    remaining = list(range(len(loads)))
    rounds: list[list[Ranked]] = []
    while remaining and wanted:
        best = await _best_of(remaining, loads, _round_size(remaining, loads, wanted, capacity), capacity, ask)
        rounds.append(best)
        wanted -= len(best)
        winners = {ranked.index for ranked in best}
        remaining = [index for index in remaining if index not in winners]
    return rounds


def _round_size(remaining: Sequence[int], loads: Sequence[int], wanted: int, capacity: RequestCapacity) -> int:
    """How many to find in one round: at least one new document must fit beside them, even in the worst case."""
    fitting = capacity.takes(sorted((loads[index] for index in remaining), reverse=True))
    if wanted < fitting or fitting == len(remaining):
        return min(wanted, len(remaining))
    return max(1, fitting // 2)  # minimises the number of requests, about 1 / (size * (fitting - size))


async def _best_of(
    remaining: Sequence[int], loads: Sequence[int], size: int, capacity: RequestCapacity, ask: Ask
) -> list[Ranked]:
    waiting = deque(remaining)
    best: list[Ranked] = []
    while waiting:
        group = [ranked.index for ranked in best]
        fitting = capacity.takes([*(loads[index] for index in group), *(loads[index] for index in waiting)])
        group += [waiting.popleft() for _ in range(fitting - len(group))]
        best = await ask(sorted(group), min(size, len(group)))
    return best
