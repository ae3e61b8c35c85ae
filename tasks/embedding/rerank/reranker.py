"""What a reranker is: one question, the documents that a search found, and which of them answer it best.

Scores are comparable only with those of the same request, so a reranker whose documents do not fit into one request
lets the best of each compete with the next (see `rerank_contest`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

READ_TIMEOUT_S = 30.0
"""Somebody is waiting for the answer."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """The document `documents[index]` and how well it answers the query; a higher `score` is better."""

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Reranking:
    """The best documents, best first. `billed_tokens` of all requests that it took; `notices` are for the user.

    A notice says what was not done as asked: a text that was cut, a split into several requests, a blank document.
    """

    ranked: tuple[Ranked, ...]
    billed_tokens: int
    notices: tuple[str, ...] = ()


class Reranker(Protocol):
    """A provider's reranking; several calls may be under way at once."""

    async def rerank(self, query: str, documents: Sequence[str], *, top_n: int) -> Reranking:
        """The min(top_n, len(documents)) best of `documents`, sorted by score, then by index.

        No request is tried again; when the same is asked anew after a failure, what had been answered of it is not paid
        for again. Raises as `EmbeddingClient.embed`; ConfigurationError for a blank query or a `top_n`
        below 1.
        """
        ...

    async def close(self) -> None:
        """Give up connections; requests under way fail."""
        ...
