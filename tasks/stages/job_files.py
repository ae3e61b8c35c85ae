"""The files that a run is to read, grouped into jobs of about a chunk part; in memory is one job.

They are written to a temporary file as the scan finds them, since all must be known before the first is read.
"""

import os
import pickle
import tempfile
from collections.abc import Iterable, Iterator

from millrace.tasks.records import SourceFile

_JOB_CHUNKS = 1_500  # as many as a part may have at the end of a job; twice as many make two, and half as many one
_FIRST_JOB_CHUNKS = 100  # so that the first request goes out soon after the start
# As documentation was cut at 512 tokens: 72 PDF files, 1,700 HTML, 2,500 Markdown, reStructuredText and plain text.
_BYTES_PER_CHUNK = {".pdf": 3_000, ".html": 3_300, ".htm": 3_300, ".xhtml": 3_300, ".parquet": 600}
_BYTES_PER_CHUNK_OF_TEXT = 850

_IN_MEMORY_BYTES = 1_000_000


def expected_chunks(file: SourceFile) -> float:
    """About how many chunks the file makes, by its size and format; at least 1."""
    suffix = os.path.splitext(file.path)[1].lower()  # noqa: PTH122 - of each of perhaps a million files
    return max(1.0, file.size_bytes / _BYTES_PER_CHUNK.get(suffix, _BYTES_PER_CHUNK_OF_TEXT))


class JobFiles(Iterable[tuple[SourceFile, ...]]):
    """Files in listing order, grouped so that a job makes about a part; the first job is small.

    Iterating gives the jobs, from the first one each time; one thread at a time. No file is added after that.
    """

    def __init__(self, files: Iterable[SourceFile] = ()) -> None:
        self._spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - as long as this lives
        self._end = 0
        self._jobs = 0
        self._job: list[SourceFile] = []
        self._chunks = 0.0
        self.files = 0
        """How many files there are."""
        for file in files:
            self.add(file)

    def add(self, file: SourceFile) -> None:
        """Add one file, the next in order."""
        self.files += 1
        self._job.append(file)
        self._chunks += expected_chunks(file)
        if self._chunks >= (_JOB_CHUNKS if self._jobs else _FIRST_JOB_CHUNKS):
            self._jobs += 1
            pickle.dump(tuple(self._job), self._spool, pickle.HIGHEST_PROTOCOL)
            self._end = self._spool.tell()
            self._job, self._chunks = [], 0.0

    def __len__(self) -> int:
        """How many jobs there are."""
        return self._jobs + bool(self._job)

    def __iter__(self) -> Iterator[tuple[SourceFile, ...]]:
        """The jobs."""
        at = 0
        while at < self._end:
            self._spool.seek(at)
            job = pickle.load(self._spool)  # noqa: S301 - written above
            at = self._spool.tell()
            yield job
        if self._job:
            yield tuple(self._job)

    def each_file(self) -> Iterator[SourceFile]:
        """The files one by one."""
        return (file for job in self for file in job)
