"""The reranker that the settings name."""

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
    """A reranker for the model at `base_url`, which is as `rerank_url` takes or gives it.

    `count` gives the tokens of a text by the model's tokenizer (`spec.tokenizer`); without it a text's UTF-8 bytes are
    taken, of which no tokenizer makes more tokens, so that more is cut and split than need be.
    Raises ConfigurationError for an address, a key or an instruction that cannot be right.
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
