"""What a search found: hits with their scores and where each stands."""

from collections.abc import Mapping
from dataclasses import dataclass

from millrace.flows.monitoring.result import Result
from millrace.tasks.records import JsonValue


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A passage that was found.

    `score` is what it is ordered by (`SearchResult.score_kind`): the reranker's, or `retrieval_score`, which is
    Milvus's. Scores of different queries are not comparable, unless they are cosines. `page_start` and `page_end` are
    None for documents without pages. `metadata` is the row's, whole.
    """

    id: str
    score: float
    retrieval_score: float
    rerank_score: float | None
    source: str
    title: str
    page_start: int | None
    page_end: int | None
    heading_path: tuple[str, ...]
    content: str
    metadata: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class SearchResult(Result):
    """The passages that answer `query`, the best first.

    `score_kind` is "rerank" or what Milvus's scores are: "cosine", "ip", "l2" (the less the better) or "fused".
    `retrieval_score_kind` is the latter in any case. `notes` are what the search cannot do, and what does not fit.
    `tokens_billed` and `cost_cny` are those of the query and of reranking, as far as the answers say.
    """

    query: str
    hits: tuple[SearchHit, ...]
    reranked: bool
    score_kind: str
    retrieval_score_kind: str
    notes: tuple[str, ...]
    tokens_billed: int
    cost_cny: float
