"""Parts on their way from the readers through the embedding into the collection, with bounded room between them.

Knows names and the order of things, not what a part is: several readers cut at once, parts are embedded as they come
and side by side, and loaded one after the other in the order in which they were cut.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from millrace.flows.commands.ingest.signals import cancel_tasks, drained

_PARTS_UNDER_WAY = 4  # between the readers and the collection; bounds memory and what a crash makes again


@dataclass(frozen=True, slots=True)
class _Turn:
    before: asyncio.Event  # the part before is in
    over: asyncio.Event  # this one is


class PartExecutor:
    """`chunk` is a reader, which calls `put` for each part; `bring_in` embeds a part and, `in_turn`, loads it.

    `no_more` is called when every part has been handed to `bring_in`, `stop_reading` when no reader is needed any more.
    """

    def __init__(
        self,
        *,
        chunk: Callable[[int], Awaitable[int]],
        bring_in: Callable[[str], Awaitable[int]],
        no_more: Callable[[], None],
        stop_reading: Callable[[], None],
    ) -> None:
        self._chunk = chunk
        self._bring_in = bring_in
        self._no_more = no_more
        self._stop_reading = stop_reading
        self._cut: asyncio.Queue[str | None] = asyncio.Queue()
        self._under_way: asyncio.Queue[asyncio.Task[int] | None] = asyncio.Queue()
        self._turns: dict[str, _Turn] = {}
        self._room = asyncio.Semaphore(_PARTS_UNDER_WAY)

    async def put(self, part: str) -> None:
        """Take over a part that was cut, as soon as there is room for it."""
        await self._room.acquire()
        self._cut.put_nowait(part)

    @contextlib.asynccontextmanager
    async def in_turn(self, part: str) -> AsyncIterator[None]:
        """Wait until all parts that were cut before this one are in; nobody comes in after one that fails."""
        turn = self._turns.pop(part)
        await turn.before.wait()
        yield
        turn.over.set()
        self._room.release()

    async def run(self, *, readers: int) -> None:
        """Let so many readers read all there is, and bring it in; what was cut before a failure still comes in."""
        feeding = [asyncio.create_task(self._read(readers)), asyncio.create_task(self._start_bringing_in())]
        first: list[asyncio.Task[int]] = []
        try:
            while (part := await self._under_way.get()) is not None:
                first = [part]
                await part
            await asyncio.gather(*feeding)
        finally:
            self._stop_reading()
            await cancel_tasks(feeding)
            await cancel_tasks([*first, *filter(None, drained(self._under_way))])

    async def _read(self, readers: int) -> None:
        tasks = [asyncio.create_task(self._read_as(reader)) for reader in range(1, readers + 1)]
        try:
            await asyncio.gather(*tasks)
        finally:
            await cancel_tasks(tasks)
            self._cut.put_nowait(None)

    async def _read_as(self, reader: int) -> int:
        return await self._chunk(reader)

    async def _start_bringing_in(self) -> None:
        """Start on each part as it comes; when no more come, let the last, partly filled request go."""
        before = asyncio.Event()
        before.set()
        try:
            while (part := await self._cut.get()) is not None:
                turn = self._turns[part] = _Turn(before, asyncio.Event())
                before = turn.over
                self._under_way.put_nowait(asyncio.create_task(self._bring_part_in(part)))
            self._no_more()
        finally:
            self._under_way.put_nowait(None)

    async def _bring_part_in(self, part: str) -> int:
        return await self._bring_in(part)
