"""The interface of a reranker: given a query and the documents that a search found, which answer it best.

Scores are comparable only within one request (see `batches` for more documents than fit into one).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

READ_TIMEOUT_S = 30.0
"""Shorter than for embedding, because someone is waiting for the search."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """The document `documents[index]` and how well it answers the query; a higher `score` is better."""

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Reranking:
    """The best documents, best first; `billed_tokens` is the sum over all requests.

    `notices` tell the user of a text that was cut, a split into several requests, or a blank document.
    """

    ranked: tuple[Ranked, ...]
    billed_tokens: int
    notices: tuple[str, ...] = ()


class Reranker(Protocol):
    """Reranks with one model of one provider; several calls may be in flight at once."""

    async def rerank(self, query: str, documents: Sequence[str], *, top_n: int) -> Reranking:
        """The min(top_n, len(documents)) best of `documents`, sorted by score, then by index.

        Requests are not retried. If the same call is repeated after a failure, the requests that succeeded are not sent
        again. Raises as `EmbeddingClient.embed`, and ConfigurationError for a blank query or a `top_n` below 1.
        """
        ...

    async def close(self) -> None:
        """Close every connection; requests in flight fail."""
        ...
