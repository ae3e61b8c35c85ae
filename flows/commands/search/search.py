"""A query into the collection: embed it, retrieve, rerank, and say where each passage is from.

For other programs too:

    import millrace

    for hit in millrace.search("how is the sluice opened", config=Path("millrace.toml")).hits:
        print(hit.score, hit.source, hit.page_start, hit.content)
"""

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from millrace.configs.settings import Settings, choose_settings
from millrace.flows.commands.search.alias import with_alias_resolved
from millrace.flows.commands.search.budget import QueryBudget
from millrace.flows.commands.search.result import SearchHit, SearchResult
from millrace.flows.commands.search.retrieve import (
    RERANK,
    QueryVector,
    RankedHit,
    Reranked,
    check_query,
    compatibility_of,
    embed_query,
    open_indexed,
    rerank,
    retrieval_score_kind,
    retrieve,
)
from millrace.flows.wiring import components
from millrace.tasks.embedding import Reranker
from millrace.tasks.errors import ConfigurationError, LakeError, MillraceError
from millrace.tasks.lake import Lake
from millrace.tasks.milvus import Hit, why_words_are_not_found
from millrace.tasks.records import JsonValue


def search(
    query: str,
    *,
    config: Path | str | None = None,
    overrides: Iterable[str] = (),
    settings: Settings | None = None,
    top_k: int | None = None,
    top_n: int | None = None,
    filter: str = "",  # noqa: A002 - Milvus's own word for it
    rerank: bool = True,
) -> SearchResult:
    """The `top_n` best of the `top_k` passages nearest to `query`, among those that `filter` admits.

    In a program that runs an event loop this call holds the loop up while it lasts; `asearch` does not.

    Args:
        query: What is looked for, in the language of the documents or another one that the model knows.
        config: A file of settings, as of `--config`.
        overrides: Settings like "milvus.collection=handbook", as of `--set`.
        settings: In place of `config`, settings that have been loaded; `overrides` apply to them too.
        top_k: Rows asked of Milvus; None is `search.top_k`.
        top_n: Passages wanted; None is `search.top_n`.
        filter: A Milvus expression, e.g. `metadata["page_start"] <= 3`.
        rerank: False leaves the passages in the order of retrieval, whatever `[rerank]` says.

    Raises:
        ConfigurationError: Settings, query or filter cannot be right, or the query cannot be compared with the index.
        CollectionError: Milvus cannot be reached, or has no such collection.
        BudgetReached: The query alone would cost more than `budget.max_cny`.
        RunStopped: The query could not be embedded. A reranker that fails raises nothing; see `notes`.
    """

    def ask(chosen: Settings, notes: list[str]) -> SearchResult:
        bounded = _with_bounds(chosen, top_k, top_n)
        return asyncio.run(_searched(bounded, query, filter, reranking=rerank, notes=notes))

    chosen = choose_settings(settings, config, overrides)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return with_alias_resolved(chosen, ask)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="search") as thread:  # one loop in a thread is the most
        return thread.submit(with_alias_resolved, chosen, ask).result()


async def asearch(
    query: str,
    *,
    config: Path | str | None = None,
    overrides: Iterable[str] = (),
    settings: Settings | None = None,
    top_k: int | None = None,
    top_n: int | None = None,
    filter: str = "",  # noqa: A002
    rerank: bool = True,
) -> SearchResult:
    """As `search`, in a thread of its own: other tasks of the event loop go on meanwhile.

    A task that is cancelled stops waiting for it; the search itself comes to its end.
    """
    return await asyncio.to_thread(
        search,
        query,
        config=config,
        overrides=overrides,
        settings=settings,
        top_k=top_k,
        top_n=top_n,
        filter=filter,
        rerank=rerank,
    )


def _with_bounds(settings: Settings, top_k: int | None, top_n: int | None) -> Settings:
    """The settings with these bounds in place of their own; no more passages than rows."""
    given = [f"search.{name}={value}" for name, value in (("top_k", top_k), ("top_n", top_n)) if value is not None]
    search = settings.with_overrides(given).search
    if top_k is None:
        return settings.with_overrides([*given, f"search.top_k={max(search.top_k, search.top_n)}"])
    return settings.with_overrides([*given, f"search.top_n={min(search.top_k, search.top_n)}"])


