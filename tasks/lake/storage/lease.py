"""One writer at a time: a lease is a lock file that a living process holds.

The lock (`flock`) decides: it ends with the process, however that ends, so a dead holder's lease is free at once. The
text in the file only tells others who holds it. The file is never deleted: a process that waits to lock a deleted file
would lock nothing.
"""

import errno
import fcntl
import json
import os
import socket
import weakref
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from millrace.tasks.errors import LakeError, LeaseHeld
from millrace.tasks.lake.storage.atomic import translate_os_errors

_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL})


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease. `since` is UTC, ISO 8601; `boot` and `process_start` tell a process from a later namesake."""

    pid: int
    host: str
    since: str
    boot: str
    process_start: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


class Lease:
    """A lease that this process holds until `release`, or until it ends. Use `acquire_lease` to get one."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        _held.add(self)

    def release(self) -> None:
        """Let others have it. Safe to call twice."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        with translate_os_errors(self.path, "Releasing the lease"):
            os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def forget(self) -> None:
        """Close a forked child's copy: a pool worker that outlives its parent must not keep the lease alive."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


_held: "weakref.WeakSet[Lease]" = weakref.WeakSet()


def _forget_all() -> None:
    for lease in list(_held):
        lease.forget()


os.register_at_fork(after_in_child=_forget_all)


def acquire_lease(path: Path, what: str) -> Lease:
    """The lease whose file is `path`; `what` names the guarded thing in messages ("the lake at /srv/lake").

    Raises:
        LeaseHeld: Another living process has it; the message says who, where and since when.
        LakeError: The file cannot be written.
    """
    with translate_os_errors(path, "Opening the lease"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _lock(descriptor, path, what)
        me = myself()
        with translate_os_errors(path, "Writing the lease"):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(asdict(me)).encode(), 0)
    except LakeError:
        os.close(descriptor)
        raise
    return Lease(path, descriptor)


def myself() -> Holder:
    """The calling process, as the holder of a lease from now on."""
    return Holder(os.getpid(), socket.gethostname(), _now(), _boot_id(), _process_start(os.getpid()))


def holder_of(path: Path) -> Holder | None:
    """Who the file at `path` says holds the lease, None when it names nobody. The lock is not asked."""
    try:
        return Holder(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return None  # just taken or just released


def _lock(descriptor: int, path: Path, what: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LeaseHeld(_held_message(what, path, holder_of(path))) from error
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise LakeError(f"The lease {path} cannot be locked: {error.strerror}.") from error
        # A file system without locks: what the file says has to do.
        holder = holder_of(path)
        if holder is not None and not is_gone(holder):
            message = _held_message(what, path, holder)
            raise LeaseHeld(f"{message} This file system has no locks: if it is gone, delete {path}.") from error


def _held_message(what: str, path: Path, holder: Holder | None) -> str:
    who = str(holder) if holder is not None else f"another process (see {path})"
    return f"{what} is being written by {who}. Wait until it is done, or stop it; two writers would undo each other."


def is_gone(holder: Holder) -> bool:
    """Whether the holder is certainly dead: this host has booted since, or its process is not the same any more."""
    if holder.host != socket.gethostname():
        return False
    return holder.boot != _boot_id() or holder.process_start != _process_start(holder.pid)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _process_start(pid: int) -> str:
    """Field 22 of /proc/PID/stat, clock ticks after boot; "" where there is no such process or no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
