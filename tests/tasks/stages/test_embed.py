"""The embed stage: a text is bought once, however many parts want it and whenever they ask."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from millrace.tasks.embedding import Dispatcher, EmbeddingResponse, RateLimiter
from millrace.tasks.lake import ChunkParts, Lake
from millrace.tasks.records import EmbeddingSpace
from millrace.tasks.stages.embed import EmbedStage
from millrace.tasks.stages.part_writer import Part, PartContext, PartWriter
from tests.tasks.stages.test_part_writer import cut, document_named, file_named


class Counting:
    """A provider that counts each text it is sent, and answers a little later."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    async def embed(self, texts: Sequence[str]) -> EmbeddingResponse:
        self.sent.update(texts)
        for _ in range(20):
            await asyncio.sleep(0)
        return EmbeddingResponse(np.ones((len(texts), 8), np.float32), billed_tokens=1, request_id="")

    async def close(self) -> None:
        pass


def parts_of_one_text(folder: Path, count: int) -> list[Part]:
    """Parts of different documents with the same text."""
    handed: list[Part] = []
    writer = PartWriter(
        PartContext(folder, "run", "fingerprint", "space", 40), job=1, first=0, send=handed.append, bytes_to_come=10**9
    )
    for number in range(count):
        file = file_named(f"{number}.md")
        document = document_named(f"{number}.md", sentences=60)  # names of equal length: the same text
        writer.add_document(file, document, cut(document))
        writer.end_file(file)
        writer.flush()
    return handed


async def test_parts_that_want_the_same_texts_at_staggered_moments_buy_each_once(tmp_path: Path) -> None:
    with Lake.open(tmp_path, "documents") as lake:
        store = lake.vectors(EmbeddingSpace("local", "test", 8))
        parts = parts_of_one_text(tmp_path / "documents" / "chunks", 5)
        client = Counting()
        dispatcher = Dispatcher(
            client, RateLimiter(), texts_per_request=3, tokens_per_request=0, max_in_flight=2, store=store
        )
        stage = EmbedStage(ChunkParts(lake.chunks_dir), store, dispatcher, end_mark_tokens=1)

        async def start(number: int, part: Part) -> tuple[int, int]:
            for _ in range(number * 25):
                await asyncio.sleep(0)
            embedded = await stage.run(part)
            return embedded.embedded, embedded.reused

        counts = await asyncio.gather(*(start(number, part) for number, part in enumerate(parts)))
        await dispatcher.close()
        store.close()
    assert len(parts) >= 5
    assert set(client.sent.values()) == {1}
    assert sum(newly_embedded for newly_embedded, _ in counts) == len(client.sent)
    assert sum(reused for _, reused in counts) == sum(part.chunks for part in parts) - len(client.sent)
