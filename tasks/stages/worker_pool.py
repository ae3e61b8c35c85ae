"""Processes that can be stopped: each unit of work has a deadline, and a process has a bound on its memory.

A document that hangs its reader, eats memory or crashes a C library takes down one worker process; the pool says which
unit it was busy with, starts another process, and the caller decides what to leave out. Knows nothing of documents.
"""

import asyncio
import contextlib
import os
import resource
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, Generic, Literal, Protocol, TypeVar

from millrace.tasks.errors import MillraceError
from millrace.tasks.stages.fork_server import FORK_SERVER

MessageT_contra = TypeVar("MessageT_contra", contravariant=True)
JobT = TypeVar("JobT")
MessageT = TypeVar("MessageT")

_KILL_S = 5.0
_START_GRACE_S = 60.0  # importing the work function on a busy machine; not part of any unit's deadline


class Channel(Protocol[MessageT_contra]):
    """What a work function sees of its pool."""

    def at(self, unit: str) -> None:
        """Begin the next unit of work: its deadline starts now."""

    def send(self, message: MessageT_contra) -> None:
        """Hand over a result; returns when the caller has room for the next one."""


class WorkerLost(MillraceError):
    """The process was stopped or died while busy with `unit`; "" is before it had begun with any."""

    def __init__(self, unit: str, cause: Literal["timeout", "died"], detail: str) -> None:
        not_begun = (
            "reading did not begin; if the machine is busy or short of memory, run again with documents.workers = 1"
        )
        super().__init__(f"{detail} at {unit!r}" if unit else f"{detail}: {not_begun}")
        self.unit = unit
        self.cause = cause
        self.detail = detail


class _Worker:
    """One child process, and whether it has had a job."""

    def __init__(self, work: Callable[[Any, Channel[Any]], None], ready: Callable[[], object], memory_mb: int) -> None:
        self.fresh = True  # it may still be starting
        try:
            self.process = FORK_SERVER.fork(_serve, work, memory_mb, ready=ready)
        except OSError as error:
            raise WorkerLost("", "died", f"no process can be started ({error})") from error
        self.connection = self.process.connection


def _nothing() -> None:
    """What a process does before its first job, where there is nothing."""


