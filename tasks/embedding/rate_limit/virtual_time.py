"""An event loop in which time costs nothing: when everybody sleeps, the clock jumps to the first who wakes."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time passes only by sleeping. A loop in which nothing can ever happen again fails instead of hanging.

    For work without threads and connections: what is waited for elsewhere takes no time here.
    """

    def __init__(self) -> None:
        super().__init__(_Impatient(self))
        self.passed_s = 0.0

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self.passed_s


class _Impatient(selectors.DefaultSelector):
    def __init__(self, loop: "VirtualLoop") -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                message = "deadlock: everybody waits and nobody sleeps"
                raise RuntimeError(message)
            self._loop.passed_s += timeout
        return ready


def run(story: Coroutine[Any, Any, T]) -> T:
    """The result of `story`, told in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)


def now() -> float:
    """Virtual seconds since the story began."""
    return asyncio.get_running_loop().time()
