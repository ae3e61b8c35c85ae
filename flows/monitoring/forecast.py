"""How many chunks a run will have made in the end, before all of its files are read.

A file makes as many chunks as its size and format let expect, times what that was off by in the files read so far.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow.compute as pc

from millrace.tasks.records import SourceFile
from millrace.tasks.stages.job_files import expected_chunks
from millrace.tasks.stages.part_writer import Part


@dataclass(slots=True)
class ChunkForecast:
    """What was expected of all files and of those that are read, and what these have made."""

    _expected: float = 0.0
    _expected_of_read: float = 0.0
    _made: int = 0
    _of_file_in_hand: dict[int, int] = field(default_factory=dict)  # by job: chunks of documents that have ended

    def files_found(self, files: Iterable[SourceFile]) -> None:
        """These files are to be read."""
        self._expected += sum(map(expected_chunks, files))

    def part_cut(self, part: Part, files: Sequence[SourceFile]) -> None:
        """A part was cut, and `files` were read to their end with it."""
        ended = self._of_file_in_hand.pop(part.job, 0) + (pc.sum(part.documents["chunks"]).as_py() or 0)
        if files:
            self._made += ended
            self._expected_of_read += sum(map(expected_chunks, files))
        else:
            self._of_file_in_hand[part.job] = ended

    def chunks(self, cut: int) -> float | None:
        """The chunks of all files, of which `cut` are known; None while nothing can be said."""
        if not self._made:
            return None
        return max(cut, self._made * self._expected / self._expected_of_read)
