"""The numbers of jobs: given out once, reserved on disk before that, and which may have left uncommitted rows."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake.storage.atomic import Checkpoint, Damage
from millrace.tasks.lake.storage.json_file import read_json, write_json
from millrace.tasks.lake.storage.location import LakePath

_RESERVED_AT_A_TIME = 100


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Job numbers from `next` on are unused; those below `settled` left no uncommitted row."""

    next: int
    settled: int


class JobNumbers:
    """The job numbers of one collection, in the file `path`.

    `first_after_parts` gives the first number above those of the parts that are there.
    """

    def __init__(self, path: LakePath, *, first_after_parts: Callable[[], int], checkpoint: Checkpoint) -> None:
        self._path = path
        self._first_after_parts = first_after_parts
        self._checkpoint = checkpoint
        self._next = 0
        self._reserved = 0

    def reserve(self, count: int) -> int:
        """The first of `count` unused numbers in a row; with 0, what it would be. Raises LakeError."""
        if self._next == 0:
            self._next = max(self._read().next, self._first_after_parts())
        first, self._next = self._next, self._next + count
        if count and self._next > self._reserved:
            self._reserve_below(self._next + _RESERVED_AT_A_TIME - 1)
        return first

    def release(self) -> None:
        """Let others have what was reserved and not used."""
        if self._reserved > self._next:
            with suppress(LakeError):  # numbers that stay reserved are merely not used
                self._reserve_below(self._next)

    def first_uncommitted(self) -> int:
        """The first job that may have left uncommitted rows. Raises LakeUnreachable."""
        return self._read().settled

    def mark_committed(self) -> None:
        """Record that no job so far has left an uncommitted row. Raises LakeError."""
        first_unused = self.reserve(0)
        self._write(_Numbers(next=max(first_unused, self._reserved), settled=first_unused))
        self._checkpoint("settled")

    def damaged(self) -> list[Damage]:
        """The file, should it be damaged, and what follows from it."""
        try:
            self._parsed()
        except FileNotFoundError:
            return []
        except LakeError as error:
            consequence = "Every job counts as uncommitted until a run has ended; the next ingest writes it anew."
            return [Damage(self._path, f"{error} {consequence}")]
        return []

    def _reserve_below(self, end: int) -> None:
        self._write(_Numbers(next=end, settled=self.first_uncommitted()))
        self._reserved = end
        self._checkpoint("claimed")

    def _read(self) -> _Numbers:
        """What the file says; when it is not there or damaged, every row may be uncommitted. Raises LakeUnreachable."""
        try:
            return self._parsed()
        except LakeUnreachable:
            raise
        except (FileNotFoundError, LakeError):
            return _Numbers(next=1, settled=1)

    def _parsed(self) -> _Numbers:
        content = read_json(self._path)
        try:
            return _Numbers(next=int(content["next"]), settled=int(content["settled"]))
        except (ValueError, KeyError, TypeError) as error:
            raise LakeError(f"{self._path} is damaged (it does not hold two job numbers).") from error

    def _write(self, numbers: _Numbers) -> None:
        write_json(self._path, asdict(numbers))
