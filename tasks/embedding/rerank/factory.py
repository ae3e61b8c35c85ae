"""Makes a reranker."""

from collections.abc import Callable

from millrace.tasks.embedding.rerank.models import RerankSpec
from millrace.tasks.embedding.rerank.reranker import READ_TIMEOUT_S, Reranker


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
    """A reranker for the model at `base_url`, which is as `rerank_url` takes or returns it.

    `count` counts the tokens of a text with the model's tokenizer (`spec.tokenizer`). Without it UTF-8 bytes are
    counted, which are never fewer than tokens, so that more is cut and split than necessary.
    Raises ConfigurationError for an invalid address, key or instruction.
    """
    from millrace.tasks.embedding.rerank.http import HttpReranker

    return HttpReranker(
        spec,
        base_url=base_url,
        api_key=api_key,
        instruct=instruct,
        count=count,
        timeout_s=timeout_s,
        max_connections=max_connections,
    )
