"""The best of more documents than a request takes, although scores of different requests cannot be compared.

Each request but the first holds the best of those before it and as many new documents as fit, so the last one has
scored all that are left against each other. That finds the best of any number, as one large request would, if the model
judges a document alike in whatever company, as rerankers do. When more are wanted than a request holds, it is done
again with those that are left.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from millrace.tasks.embedding.rerank.reranker import Ranked

Ask = Callable[[Sequence[int], int], Awaitable[list[Ranked]]]
"""One request: indices of documents, ascending, and how many are wanted -> the best, sorted by score, then index."""


@dataclass(frozen=True, slots=True)
class RequestCapacity:
    """How many documents and tokens fit into one request; 0 is no limit. Any two documents fit."""

    documents: int
    tokens: int

    def takes(self, loads: Sequence[int]) -> int:
        """How many of the documents with these `loads` (tokens, each with its query) fit, taken from the start."""
        most = min(len(loads), self.documents or len(loads))
        return sum(load <= self.tokens for load in accumulate(loads[:most])) if self.tokens else most


async def rerank_in_batches(
    loads: Sequence[int], *, wanted: int, room: RequestCapacity, ask: Ask
) -> list[list[Ranked]]:
    """The `wanted` best of the documents with these `loads`, best first; scores are comparable within each inner list.

    There is more than one inner list only when `wanted` documents and one more may not fit into one request.
    """
    left = list(range(len(loads)))
    found: list[list[Ranked]] = []
    while left and wanted:
        best = await _best(left, loads, _keep(left, loads, wanted, room), room, ask)
        found.append(best)
        wanted -= len(best)
        winners = {ranked.index for ranked in best}
        left = [index for index in left if index not in winners]
    return found


def _keep(left: Sequence[int], loads: Sequence[int], wanted: int, room: RequestCapacity) -> int:
    """How many to find at once: at least one new document must fit beside them, in the worst case too."""
    surely = room.takes(sorted((loads[index] for index in left), reverse=True))
    if wanted < surely or surely == len(left):
        return min(wanted, len(left))
    return max(1, surely // 2)  # the number of requests, about 1 / (keep * (surely - keep)), is least there


async def _best(left: Sequence[int], loads: Sequence[int], keep: int, room: RequestCapacity, ask: Ask) -> list[Ranked]:
    waiting = deque(left)
    best: list[Ranked] = []
    while waiting:
        group = [ranked.index for ranked in best]
        fit = room.takes([*(loads[index] for index in group), *(loads[index] for index in waiting)])
        group += [waiting.popleft() for _ in range(fit - len(group))]
        best = await ask(sorted(group), min(keep, len(group)))
    return best
