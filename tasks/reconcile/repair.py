"""Repair: rows missing from the collection come from the lake, and vectors missing from the lake are embedded.

Joins `lake`, `embedding` and `milvus`. `compare` finds what to repair; who may ask for it,
and when, is the command's business.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Collection as Group
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.embedding import Dispatcher, Text
from millrace.tasks.errors import MillraceError, Rejected, TextsRefused
from millrace.tasks.lake import ChunkParts, Lake, PartName, VectorStore
from millrace.tasks.milvus import Collection, CollectionShape, check_rows
from millrace.tasks.reconcile.compare import IdInventory
from millrace.tasks.reconcile.expected_rows import ExpectedRows, Vectors
from millrace.tasks.records import MANIFEST_SCHEMA
from millrace.tasks.stages.embed import text_at

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """Texts that were sent and came back as vectors, and those that the provider will not embed, by text key."""

    texts: int
    refused: dict[bytes, TextsRefused]


def upsert_valid(collection: Collection, rows: pa.Table, vectors: Vectors) -> list[tuple[str, Rejected]]:
    """Upsert the rows that Milvus can take; the ids of the others, each with the reason."""
    return send_valid(collection.upsert, collection.shape, rows, vectors)


def send_valid(
    send: Callable[[pa.Table, Vectors], object], shape: CollectionShape, rows: pa.Table, vectors: Vectors
) -> list[tuple[str, Rejected]]:
    """Have `send` take the rows that a collection of this shape can hold; the ids of the others, with the reason."""
    invalid = dict(check_rows(rows, vectors, shape))
    fit = np.array([position for position in range(rows.num_rows) if position not in invalid], dtype=np.int64)
    if len(fit):
        send(rows.take(pa.array(fit)), vectors[fit])
    return [(rows["id"][position].as_py(), reason) for position, reason in invalid.items()]


def delete_orphans(
    collection: Collection, inventory: IdInventory, *, protected: Group[str], most: int
) -> tuple[int, int]:
    """How many rows that no document owns were deleted, and how many there were besides those of `protected` sources.

    More than `most` are not deleted at all.
    """
    ids: list[str] = []
    count = 0
    for batch in inventory.orphans():
        found = [orphan.id for orphan in batch if orphan.source not in protected]
        count += len(found)
        if count > most:
            ids.clear()  # only the number is wanted now
        else:
            ids += found
    if ids:
        collection.delete(ids)
    return len(ids), count


def missing_texts(expected: Iterable[ExpectedRows], store: VectorStore) -> dict[PartName, int]:
    """How many texts each part needs that `store` does not have; not parts of other spaces, nor whole ones."""
    seen: set[bytes] = set()
    missing: dict[PartName, int] = {}
    for some in expected:
        if some.space == store.space.name:
            keys = some.rows["text_key"].to_pylist()
            new = {keys[position] for position in store.missing(keys)} - seen
            seen |= new
            if new:
                missing[some.part] = missing.get(some.part, 0) + len(new)
    return missing


async def embed_missing(
    expected: Iterable[ExpectedRows], store: VectorStore, dispatcher: Dispatcher, *, end_mark: int
) -> EmbedResult:
    """Embed the texts of `expected` that `store` does not have; requests are packed full across parts.

    Args:
        expected: Rows of the store's space; others are ignored.
        store: Where the vectors go.
        dispatcher: Embeds for `store`.
        end_mark: Tokens that the provider counts besides those of a text.

    Raises:
        BudgetReached, RunStopped: As the dispatcher does; what was embedded until then stays in the lake.
    """
    futures: dict[bytes, asyncio.Future[TextsRefused | None]] = {}
    try:
        rest = iter(expected)
        while (some := await asyncio.to_thread(next, rest, None)) is not None:
            for item in await asyncio.to_thread(_texts_to_embed, some, store, end_mark):
                if item.key not in futures:
                    futures[item.key] = await dispatcher.submit(item)
        dispatcher.flush()
        outcomes = await asyncio.gather(*futures.values())
    except MillraceError:
        await asyncio.gather(*futures.values(), return_exceptions=True)  # all of them end with what stopped the run
        raise
    refused = {key: refusal for key, refusal in zip(futures, outcomes, strict=True) if refusal is not None}
    return EmbedResult(len(futures) - len(refused), refused)


def _texts_to_embed(expected: ExpectedRows, store: VectorStore, end_mark: int) -> list[Text]:
    if expected.space != store.space.name:
        return []
    positions = store.missing(expected.rows["text_key"].to_pylist())
    return [text_at(expected.rows, position, end_mark) for position in positions]


def set_aside_damaged(parts: ChunkParts) -> list[PartName]:
    """The parts whose file cannot be read, now called `*.damaged`: no run stumbles over them any more."""
    damaged = [part for part in parts.all() if parts.problem(part)]
    for part in damaged:
        parts.quarantine(part)
    return damaged


def forget_rows(lake: Lake, sources: Group[str], run: str) -> int:
    """Note in the manifest that the rows of these documents are not known, so that the next ingest reads them again.

    How many documents that are. Their rows in the collection stay.
    """
    names = pa.array(sorted(sources), pa.string())
    rows = lake.manifest.read(where=lambda rows: pc.is_in(rows["source"], value_set=names))
    for name, value in (("chunks", 0), ("tokens", 0), ("status", "rejected"), ("fingerprint", "")):
        position = MANIFEST_SCHEMA.get_field_index(name)
        field = MANIFEST_SCHEMA.field(name)
        rows = rows.set_column(position, field, pa.array([value] * rows.num_rows, field.type))
    lake.manifest.commit(rows, run)
    return int(rows.num_rows)


def prefetch(items: Iterable[T], *, by: int = 2) -> Iterator[T]:
    """The items, `by` of them made in a thread of their own before they are asked for."""
    rest = iter(items)
    end = object()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as thread:
        coming = [thread.submit(next, rest, end) for _ in range(by)]
        while (item := coming.pop(0).result()) is not end:
            coming.append(thread.submit(next, rest, end))
            yield item  # type: ignore[misc] # `end` aside, it is what `rest` gives
