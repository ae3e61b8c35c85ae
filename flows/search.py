"""A query into the collection: embed it, retrieve, show where each passage is from."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.compute as pc

from configs.settings import Settings
from flows import opening
from tasks.embedding import EmbeddingClient, Vectors
from tasks.errors import CollectionMissing, LakeError, RunStopped, Transient
from tasks.lake import Lake
from tasks.milvus import Collection, Hit
from tasks.records import JsonValue

_SHOWN_CHARACTERS = 320
_LINE_END_IN_CHINESE = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef])[ \t]*\r?\n[ \t]*(?=[\u3000-\u9fff\uff00-\uffef])")
_RETRY_AFTER_S = (0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Found:
    """The passages nearest to `query`, the best first. `note` says what the search cannot do, or what does not fit."""

    query: str
    hits: tuple[Hit, ...]
    note: str

    def as_json(self) -> dict[str, object]:
        """Plain values, as `search --json` prints."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The passages for people: score, file, page, heading, then the text."""
        lines = [self.note, ""] if self.note else []
        if not self.hits:
            return [*lines, "nothing found"]
        for place, hit in enumerate(self.hits, start=1):
            lines += [f"{place}. {_where(hit.metadata)}  (score {hit.score:.3f})", _passage(hit.content), ""]
        return lines[:-1]


def search_collection(settings: Settings, query: str, expression: str) -> Found:
    """The `search.top_n` best of the `search.top_k` rows nearest to `query`, among those that `expression` admits."""
    model = opening.open_model(settings)
    with _open_collection(settings, model) as collection:
        vector = asyncio.run(_embed_query(settings, model, query))
        hits = collection.search(vector, top_k=settings.search.top_k, filter=expression)
    return Found(query, tuple(hits[: settings.search.top_n]), _note(settings, model))


def _open_collection(settings: Settings, model: opening.Model) -> Collection:
    try:
        return opening.open_collection(settings, model, create=False)
    except CollectionMissing as missing:
        documents = _documents_with_rows(settings)
        if not documents:
            raise
        raise opening.gone_collection(settings, documents) from missing


def _documents_with_rows(settings: Settings) -> int:
    """How many documents the lake knows to have rows; 0 where it cannot say."""
    try:
        manifest = Lake.open(Path(settings.lake.path), settings.milvus.collection, read_only=True).manifest.read()
    except LakeError:
        return 0
    return pc.sum(pc.greater(manifest["chunks"], 0)).as_py() or 0


async def _embed_query(settings: Settings, model: opening.Model, query: str) -> Vectors:
    """The query's vector; somebody is waiting, so a provider in trouble is asked a few times and no more."""
    client = opening.open_client(settings, model)
    try:
        for wait_s in _RETRY_AFTER_S:
            try:
                return await _one_vector(client, query)
            except Transient as trouble:
                await asyncio.sleep(trouble.retry_after_s or wait_s)
        return await _one_vector(client, query)
    except Transient as trouble:
        raise RunStopped(f"the query could not be embedded: {trouble}") from trouble
    finally:
        await client.close()


async def _one_vector(client: EmbeddingClient, query: str) -> Vectors:
    vector: Vectors = (await client.embed([query])).vectors[0]
    return vector


def _note(settings: Settings, model: opening.Model) -> str:
    """What the user should know of how this query and the index go together."""
    try:
        lake = Lake.open(Path(settings.lake.path), settings.milvus.collection, read_only=True)
        spaces = set(lake.manifest.read()["space"].to_pylist())
    except LakeError as error:  # the answer is from the collection, and as good as ever
        return f"warning: {error}"
    foreign = sorted(spaces - {model.space.name})
    if foreign:
        return (
            f"warning: the query is embedded in {model.space.name}, but documents of this collection are in "
            f"{', '.join(foreign)}; scores between the two mean nothing. "
            "Set [embedding] as it was when they were ingested"
        )
    if model.spec.provider == "local":
        return "provider local: passages are matched by their words, not by their meaning"
    return ""


def _where(metadata: Mapping[str, JsonValue]) -> str:
    """File, page and heading of a passage, in one line; the file relative to the current folder when it lies below."""
    source = str(metadata.get("source", "?"))
    path = Path(source)
    parts = [str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else source]
    first, last = metadata.get("page_start"), metadata.get("page_end")
    if first is not None:
        parts.append(f"page {first}" if first == last else f"pages {first}-{last}")
    headings = metadata.get("heading_path")
    if isinstance(headings, list) and headings:
        parts.append(" > ".join(str(heading) for heading in headings))
    return ", ".join(parts)


def _passage(content: str) -> str:
    text = " ".join(_LINE_END_IN_CHINESE.sub("", content).split())
    shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS].rstrip() + " ..."
    return f"   {shown}"
