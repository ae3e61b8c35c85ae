"""The numbers of jobs: given once, claimed on disk before that, and which of them may have left rows in doubt."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.storage.atomic import Checkpoint, translate_os_errors, write_bytes_atomically
from millrace.tasks.lake.storage.location import LakePath

_CLAIMED_AT_A_TIME = 100


@dataclass(frozen=True, slots=True)
class _Kept:
    """Job numbers from `next` on have been given to nobody; those below `settled` left no row in doubt."""

    next: int
    settled: int


class JobNumbers:
    """The job numbers of one collection, in the file `path`. `least` tells what is surely unused by the parts there."""

    def __init__(self, path: LakePath, *, least: Callable[[], int], checkpoint: Checkpoint) -> None:
        self._path = path
        self._least = least
        self._checkpoint = checkpoint
        self._next = 0
        self._claimed = 0

    def take(self, count: int) -> int:
        """The first of `count` numbers in a row that nobody has had; with 0, what it would be. Raises LakeError."""
        if self._next == 0:
            self._next = max(self._read().next, self._least())
        first, self._next = self._next, self._next + count
        if count and self._next > self._claimed:
            self._claim(self._next + _CLAIMED_AT_A_TIME - 1)
        return first

    def unsettled(self) -> int:
        """The first job that may have left rows in doubt."""
        return self._read().settled

    def settle(self) -> None:
        """Record that no job so far has left a row in doubt. Raises LakeError."""
        first_unused = self.take(0)
        self._write(_Kept(next=max(first_unused, self._claimed), settled=first_unused))
        self._checkpoint("settled")

    def give_back(self) -> None:
        """Let others have what was claimed and not used."""
        if self._claimed > self._next:
            with suppress(LakeError):  # numbers that stay claimed are merely not used
                self._claim(self._next)

    def _claim(self, end: int) -> None:
        """Claim the numbers below `end`."""
        self._write(_Kept(next=end, settled=self.unsettled()))
        self._claimed = end
        self._checkpoint("claimed")

    def _read(self) -> _Kept:
        """What is known; nothing when the file is not there or damaged, and then all rows are in doubt."""
        try:
            with translate_os_errors(self._path, "Reading"):
                found = json.loads(self._path.read_bytes()) if self._path.exists() else {}
            return _Kept(next=int(found["next"]), settled=int(found["settled"]))
        except (ValueError, KeyError, TypeError):
            return _Kept(next=1, settled=1)

    def _write(self, kept: _Kept) -> None:
        write_bytes_atomically(json.dumps(asdict(kept)).encode(), self._path)
