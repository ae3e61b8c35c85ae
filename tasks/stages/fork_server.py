"""A process that imports once what reading needs, and from then on forks each worker in milliseconds.

Starting Python for each worker took a second of CPU. The workers of `multiprocessing` would also look for every module
in the current folder first, so that a corpus with a `pickle.py` was run instead of read, and they import the script
that began the run.

One server serves all pools of a process, and is waited for when that exits, so that the CPU of readers counts as its
own. If it is killed, the kernel ends the server with it and the workers with the server (on Linux at once; elsewhere
each sees a closed connection). A server that has had no worker for a minute ends by itself.
"""

import atexit
import ctypes
import gc
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from millrace.tasks.errors import MillraceError
from millrace.tasks.stages import memory

_IDLE_S = 60.0
_END_S = 5.0
_PR_SET_PDEATHSIG = 1  # of prctl(2); the parent is the thread that started us
_INT = struct.Struct("=i")
_BEGIN = "import sys; sys.path[:] = sys.argv[2:]; from {} import serve; serve(int(sys.argv[1]))"


class Child:
    """A worker, and this side of its connection. It is killed when this object is forgotten."""

    def __init__(self, connection: Connection, life: socket.socket) -> None:
        self.connection = connection
        self._life = life  # gives process id and exit code; closed on this side, the worker is killed
        self._lock = threading.Lock()
        self._numbers: list[int] = []

    @property
    def pid(self) -> int | None:
        """The process id; waits for it. None when the server ended before the worker had begun."""
        return self._tell(1, None)

    def kill(self) -> None:
        """Let it be killed; returns at once."""
        try:
            self._life.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it is gone, and the server with it

    def join(self, timeout_s: float | None = None) -> int | None:
        """Its exit code once it has ended, negative for a signal; None if that takes longer or the server is gone."""
        return self._tell(2, timeout_s)

    def _tell(self, number: int, timeout_s: float | None) -> int | None:
        with self._lock:
            self._life.settimeout(timeout_s)
            try:
                while len(self._numbers) < number and (received := self._life.recv(_INT.size, socket.MSG_WAITALL)):
                    self._numbers.append(_INT.unpack(received)[0])
            except OSError:  # TimeoutError too
                return None
            return self._numbers[number - 1] if len(self._numbers) >= number else None


