"""One writer at a time among objects: a lease made of claims, each an object of its own that only its owner writes.

pyarrow's client cannot write on condition, so nobody overwrites anybody: a process that wants to write puts a claim
under a name that nobody else has, then lists all claims. Alone, it holds the lease; with others, it takes its claim
back. A listing shows what was put before it began, so of two that both put a claim at least the later one sees the
other, and never do both hold. The price is that two that come in the same second may both withdraw; they try again
after random pauses.

A holder renews its claim. One that was not renewed for `LAPSES_S`, by the clock of the store alone, is dead and may be
deleted. A holder that could not renew for `STOPS_S` begins no writing and no deleting any more; what it had begun has
the rest of the time to arrive. A claim of this machine whose process is gone is dead at once.
"""

import json
import random
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from millrace.tasks.errors import LakeError, LeaseHeld
from millrace.tasks.lake.storage.lease import (
    Claim,
    Holder,
    Lease,
    acquire_lease,
    living_holder,
    myself,
    process_namespace,
)
from millrace.tasks.lake.storage.location import LakePath
from millrace.tasks.lake.storage.object_path import ObjectPath

RENEWED_EVERY_S = 15.0
STOPS_S = 45.0
LAPSES_S = 90.0
_TRIES = 5
_PAUSE_S = (0.2, 2.0)


@dataclass(frozen=True, slots=True)
class _Claim(Claim):
    """A claim among objects; `settled` once its holder has the lease."""

    settled: bool

    def spelled(self) -> bytes:
        # Settled or not, it has the same length, so that who reads it meanwhile gets the one or the other.
        return json.dumps(asdict(self) | {"settled": int(self.settled)}).encode()


class ObjectLease:
    """A lease that this process holds until `release`, or until it cannot renew it. Use `claim` to get one."""

    def __init__(self, path: ObjectPath, mine: _Claim, renewed_at: float) -> None:
        self.path = path
        self._mine = mine
        self._renewed_at = renewed_at
        self._lost = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lake-lease", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Raise LakeError when somebody else may have the lease by now."""
        if not self._lost and _now_s() - self._renewed_at > STOPS_S:
            self._lost = f"it could not be renewed for more than {STOPS_S:.0f} s"
        if self._lost:
            raise LakeError(
                f"The lease {self.path} was lost: {self._lost}. This run writes nothing more, since another may have"
                " begun. Check the network to the store, then run the same command again; it goes on from here."
            )

    def renew(self) -> None:
        """Put the claim again, if it is still there. Raises LakeError when it cannot be reached."""
        begun = _now_s()
        self.require()
        if not self.path.exists():
            self._lost = "it lapsed, and was taken over"
            return
        self.path.write(lambda sink: _write(sink, self._mine), _nothing)
        self._renewed_at = begun

    def release(self) -> None:
        """Let others have it. Safe to call twice."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        with suppress(LakeError):  # a claim that stays lapses
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_EVERY_S) and not self._lost:
            try:
                self.renew()
            except LakeError:
                continue  # `require` tells when it has been too long


def lease_at(path: LakePath, what: str) -> Lease | ObjectLease:
    """The lease at `path`, on a disk or among objects; see `acquire_lease` and `claim`. Raises LeaseHeld, LakeError."""
    return claim(path, what) if isinstance(path, ObjectPath) else acquire_lease(path, what)


def holder_at(path: LakePath) -> Holder | None:
    """Who has the lease at `path`, None when it is free; looks only. Raises LakeError.

    Among objects a claim counts that was renewed lately, by this machine's clock beside that of the store.
    """
    if not isinstance(path, ObjectPath):
        return living_holder(path)
    for other in path.iterdir():
        found = _read(other) if other.changed is not None else None
        if found is not None and not found.is_gone() and not _has_lapsed(other.changed, datetime.now(UTC)):
            return found.holder
    return None


def claim(folder: ObjectPath, what: str) -> ObjectLease:
    """The lease whose claims are in `folder`; `what` names the guarded thing in messages ("the lake at s3://...").

    Raises:
        LeaseHeld: Another living process has it, here or on another machine; the message says who and since when.
        LakeError: The store refuses or cannot be reached.
    """
    for tries_left in reversed(range(_TRIES)):
        path = folder / f"{secrets.token_hex(8)}.json"
        mine = _Claim(myself(), process_namespace(), settled=False)
        begun = _now_s()
        path.write(lambda sink, mine=mine: _write(sink, mine), _nothing)  # type: ignore[misc]
        rival = _rival(path)
        if rival is None:
            lease = ObjectLease(path, _Claim(mine.holder, mine.processes, settled=True), begun)
            lease.renew()
            return lease
        path.unlink(missing_ok=True)
        if rival.settled or not tries_left:
            raise LeaseHeld(
                f"{what} is being written by {rival.holder}. Wait until it is done, or stop it; two writers would undo"
                f" each other. Should its machine be gone, the lease is free {LAPSES_S:.0f} s after its last sign of"
                " life."
            )
        time.sleep(random.uniform(*_PAUSE_S))  # noqa: S311 - to part two who came together
    raise AssertionError("the last try raises or returns")


def _rival(path: ObjectPath) -> _Claim | None:
    """A living claim beside that at `path`; dead ones are deleted."""
    claims = {other.name: other for other in path.parent.iterdir() if other.changed is not None}
    if path.name not in claims:
        raise LakeError(
            f"{path} was written and is not in the listing of {path.parent}: this storage does not show what was just"
            " written, and so cannot keep two writers apart. Use one that does, as S3 itself."
        )
    now = claims.pop(path.name).changed
    assert now is not None
    for other in claims.values():
        found = _read(other)
        if found is None:
            continue  # withdrawn since it was listed
        if found.is_gone() or _has_lapsed(other.changed, now):
            other.unlink(missing_ok=True)
        else:
            return found
    return None


def _has_lapsed(changed: datetime | None, now: datetime) -> bool:
    return changed is not None and now - changed > timedelta(seconds=LAPSES_S)


def _read(path: ObjectPath) -> _Claim | None:
    try:
        found = json.loads(path.read_bytes())
        return _Claim(Holder(**found["holder"]), str(found["processes"]), settled=bool(found["settled"]))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise LakeError(f"{path} is no claim of a writer. Look at who put it there, and delete it.") from error


def _write(sink: object, claim_: _Claim) -> None:
    sink.write(claim_.spelled())  # type: ignore[attr-defined]


def _nothing() -> None:
    pass


def _now_s() -> float:
    """Seconds that go on while the machine sleeps, where the system has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)
