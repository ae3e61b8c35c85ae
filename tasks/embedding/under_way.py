"""Requests under way and requests that wait for their next try, each with the task it lives in."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from tasks.embedding.purchases import Request

Ended = Callable[[Request, BaseException | None], None]
"""Told when a request's task has ended, with what it raised; a task that was cancelled raised nothing."""


class UnderWay:
    """A set of requests that leave it by themselves when their tasks end."""

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._requests: dict[asyncio.Task[None], Request] = {}

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def requests(self) -> Collection[Request]:
        """The requests in it."""
        return self._requests.values()

    def start(self, request: Request, doing: Coroutine[Any, Any, None]) -> None:
        """Begin `doing` for `request`."""
        task = asyncio.create_task(doing)
        self._requests[task] = request
        task.add_done_callback(self._leave)

    def cancel(self) -> None:
        """End every task; each leaves as soon as the loop comes to it."""
        for task in self._requests:
            task.cancel()

    async def end(self, *, grace_s: float) -> None:
        """Wait up to `grace_s` seconds for every task to end by itself, then cancel those that have not."""
        try:
            if self._requests:
                await asyncio.wait(set(self._requests), timeout=grace_s)
        finally:
            tasks = set(self._requests)
            self.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._ended(self._requests.pop(task), None if task.cancelled() else task.exception())