async def _searched(
    settings: Settings, query: str, expression: str, *, reranking: bool, notes: list[str]
) -> SearchResult:
    model = components.load_model(settings)
    check_query(query, model)
    notes += _notes(settings, model)
    reranker = components.open_reranker(settings) if reranking else None
    budget = QueryBudget(settings, model, components.find_rerank_spec(settings))
    try:
        with open_indexed(settings, model) as collection:
            if settings.milvus.hybrid == "bm25" and (why := why_words_are_not_found(collection.analyzer, query)):
                notes.append(f"warning: {why}; make the collection anew with another one: `millrace switch`")
            vector = await _query_vector(settings, model, query, budget)
            hits = retrieve(settings, collection, query, vector, top_k=settings.search.top_k, expression=expression)
            if not hits:
                notes.append(_nothing(settings, collection.count(), expression))
        why_not = budget.why_not_rerank(query, [hit.content for hit in hits]) if reranker is not None else ""
        if why_not:
            notes.append(f"warning: {why_not}")
        answer = await _reranked(None if why_not else reranker, query, hits, settings.search.top_n, notes)
        ordered = answer.hits if answer is not None else None
        budget.rerank_tokens += answer.billed_tokens if answer is not None else 0
    finally:
        if reranker is not None:
            await reranker.close()
    kind = retrieval_score_kind(settings)
    shown = ordered if ordered is not None else [RankedHit(hit) for hit in hits[: settings.search.top_n]]
    return SearchResult(
        query=query,
        hits=tuple(_typed(ranked) for ranked in shown),
        reranked=ordered is not None,
        score_kind=kind if ordered is None else RERANK,
        retrieval_score_kind=kind,
        notes=tuple(notes),
        tokens_billed=budget.tokens + budget.rerank_tokens,
        cost_cny=budget.spent_cny,
    )


async def _query_vector(settings: Settings, model: components.Model, query: str, budget: QueryBudget) -> QueryVector:
    budget.check_query(query)
    client = components.open_client(settings, model, query=True)
    try:
        vector = await embed_query(client, query)
    finally:
        await client.close()
    budget.tokens += vector.billed_tokens
    return vector


async def _reranked(
    reranker: Reranker | None, query: str, hits: list[Hit], top_n: int, notes: list[str]
) -> Reranked | None:
    """The hits as the reranker orders them; None where there is none, or it fails, which is noted."""
    if reranker is None or not hits:
        return None
    try:
        answer = await rerank(reranker, query, hits, top_n=top_n)
    except MillraceError as failure:  # the passages are found all the same
        notes.append(f"warning: the reranker failed, so the passages are in the order of retrieval: {failure}")
        return None
    notes += answer.notices
    return answer


def _notes(settings: Settings, model: components.Model) -> list[str]:
    """What the user should know of how this query and the index go together.

    Raises ConfigurationError when they do not at all.
    """
    notes = []
    try:
        lake = Lake.open(components.lake_path(settings), settings.milvus.collection, read_only=True)
        compatibility = compatibility_of(settings, lake, components.query_space(settings, model))
    except LakeError as error:  # the answer is from the collection, and as good as ever
        notes.append(f"warning: {error}")
    else:
        if compatibility.refusal:
            raise ConfigurationError(compatibility.refusal)
        notes += [f"warning: {warning}" for warning in compatibility.warnings]
    return notes + components.search_notes(model)


def _nothing(settings: Settings, rows: int, expression: str) -> str:
    """Why nothing was found."""
    if not rows:
        return f"the collection {settings.milvus.collection} has no rows; run `millrace ingest` first"
    if expression:
        return f"none of the {rows:,} rows of {settings.milvus.collection} fulfils the filter {expression}"
    return f"Milvus found none of the {rows:,} rows of {settings.milvus.collection}"


def _typed(ranked: RankedHit) -> SearchHit:
    hit, metadata = ranked.hit, ranked.hit.metadata
    headings = metadata.get("heading_path")
    return SearchHit(
        id=hit.id,
        score=hit.score if ranked.rerank_score is None else ranked.rerank_score,
        retrieval_score=hit.score,
        rerank_score=ranked.rerank_score,
        source=str(metadata.get("source") or ""),
        title=str(metadata.get("title") or ""),
        page_start=_page(metadata.get("page_start")),
        page_end=_page(metadata.get("page_end")),
        heading_path=tuple(str(heading) for heading in headings) if isinstance(headings, list) else (),
        content=hit.content,
        metadata=metadata,
    )


def _page(value: JsonValue) -> int | None:
    """A page's number; None where the row, written by another program perhaps, has none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
