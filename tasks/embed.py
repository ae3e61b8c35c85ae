"""The embed stage: the texts of a part that the lake does not have yet are bought; then every vector is on disk.

Joins `lake` (parts and the vector store) and `embedding` (the dispatcher). Runs on one event loop; several parts are
under way at once, so that requests are packed full across documents and parts.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.embedding import Dispatcher, TextItem
from tasks.errors import TextsRefused
from tasks.lake import ChunkParts, VectorStore
from tasks.parts import Part


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of a part's texts.

    `bought` texts were sent, `reused` chunks already had a vector (or share one bought for another chunk), and
    `refused` are the text keys that the provider will not embed, with its reason.
    """

    bought: int
    reused: int
    refused: Mapping[bytes, TextsRefused]


class EmbedStage:
    """Embeds parts, buying each text once however many parts want it."""

    def __init__(self, parts: ChunkParts, store: VectorStore, dispatcher: Dispatcher, *, end_mark_tokens: int) -> None:
        self._parts = parts
        self._store = store
        self._dispatcher = dispatcher
        self._end_mark_tokens = end_mark_tokens

    async def run(self, part: Part) -> Embedded:
        """See that every text of the part has its vector in the store, or a reason why not."""
        columns = ["source", "content", "text_key", "tokens"]
        rows = await asyncio.to_thread(self._parts.read, part.job, part.number, part.number, columns=columns)
        keys: list[bytes] = rows["text_key"].to_pylist()
        wanted = {keys[position]: position for position in reversed(self._store.missing(keys))}
        futures: dict[bytes, asyncio.Future[TextsRefused | None]] = {}
        for key, position in sorted(wanted.items(), key=lambda item: item[1]):
            futures[key] = await self._dispatcher.submit(
                TextItem(
                    key=key,
                    text=rows["content"][position].as_py(),
                    tokens=rows["tokens"][position].as_py() + self._end_mark_tokens,
                    source=rows["source"][position].as_py(),
                )
            )
        outcomes = await asyncio.gather(*futures.values())
        refused = {key: refusal for key, refusal in zip(futures, outcomes, strict=True) if refusal is not None}
        bought = len(futures) - len(refused)
        lost = sum(key in refused for key in keys)
        return Embedded(bought=bought, reused=len(keys) - bought - lost, refused=refused)
