"""Parts on their way from the readers through the embedding into the collection, with bounded room between them.

Several readers cut at once, parts are embedded as they come and side by side, and loaded one after the other in the
order in which they were cut.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

from millrace.flows.commands.ingest.signals import cancel_tasks, drain_queue
from millrace.tasks.stages.part_writer import Part

_MAX_PARTS = 4  # between the readers and the collection; bounds memory and what a crash makes again

EmbeddedT = TypeVar("EmbeddedT")
Step: TypeAlias = Literal["chunk", "embed and load"]


class StepRunner(Protocol):
    """Runs one step of a run: a reader until no job is left, or a part on its way into the collection."""

    async def __call__(self, step: Step, name: str, work: Callable[[], Awaitable[int]]) -> int:
        """The count that `work` returns; `name` is the reader's or the part's number."""


async def run_directly(step: Step, name: str, work: Callable[[], Awaitable[int]]) -> int:
    """Run a step as a plain call; implements `StepRunner`."""
    del step, name
    return await work()


class PartExecutor(Generic[EmbeddedT]):
    """Moves the parts of one run: owns their queue, the bound on how many there are, and the order of loading.

    `read` is one reader, by number: it calls `submit` for each part. `embed` and `load` bring one part in.
    `on_last_part` is called when the last part is being embedded, `stop_reading` when no reader is needed any more.
    """

    def __init__(
        self,
        *,
        read: Callable[[int], Awaitable[int]],
        embed: Callable[[Part], Awaitable[EmbeddedT]],
        load: Callable[[Part, EmbeddedT], Awaitable[int]],
        on_last_part: Callable[[], None],
        stop_reading: Callable[[], None],
        run_step: StepRunner = run_directly,
    ) -> None:
        self._read = read
        self._embed = embed
        self._load = load
        self._on_last_part = on_last_part
        self._stop_reading = stop_reading
        self._run_step = run_step
        self._cut: asyncio.Queue[Part | None] = asyncio.Queue()
        self._started: asyncio.Queue[asyncio.Task[int] | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_MAX_PARTS)

    async def submit(self, part: Part) -> None:
        """Take over a part that was cut, as soon as there is room for it."""
        await self._room.acquire()
        self._cut.put_nowait(part)

    async def run(self, *, readers: int) -> None:
        """Let so many readers read all jobs, and load every part; parts cut before a failure are still loaded."""
        feeding = [asyncio.create_task(self._read_all(readers)), asyncio.create_task(self._start_parts())]
        first: list[asyncio.Task[int]] = []
        try:
            while (task := await self._started.get()) is not None:
                first = [task]
                await task
            await asyncio.gather(*feeding)
        finally:
            self._stop_reading()
            await cancel_tasks(feeding)
            await cancel_tasks([*first, *filter(None, drain_queue(self._started))])

    async def _read_all(self, readers: int) -> None:
        tasks = [
            asyncio.create_task(self._as_step("chunk", str(reader), partial(self._read, reader)))
            for reader in range(1, readers + 1)
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            await cancel_tasks(tasks)
            self._cut.put_nowait(None)

    async def _start_parts(self) -> None:
        """Start on each part as it comes; after the last, let the last, partly filled request go."""
        before = asyncio.Event()
        before.set()
        try:
            while (part := await self._cut.get()) is not None:
                loaded = asyncio.Event()
                work = partial(self._embed_and_load, part, before=before, loaded=loaded)
                name = f"{part.job}-{part.number}"
                self._started.put_nowait(asyncio.create_task(self._as_step("embed and load", name, work)))
                before = loaded
            self._on_last_part()
        finally:
            self._started.put_nowait(None)

    async def _embed_and_load(self, part: Part, *, before: asyncio.Event, loaded: asyncio.Event) -> int:
        """Embed the part and load it once the part `before` is in; after a part that fails no later one is loaded."""
        embedded = await self._embed(part)
        await before.wait()
        rows = await self._load(part, embedded)
        loaded.set()
        self._room.release()
        return rows

    async def _as_step(self, step: Step, name: str, work: Callable[[], Awaitable[int]]) -> int:
        return await self._run_step(step, name, work)
