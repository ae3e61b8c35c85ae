"""From a query to rows: embedded, retrieved, ordered anew. What `search` and `eval` have in common."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from millrace.configs.settings import Settings
from millrace.flows.wiring import components, milvus
from millrace.tasks.embedding import EmbeddingClient, Reranker, Vectors
from millrace.tasks.errors import CollectionMissing, ConfigurationError, LakeError, RunStopped, Transient
from millrace.tasks.lake import Lake
from millrace.tasks.milvus import Collection, Hit
from millrace.tasks.quality.compatibility import Compatibility, check_compatibility
from millrace.tasks.records import CONTEXT_KEY, EmbeddingSpace, embedded_text
from millrace.tasks.retry import retry_transient_async

T = TypeVar("T")

INTERACTIVE_BACKOFF_S = (0.5, 1.0, 2.0)
"""Pauses between tries while a user waits."""
BATCH_BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0)
"""Pauses between tries in a batch: in all more than the minute after which a limit has room again."""
RERANK = "rerank"


@dataclass(frozen=True, slots=True, eq=False)
class QueryVector:
    """A query as its model sees it. `dense`: float32, shape (dimensions,); `sparse` where the model gives one.

    `billed_tokens` are what it cost just now, 0 where the lake had it.
    """

    dense: Vectors
    sparse: bytes | None = None
    billed_tokens: int = 0


@dataclass(frozen=True, slots=True)
class RankedHit:
    """A row that was found. `retrieval_score` is Milvus's; `rerank_score` None where no reranker has judged it."""

    hit: Hit
    rerank_score: float | None = None


@dataclass(frozen=True, slots=True)
class Reranked:
    """The hits as the reranker orders them, the best first, and its notices."""

    hits: list[RankedHit]
    billed_tokens: int
    notices: tuple[str, ...]


def open_indexed(settings: Settings, model: components.Model) -> Collection:
    """The collection to be searched. Raises `CollectionMissing`, with the remedy, when only the lake is there."""
    try:
        return milvus.open_collection(settings, model, create=False)
    except CollectionMissing as missing:
        documents = _documents_with_rows(settings)
        if not documents:
            raise
        raise milvus.collection_missing(settings, documents) from missing


def compatibility_of(settings: Settings, lake: Lake, query_space: EmbeddingSpace) -> Compatibility:
    """How queries in `query_space` go together with the documents of the collection, by what the lake says of them.

    Raises LakeError when the manifest cannot be read.
    """
    spaces = lake.manifest.spaces()
    return check_compatibility(query_space, {name: (lake.space_named(name), count) for name, count in spaces.items()})


def check_query(query: str, model: components.Model) -> None:
    """Raise `ConfigurationError` for a query that is blank, no Unicode, or longer than the model takes."""
    if not query.strip():
        raise ConfigurationError("the query is blank; say what is looked for")
    try:
        size_bytes = len(query.encode())
    except UnicodeEncodeError as error:
        raise ConfigurationError("the query is not text in UTF-8; type it in a terminal that sends UTF-8") from error
    most = model.spec.tokens_per_text - model.spec.end_mark_tokens
    if model.spec.tokens_per_text and size_bytes > most:  # no tokenizer makes more tokens than bytes
        from millrace.tasks.chunking import Tokenizer

        tokens = Tokenizer.load(model.spec.tokenizer).count(query)
        if tokens > most:
            raise ConfigurationError(
                f"the query has {tokens:,} tokens, and {model.spec.name} takes {most:,}; ask for less at once"
            )


async def embed_query(client: EmbeddingClient, query: str) -> QueryVector:
    """The query's vector. Raises RunStopped when a provider in trouble does not answer after a few tries."""
    try:
        answer = await retry_provider(lambda: client.embed([query]))
    except Transient as trouble:
        raise RunStopped(f"the query could not be embedded: {trouble}") from trouble
    sparse = answer.sparse[0] if answer.sparse is not None else None
    # Without a valid report, the bytes of the query: no tokenizer makes more tokens of it.
    billed = len(query.encode()) if answer.billed_tokens is None else answer.billed_tokens
    return QueryVector(answer.vectors[0], sparse, billed)


def retrieve(
    settings: Settings, collection: Collection, query: str, vector: QueryVector, *, top_k: int, expression: str = ""
) -> list[Hit]:
    """At most `top_k` rows that `expression` admits, the best first, as `milvus.hybrid` says."""
    if settings.milvus.hybrid == "none":
        return collection.search(vector.dense, top_k=top_k, filter=expression)
    return collection.hybrid_search(
        vector.dense,
        top_k=top_k,
        filter=expression,
        sparse=vector.sparse if settings.milvus.hybrid == "sparse" else None,
        text=query,
        rrf_k=settings.search.rrf_k,
    )


async def rerank(
    reranker: Reranker,
    query: str,
    hits: Sequence[Hit],
    *,
    top_n: int,
    pauses_s: Sequence[float] = INTERACTIVE_BACKOFF_S,
    tell: Callable[[str], None] = lambda _: None,
) -> Reranked:
    """The `top_n` best of `hits`, as the reranker sees it.

    Raises as `Reranker.rerank`, Transient only after asking again after each of `pauses_s`, each reported to `tell`.
    """
    if not hits:
        return Reranked([], 0, ())
    texts = [embedded_text(hit.content, str(hit.metadata.get(CONTEXT_KEY, ""))) for hit in hits]
    found = await retry_provider(
        lambda: reranker.rerank(query, texts, top_n=min(top_n, len(hits))), pauses_s=pauses_s, tell=tell
    )
    ordered = [RankedHit(hits[ranked.index], ranked.score) for ranked in found.ranked]
    return Reranked(ordered, found.billed_tokens, found.notices)


def retrieval_score_kind(settings: Settings) -> str:
    """What the scores of `retrieve` are: "cosine", "ip", "l2", or "fused" from two rankings."""
    return settings.milvus.metric.lower() if settings.milvus.hybrid == "none" else "fused"


async def retry_provider(
    ask: Callable[[], Awaitable[T]],
    *,
    pauses_s: Sequence[float] = INTERACTIVE_BACKOFF_S,
    tell: Callable[[str], None] = lambda _: None,
) -> T:
    """What `ask` returns, asked again after each of `pauses_s` while it raises Transient; the last of these is raised.

    A longer pause that the provider asks for is made, up to five times the longest of `pauses_s`.
    """

    def pause_after(trouble: Transient, planned_s: float) -> float:
        tell(str(trouble))
        return max(planned_s, min(trouble.retry_after_s or 0.0, 5.0 * max(pauses_s)))

    return await retry_transient_async(ask, Transient, pauses_s=pauses_s, pause_after=pause_after)


def _documents_with_rows(settings: Settings) -> int:
    """How many documents the lake knows to have rows; 0 where it cannot say."""
    try:
        lake = Lake.open(components.lake_path(settings), settings.milvus.collection, read_only=True)
        return lake.manifest.spaces().total()
    except LakeError:
        return 0
