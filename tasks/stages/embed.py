"""The embed stage: embeds the texts of a part that the lake has no vector of; then every vector is on disk.

Joins `lake` (parts and the vector store) and `embedding` (the dispatcher). Runs on one event loop; several parts are
under way at once, so that requests are packed full across documents and parts.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from millrace.tasks.embedding import Dispatcher, Text
from millrace.tasks.errors import TextsRefused
from millrace.tasks.lake import ChunkParts, VectorStore
from millrace.tasks.records import embedded_text_of
from millrace.tasks.stages.part_writer import Part


@dataclass(frozen=True, slots=True)
class Embedded:
    """The outcome for a part's texts.

    `embedded` texts were sent, `reused` chunks already had a vector (or share that of another chunk), and `refused` are
    the text keys that the provider will not embed, with its reason.
    """

    embedded: int
    reused: int
    refused: Mapping[bytes, TextsRefused]


class EmbedStage:
    """Embeds parts, each text once however many parts contain it."""

    def __init__(self, parts: ChunkParts, store: VectorStore, dispatcher: Dispatcher, *, end_mark_tokens: int) -> None:
        self._parts = parts
        self._store = store
        self._dispatcher = dispatcher
        self._end_mark_tokens = end_mark_tokens
        self._in_progress: dict[bytes, asyncio.Task[TextsRefused | None]] = {}

    async def run(self, part: Part) -> Embedded:
        """Embed the part; every text has its vector in the store then, or a reason why not."""
        columns = ["source", "content", "text_key", "tokens", "metadata"]
        rows = await asyncio.to_thread(self._parts.read, part.job, part.number, part.number, columns=columns)
        keys: list[bytes] = rows["text_key"].to_pylist()
        wanted = {keys[position]: position for position in reversed(self._store.missing(keys))}
        # No await since the store was asked: a text that it lacks is embedded for another part now, or by nobody yet.
        mine = wanted.keys() - self._in_progress.keys()
        for key, position in sorted(wanted.items(), key=lambda item: item[1]):
            if key in mine:
                self._in_progress[key] = asyncio.create_task(self._embed(rows, position))
        tasks = [self._in_progress[key] for key in wanted]
        try:
            outcomes = await asyncio.gather(*tasks)
        finally:
            for key in mine:
                del self._in_progress[key]
        refused = {key: refusal for key, refusal in zip(wanted, outcomes, strict=True) if refusal is not None}
        embedded = len(mine - refused.keys())
        without_vector = sum(key in refused for key in keys)
        return Embedded(embedded=embedded, reused=len(keys) - embedded - without_vector, refused=refused)

    async def _embed(self, rows: pa.Table, position: int) -> TextsRefused | None:
        """None when the text's vector is on disk, or why it will not have one."""
        return await (await self._dispatcher.submit(text_at(rows, position, self._end_mark_tokens)))


def text_at(rows: pa.Table, position: int, end_mark_tokens: int) -> Text:
    """What is embedded of one row, as the dispatcher takes it; `end_mark_tokens` are billed beside those of a text.

    Rows without metadata, those of a Batch job, hold what is embedded.
    """
    content = rows["content"][position].as_py()
    metadata = rows["metadata"][position].as_py() if "metadata" in rows.column_names else ""
    return Text(
        key=rows["text_key"][position].as_py(),
        text=embedded_text_of(content, metadata),
        tokens=rows["tokens"][position].as_py() + end_mark_tokens,
        source=rows["source"][position].as_py(),
    )
