"""Parts on their way from the readers through the embedding into the collection, with bounded room between them.

Knows names and the order of things, not what a part is: jobs are read by several readers at once, parts are embedded
as they come and side by side, and loaded one after the other in the order in which they were cut.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from flows.stopping import drained, end_tasks

_PARTS_UNDER_WAY = 4  # between the readers and the collection; bounds memory and what a crash makes again


class Conveyor:
    """`chunk` reads a job and calls `put` for each of its parts; `embed` and `load` take a part by its name.

    `no_more` is called when every part has been handed to `embed`, `stop_reading` when no reader is needed any more.
    """

    def __init__(
        self,
        *,
        chunk: Callable[[int], Awaitable[int]],
        embed: Callable[[str], Awaitable[int]],
        load: Callable[[str], Awaitable[int]],
        no_more: Callable[[], None],
        stop_reading: Callable[[], None],
    ) -> None:
        self._chunk = chunk
        self._embed = embed
        self._load = load
        self._no_more = no_more
        self._stop_reading = stop_reading
        self._cut: asyncio.Queue[str | None] = asyncio.Queue()
        self._embedding: asyncio.Queue[tuple[str, asyncio.Task[int]] | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_PARTS_UNDER_WAY)

    async def put(self, part: str) -> None:
        """Take over a part that was cut, as soon as there is room for it."""
        await self._room.acquire()
        self._cut.put_nowait(part)

    async def run(self, jobs: Iterable[int], *, readers: int) -> None:
        """Read, embed and load all jobs; on a failure, what was embedded before it is still loaded, in order."""
        feeding = [asyncio.create_task(self._read(jobs, readers)), asyncio.create_task(self._start_embedding())]
        under_way: list[asyncio.Task[int]] = []
        try:
            while (item := await self._embedding.get()) is not None:
                part, embedding = item
                under_way = [embedding]
                await embedding
                await self._load(part)
                self._room.release()
            await asyncio.gather(*feeding)
        finally:
            self._stop_reading()
            await end_tasks(feeding)
            await end_tasks([*under_way, *(item[1] for item in drained(self._embedding) if item)])

    async def _read(self, jobs: Iterable[int], readers: int) -> None:
        """Read the jobs, several at once."""
        waiting = iter(jobs)

        async def read_next() -> None:
            for job in waiting:  # one iterator, shared: each job is taken once
                await self._chunk(job)

        tasks = [asyncio.create_task(read_next()) for _ in range(readers)]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end_tasks(tasks)
            self._cut.put_nowait(None)

    async def _start_embedding(self) -> None:
        """Start embedding each part as it comes; when no more come, let the last, partly filled request go."""
        try:
            while (part := await self._cut.get()) is not None:
                self._embedding.put_nowait((part, asyncio.create_task(self._embed_part(part))))
            self._no_more()
        finally:
            self._embedding.put_nowait(None)

    async def _embed_part(self, part: str) -> int:
        return await self._embed(part)
