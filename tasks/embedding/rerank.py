"""What a reranker is: one question, the documents that a search found, and which of them answer it best.

Scores are comparable only with those of the same request, so a reranker whose documents do not fit into one request
lets the best of each compete with the next (see `rerank_contest`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tasks.embedding.rerank_catalogue import RerankSpec

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


def make_reranker(
    spec: RerankSpec,
    *,
    base_url: str,
    api_key: str = "",
    instruct: str = "",
    count: Callable[[str], int] | None = None,
    timeout_s: float = READ_TIMEOUT_S,
    max_connections: int = 8,
) -> Reranker:
    """A reranker for the model at `base_url`, which is as `rerank_url` takes or gives it.

    `count` gives the tokens of a text by the model's tokenizer (`spec.tokenizer`); without it a text's UTF-8 bytes are
    taken, of which no tokenizer makes more tokens, so that more is cut and split than need be.
    Raises ConfigurationError for an address, a key or an instruction that cannot be right.
    """
    from tasks.embedding.rerank_client import HttpReranker

    return HttpReranker(
        spec,
        base_url=base_url,
        api_key=api_key,
        instruct=instruct,
        count=count,
        timeout_s=timeout_s,
        max_connections=max_connections,
    )
