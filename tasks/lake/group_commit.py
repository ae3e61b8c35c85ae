"""Group commit: one flush for everything that arrived while the last one ran."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from tasks.errors import LakeError

T = TypeVar("T")


class GroupCommit(Generic[T]):
    """A thread that hands all waiting items at once to `commit`, and wakes those who put them when it returns.

    After a `commit` that raised, its error is everyone's answer: what is behind a failed flush is not known, so nothing
    may be put on top of it.
    """

    def __init__(self, commit: Callable[[list[T]], None], *, name: str) -> None:
        self._commit = commit
        self._changed = threading.Condition()
        self._waiting: list[tuple[T, Future[None]]] = []
        self._busy = False
        self._closed = False
        self.failure: LakeError | None = None
        # A daemon: what was acknowledged is on disk, so a forgotten `close` must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    async def put(self, item: T) -> None:
        """Return when `item` is committed. A caller that is cancelled meanwhile leaves it in the queue all the same.

        Raises:
            LakeError: It could not be committed, or an earlier one could not.
        """
        await asyncio.wrap_future(self._submit(item))

    def flush(self) -> None:
        """Return when everything put before is committed, or has failed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._busy)

    def close(self) -> None:
        """Commit what waits and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _submit(self, item: T) -> Future[None]:
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()  # from here on a cancelled waiter cannot take the item back
        with self._changed:
            if self._closed:
                raise LakeError("The vector store is closed; open it again to append.")
            if self.failure is not None:
                raise self.failure
            self._waiting.append((item, future))
            if self._thread.ident is None:
                self._thread.start()
            self._changed.notify_all()
        return future

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                group, self._waiting = self._waiting, []
                self._busy = bool(group)
            if not group:
                return
            self._commit_group(group)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _commit_group(self, group: list[tuple[T, Future[None]]]) -> None:
        try:
            if self.failure is None:
                self._commit([item for item, _ in group])
        except LakeError as error:
            self.failure = error
        for _, future in group:
            if self.failure is None:
                future.set_result(None)
            else:
                future.set_exception(self.failure)