class WorkerPool(Generic[JobT, MessageT]):
    """Up to `size` processes, each running `work(job, channel)` for one job at a time.

    `ready`, if given, is called before the first job, once for all processes; it and `work` must be importable by name
    in a fresh process. A unit that takes longer than `deadline_s`, or a process that dies (of the memory bound, say,
    where that is not a mere `MemoryError`), ends `run` with `WorkerLost`.
    """

    def __init__(
        self,
        work: Callable[[JobT, Channel[MessageT]], None],
        *,
        size: int,
        deadline_s: float,
        memory_mb: int,
        ready: Callable[[], object] | None = None,
    ) -> None:
        self.size = size
        self._work = work
        self._ready = ready or _nothing
        self._deadline_s = deadline_s
        self._memory_mb = memory_mb
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="worker-pool")
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    def start(self, processes: int) -> None:
        """Let so many processes start now, while the caller does something else, rather than with the first jobs."""
        for _ in range(min(processes, self.size)):
            self._threads.submit(self._start_one)

    async def run(self, job: JobT, receive: Callable[[MessageT], Awaitable[None]]) -> None:
        """Run one job, awaiting `receive` for each message before the worker goes on.

        Raises `WorkerLost`, or the `MillraceError` that `work` raised.
        """
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[tuple[MessageT, threading.Event] | None] = asyncio.Queue()
        abandoned = threading.Event()

        def post(message: MessageT) -> None:
            taken = threading.Event()
            loop.call_soon_threadsafe(inbox.put_nowait, (message, taken))
            while not taken.wait(timeout=0.2):
                if abandoned.is_set() or self._closed:
                    raise WorkerLost("", "died", "its results are not wanted any more")

        driving = loop.run_in_executor(self._threads, self._drive, job, post)

        def ended(drive: asyncio.Future[None]) -> None:
            if not drive.cancelled():
                drive.exception()  # retrieved here, because a cancelled `run` never does
            inbox.put_nowait(None)

        driving.add_done_callback(ended)
        try:
            while (item := await inbox.get()) is not None:
                message, taken = item
                await receive(message)
                taken.set()
            await driving
        finally:
            abandoned.set()

    def close(self) -> None:
        """Stop every process at once, also those in the middle of a job."""
        with self._lock:
            self._closed = True
            workers = [*self._idle, *self._busy]
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join(_KILL_S)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _drive(self, job: JobT, post: Callable[[MessageT], None], *, may_begin_again: bool = True) -> None:
        worker, fresh = self._acquire()
        unit = ""
        wait_s = self._deadline_s + fresh * _START_GRACE_S
        reusable = False
        try:
            worker.connection.send(job)
            while True:
                if not worker.connection.poll(wait_s):
                    raise WorkerLost(unit, "timeout", f"took longer than {self._deadline_s:g} s")
                kind, payload = worker.connection.recv()
                wait_s = self._deadline_s
                if kind == "at":
                    unit = payload
                elif kind == "message":
                    post(payload)
                    worker.connection.send("go on")
                elif kind == "failed":
                    reusable = True
                    raise payload
                else:
                    reusable = True
                    return
        except (EOFError, ConnectionError) as error:
            exitcode = worker.process.join(5)
            if may_begin_again and fresh and not unit and worker.process.pid is None:
                self._drive(job, post, may_begin_again=False)
                return
            raise WorkerLost(unit, "died", _cause_of_death(exitcode)) from error
        finally:
            self._release(worker, reusable=reusable)

    def _acquire(self) -> tuple[_Worker, bool]:
        with self._lock:
            if self._closed:
                raise WorkerLost("", "died", "the pool is closed")
            worker = self._idle.pop() if self._idle else _Worker(self._work, self._ready, self._memory_mb)
            self._busy.add(worker)
            fresh, worker.fresh = worker.fresh, False
        return worker, fresh

    def _start_one(self) -> None:
        with self._lock:
            if not self._closed and len(self._idle) + len(self._busy) < self.size:
                self._idle.append(_Worker(self._work, self._ready, self._memory_mb))

    def _release(self, worker: _Worker, *, reusable: bool) -> None:
        with self._lock:
            self._busy.discard(worker)
            if reusable and not self._closed:
                self._idle.append(worker)
                return
        worker.process.kill()
        worker.process.join(_KILL_S)


class _PipeChannel:
    """The child's side of the pipe. When the parent is gone, the process exits silently."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def at(self, unit: str) -> None:
        with _exit_if_parent_is_gone():
            self._connection.send(("at", unit))

    def send(self, message: object) -> None:
        with _exit_if_parent_is_gone():
            self._connection.send(("message", message))
            self._connection.recv()


@contextlib.contextmanager
def _exit_if_parent_is_gone() -> Iterator[None]:
    try:
        yield
    except (EOFError, ConnectionError):
        os._exit(1)  # raised, it would be taken for the failure of a document's reader


def _serve(connection: Connection, work: Callable[[Any, Channel[Any]], None], memory_mb: int) -> None:
    """The child: runs jobs from the pipe until it closes."""
    _bound_memory(memory_mb)
    channel = _PipeChannel(connection)
    while True:
        with _exit_if_parent_is_gone():
            job = connection.recv()
        try:
            work(job, channel)
            outcome: tuple[str, object] = ("done", None)
        except MillraceError as error:
            outcome = ("failed", error)
        with _exit_if_parent_is_gone():
            connection.send(outcome)


def _bound_memory(memory_mb: int) -> None:
    if sys.platform == "linux":  # elsewhere RLIMIT_DATA does not cover what malloc maps
        limit = memory_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _cause_of_death(exitcode: int | None) -> str:
    if exitcode is None:
        return "the reading process is gone, and what starts such processes with it"
    if exitcode < 0:
        return f"the reading process died of {signal.Signals(-exitcode).name}"
    return f"the reading process exited with code {exitcode}"
