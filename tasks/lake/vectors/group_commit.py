"""Group commit: one flush for everything that arrived while the last one ran."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from millrace.tasks.errors import LakeError

T = TypeVar("T")
R = TypeVar("R")


class GroupCommit(Generic[T]):
    """One thread that hands all waiting items at once to `commit`, and wakes their submitters when it returns.

    Once a `commit` has raised, every later submission raises the same error: what a failed flush left on disk is not
    known, so nothing may be written after it.
    """

    def __init__(self, commit: Callable[[list[T]], None], *, name: str) -> None:
        self._commit = commit
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._waiting: list[T] = []
        self._group: Future[None] | None = None
        self.closed = False
        self.failure: BaseException | None = None

    async def submit(self, item: T) -> None:
        """Return when `item` is committed. A caller that is cancelled meanwhile leaves it in the queue all the same.

        Raises:
            LakeError: It could not be committed, or an earlier one could not.
        """
        # The future belongs to the whole group: a waiter that is cancelled must not cancel it.
        group = asyncio.wrap_future(self._joined(item))
        group.add_done_callback(_retrieve_exception)
        await asyncio.shield(group)

    def run(self, action: Callable[[], R]) -> R:
        """What `action` returns, run in the thread when everything submitted before is committed or has failed."""
        return self._thread.submit(action).result()

    def close(self) -> None:
        """Commit what waits and end the thread."""
        with self._lock:
            self.closed = True
        self._thread.shutdown()

    def _joined(self, item: T) -> Future[None]:
        """The future of the group that `item` is now in."""
        with self._lock:
            if self.closed:
                raise LakeError("The vector store is closed; open it again to append.")
            self._waiting.append(item)
            if self._group is None:
                self._group = self._thread.submit(self._commit_waiting)
                self._group.add_done_callback(self._note)
            return self._group

    def _commit_waiting(self) -> None:
        with self._lock:
            group, self._waiting, self._group = self._waiting, [], None
        if self.failure is not None:
            raise self.failure
        self._commit(group)

    def _note(self, group: Future[None]) -> None:
        # Called in the thread, before it takes the next group.
        self.failure = group.exception()


def _retrieve_exception(future: "asyncio.Future[None]") -> None:
    """Look at the outcome, so that asyncio does not print a failure whose waiter was cancelled."""
    if not future.cancelled():
        future.exception()