class ForkServer:
    """Starts the server when it is first needed, and again when it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._keeper: threading.Thread | None = None
        self._owner = 0

    def fork(self, target: Callable[..., None], *args: object, ready: Callable[[], object]) -> Child:
        """A process that runs `target(connection, *args)`; the server has called `ready` before, once.

        All must be importable by name. Whether it begins is not waited for: a child that could not is without `pid`.

        Raises:
            OSError: The server cannot be started.
        """
        path = [entry for entry in sys.path if entry]  # "" is the current folder
        request = pickle.dumps((path, pickle.dumps(ready), dict(os.environ), target, args))
        ours, theirs = socket.socketpair()
        life, report = socket.socketpair()
        with theirs, report, self._lock:
            fds = [theirs.fileno(), report.fileno()]
            try:
                _send(self._running(path), request, fds)
            except OSError:  # it has ended
                self._control = None
                _send(self._running(path), request, fds)
        return Child(Connection(ours.detach()), life)

    def close(self) -> None:
        """End the server and its workers, and wait for it."""
        with self._lock:
            if self._control is None or self._keeper is None or self._owner != os.getpid():
                return
            self._control.close()
            self._control = None
        with suppress(KeyboardInterrupt):  # who is in a hurry need not wait: the server ends by itself
            self._keeper.join(_END_S)

    def _running(self, path: list[str]) -> socket.socket:
        if self._control is None or self._owner != os.getpid():  # a fork of this process needs its own
            self._control, theirs = socket.socketpair()
            self._owner = os.getpid()
            started: Future[None] = Future()
            # The kernel ends the server with the thread that started it, so that one stays for as long.
            self._keeper = threading.Thread(target=_keep, args=(theirs, path, started), name="fork-server", daemon=True)
            self._keeper.start()
            started.result()
        return self._control


FORK_SERVER = ForkServer()
atexit.register(FORK_SERVER.close)


def _keep(theirs: socket.socket, path: list[str], started: "Future[None]") -> None:
    try:
        with theirs:
            server = subprocess.Popen(  # noqa: S603 - this Python, and our own words
                [sys.executable, "-P", "-c", _BEGIN.format(__name__), str(theirs.fileno()), *path],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C goes to the whole group, and the parent says when readers end
                # Workers are one a core, and a process with threads is not to be forked.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            )
    except OSError as error:
        started.set_exception(error)
    else:
        started.set_result(None)
        server.wait()


def _send(control: socket.socket, request: bytes, fds: list[int]) -> None:
    socket.send_fds(control, [_INT.pack(len(request))], fds)
    control.sendall(request)


def serve(control_fd: int) -> None:
    """The server: forks a worker for each request, kills it when it is asked to, and tells how it ended."""
    _die_with_parent()
    for interrupt in (signal.SIGINT, signal.SIGTERM):  # the parent handles them, and says when readers end
        signal.signal(interrupt, signal.SIG_IGN)
    memory.configure_allocator()
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    server = _Server(socket.socket(fileno=control_fd))
    while readable := server.wait(woken):
        if woken in readable:
            os.read(woken, 4096)
        server.kill_the_unwanted(readable)
        server.reap()
        if control_fd in readable and not server.fork_one():
            break
    server.close()


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: dict[int, socket.socket] = {}
        self._made_ready: set[bytes] = set()

    def wait(self, woken: int) -> list[int]:
        """File descriptors on which something has come; none after a minute without a worker."""
        lives = [life.fileno() for life in self._workers.values()]
        return select.select([self._control.fileno(), woken, *lives], [], [], None if lives else _IDLE_S)[0]

    def kill_the_unwanted(self, readable: list[int]) -> None:
        for pid, life in self._workers.items():
            if life.fileno() in readable:
                os.kill(pid, signal.SIGKILL)  # not reaped yet, so it is still this process

    def close(self) -> None:
        self._control.close()  # first: whoever asks now must see that nobody answers
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def reap(self) -> None:
        for pid in list(self._workers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with self._workers.pop(pid) as life:
                    _tell(life, os.waitstatus_to_exitcode(status))

    def fork_one(self) -> bool:
        """Whether there was a request; none comes when the parent is gone."""
        head, fds, _, _ = socket.recv_fds(self._control, _INT.size, 2)
        if not head:
            return False
        request = self._received(_INT.unpack(head)[0])
        sys.path[:], ready, environment, target, args = pickle.loads(request)  # noqa: S301 - our parent's
        self._get_ready(ready)
        connection, life = Connection(fds[0]), socket.socket(fileno=fds[1])
        try:
            pid = os.fork()
        except OSError:  # too many processes; a child without an id tells it
            life.close()
            connection.close()
            return True
        if not pid:
            for inherited in (self._control, life, *self._workers.values()):
                inherited.close()
            _be_worker(connection, environment, target, args)
        connection.close()
        self._workers[pid] = life
        _tell(life, pid)
        return True

    def _received(self, size: int) -> bytes:
        received = bytearray()
        # Again and again, because the end of a worker may interrupt MSG_WAITALL in the middle.
        while len(received) < size and (some := self._control.recv(size - len(received))):
            received += some
        return bytes(received)

    def _get_ready(self, ready: bytes) -> None:
        if ready in self._made_ready:
            return
        self._made_ready.add(ready)
        with suppress(MillraceError):  # the first job that needs it reports the error
            pickle.loads(ready)()  # noqa: S301 - our parent's
        gc.freeze()  # collecting what all share would copy it into each


def _tell(life: socket.socket, number: int) -> None:
    try:
        life.sendall(_INT.pack(number))
    except OSError:
        return  # nobody listens any more


def _be_worker(
    connection: Connection, environment: dict[str, str], target: Callable[..., None], args: tuple[Any, ...]
) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.clear()  # the parent's may have changed since the server started: credentials of a store, say
        os.environ.update(environment)
        server = os.getppid()
        _die_with_parent()
        threading.Thread(target=_watch_parent, args=(server,), daemon=True).start()
        target(connection, *args)
        code = 0
    except BaseException:  # noqa: BLE001 - nobody is above; it is told, and the exit code tells it
        traceback.print_exc()
    finally:
        os._exit(code)


def _die_with_parent() -> None:
    """On Linux by the kernel: a process that outlives a killed run would write while the next run tidies up."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch_parent(parent: int) -> None:
    """End this process when its parent is gone, even in the middle of a call into a C library that never returns."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
