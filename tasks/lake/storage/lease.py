"""One writer at a time: a lease is a lock file that a living process holds.

The lock (`flock`) decides: it ends with the process, however that ends, so a dead holder's lease is free at once. The
text in the file only tells others who holds it. The file is never deleted: a process that waits to lock a deleted file
would lock nothing.

Some network file systems have no `flock`. There a second file, `*.lock`, decides: only one process can create it. It
names its creator, so that one of this machine that has died is found out; after one of another machine it has to be
deleted by hand.
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


@dataclass(frozen=True, slots=True)
class Claim:
    """A holder as a file names it that decides who holds. `processes` names the process ids that `holder.pid` is of."""

    holder: Holder
    processes: str

    def is_gone(self) -> bool:
        """Whether its process is certainly dead: of another container with this machine's name nothing is known."""
        return self.processes == process_namespace() and is_gone(self.holder)


class Lease:
    """A lease that this process holds until `release`, or until it ends. Use `acquire_lease` to get one.

    `lock`: the file that decides, where the file system has no `flock`.
    """

    def __init__(self, path: Path, descriptor: int, lock: Path | None) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        self._lock = lock
        _held.add(self)

    def release(self) -> None:
        """Let others have it. Safe to call twice."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        with translate_os_errors(self.path, "Releasing the lease"):
            os.ftruncate(descriptor, 0)
            os.close(descriptor)
            if self._lock is not None:
                self._lock.unlink(missing_ok=True)

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
    lock = None
    try:
        if not _flock(descriptor, path, what):
            lock = _create_lock(path, what)
        with translate_os_errors(path, "Writing the lease"):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(asdict(myself())).encode(), 0)
    except LakeError:
        os.close(descriptor)
        if lock is not None:
            lock.unlink(missing_ok=True)
        raise
    return Lease(path, descriptor, lock)


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


def living_holder(path: Path) -> Holder | None:
    """Who has the lease at `path`, None when it is free. Looks only, so that nobody who comes now is in the way.

    Raises LakeError when a file cannot be read.
    """
    with translate_os_errors(path, "Reading the lease"):
        holder = holder_of(path)
        if holder is None or is_gone(holder):
            claim = _claim_in(path.with_name(f"{path.name}.lock"))
            return claim.holder if claim is not None and not claim.is_gone() else None
        if holder.host == socket.gethostname():
            return holder
        # Of another machine, or another container: only the lock knows whether it lives.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # held, or no locks here: then the text is all there is
            return holder
        finally:
            os.close(descriptor)
    return None


def _flock(descriptor: int, path: Path, what: str) -> bool:
    """Lock the file; False where the file system has no locks. Raises LeaseHeld, LakeError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LeaseHeld(_held_message(what, path, holder_of(path))) from error
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise LakeError(f"The lease {path} cannot be locked: {error.strerror}.") from error
        return False
    return True


def _create_lock(path: Path, what: str) -> Path:
    """The file beside `path` that only this process could create. Raises LeaseHeld, LakeError."""
    lock = path.with_name(f"{path.name}.lock")
    takeover = path.with_name(f"{path.name}.takeover")
    for _ in range(2):
        if _create_claim(lock):
            return lock
        other = _claim_in(lock)
        if other is None or not other.is_gone():
            message = _held_message(what, lock, None if other is None else other.holder)
            raise LeaseHeld(f"{message} This file system has no locks: if that process is gone, delete {lock}.")
        # Only one at a time may delete a dead process's file: a second would delete that of the first.
        if not _create_claim(takeover):
            raise LeaseHeld(f"{what} is being taken over by another process. If there is none, delete {takeover}.")
        with translate_os_errors(lock, "Deleting"):
            if _claim_in(lock) == other:
                lock.unlink()
            takeover.unlink()
    raise LeaseHeld(_held_message(what, lock, None))


def _create_claim(path: Path) -> bool:
    """Whether this process has created the file, which names it; False when it was there."""
    claim = json.dumps(asdict(Claim(myself(), process_namespace()))).encode()
    with translate_os_errors(path, "Writing"):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            return False
        try:
            os.write(descriptor, claim)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return True


def _claim_in(path: Path) -> Claim | None:
    """The claim in the file; None when it is not there, or only being written."""
    with translate_os_errors(path, "Reading"):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
    try:
        content = json.loads(data)
        return Claim(Holder(**content["holder"]), str(content["processes"]))
    except (ValueError, TypeError, KeyError):
        return None


def _held_message(what: str, path: Path, holder: Holder | None) -> str:
    who = str(holder) if holder is not None else f"another process (see {path})"
    return f"{what} is being written by {who}. Wait until it is done, or stop it; two writers would undo each other."


def is_gone(holder: Holder) -> bool:
    """Whether the holder is certainly dead: this host has booted since, or its process is not the same any more."""
    if holder.host != socket.gethostname():
        return False
    return holder.boot != _boot_id() or holder.process_start != _process_start(holder.pid)


def process_namespace() -> str:
    """A name for the set of process ids that this process sees; "" where the system does not say."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no path, a name
    except OSError:
        return ""


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
