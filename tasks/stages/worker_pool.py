"""Processes that can be stopped: each unit of work has a deadline, and a process has a bound on its memory.

A document that hangs its reader, eats memory or crashes a C library takes down one worker process; the pool says which
unit it was busy with, starts another process, and the caller decides what to leave out. Knows nothing of documents.
"""

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, Literal, Protocol, TypeVar

from millrace.tasks.errors import ConfigurationError, MillraceError
from millrace.tasks.stages import memory

MessageT_contra = TypeVar("MessageT_contra", contravariant=True)
JobT = TypeVar("JobT")
MessageT = TypeVar("MessageT")

_PR_SET_PDEATHSIG = 1  # of prctl(2); the parent is the thread that started us, and that lasts as long as the pool
_START_GRACE_S = 60.0  # importing the work function on a busy machine; not part of any unit's deadline


_NOT_EXECUTED = 255
"""Exit code of a child in which Python could not be started, as happens now and then on a busy machine."""

_NO_MAIN_GUARD = 78  # exit code of a process that began the whole run again; EX_CONFIG of sysexits.h


def require_processes() -> None:
    """Raise `ConfigurationError` when this process may not start others.

    A reading process imports the script that started the run. Without a main guard that begins the run again; such a
    process ends here at once, and its parent says why.
    """
    process = multiprocessing.current_process()
    if getattr(process, "_inheriting", False):  # set by `spawn` while it imports the script
        os._exit(_NO_MAIN_GUARD)
    if process.daemon:
        raise ConfigurationError(
            f"this process ({process.name}) is daemonic, and so may not start the processes that read documents: run "
            "millrace in a process of its own, or in one that is started with daemon=False"
        )


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
    """One child process and this side of its pipe."""

    def __init__(
        self, work: Callable[[Any, Channel[Any]], None], ready: Callable[[], object] | None, memory_mb: int
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.fresh = True  # it has not had a job yet, and may still be starting
        self.process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, work, ready, memory_mb, os.getpid()), daemon=True
        )
        # Ctrl-C goes to the whole process group, also to a child that has not come to ignoring it; it inherits this.
        # The tracker comes first: starting the pool's first process would start it, and that unblocks the signal.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def stop(self) -> int | None:
        """Kill the process and reap it; its exit code, negative for a signal."""
        self.process.kill()
        self.process.join()
        self.connection.close()
        return self.process.exitcode


class WorkerPool(Generic[JobT, MessageT]):
    """Up to `size` processes, each running `work(job, channel)` for one job at a time.

    Each process calls `ready`, if given, before its first job; both must be importable by name in a fresh process. A
    unit that takes longer than `deadline_s`, or a process that dies (of the memory bound, say, where that is not a mere
    `MemoryError`), ends `run` with `WorkerLost`.
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
        require_processes()
        self.size = size
        self._work = work
        self._ready = ready
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
            worker.process.join(5)
            if worker.process.exitcode == _NO_MAIN_GUARD:
                raise ConfigurationError(
                    "the script that started this run starts it again in each reading process, because it has no main "
                    'guard: put the call of millrace below `if __name__ == "__main__":`'
                ) from None
            if may_begin_again and fresh and not unit and worker.process.exitcode == _NOT_EXECUTED:
                self._drive(job, post, may_begin_again=False)
                return
            raise WorkerLost(unit, "died", _cause_of_death(worker.process.exitcode)) from error
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
        worker.stop()


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


def _serve(
    connection: Connection,
    work: Callable[[Any, Channel[Any]], None],
    ready: Callable[[], object] | None,
    memory_mb: int,
    parent: int,
) -> None:
    """The child: runs jobs from the pipe until it closes, and ignores interrupts, which the parent handles."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    memory.configure_allocator()
    threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()
    _bound_memory(memory_mb)
    with contextlib.suppress(MillraceError):  # the first job that needs it reports the error
        if ready is not None:
            ready()
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


def _die_with_parent() -> None:
    """On Linux by the kernel: a process that outlives a killed run would write while the next run tidies up."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch_parent(parent: int) -> None:
    """End this process when its parent is gone, even in the middle of a call into a C library that never returns."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _bound_memory(memory_mb: int) -> None:
    if sys.platform == "linux":  # elsewhere RLIMIT_DATA does not cover what malloc maps
        limit = memory_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _cause_of_death(exitcode: int | None) -> str:
    if exitcode is None:
        return "the reading process closed its pipe"
    if exitcode < 0:
        return f"the reading process died of {signal.Signals(-exitcode).name}"
    return f"the reading process exited with code {exitcode}"
