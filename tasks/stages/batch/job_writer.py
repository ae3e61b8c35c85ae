"""Texts into jobs: lines as full as a request may be, jobs of a bounded number of lines and bytes."""

from collections.abc import Callable, Sequence

import pyarrow as pa

from millrace.tasks.embedding import Text, pack_requests
from millrace.tasks.embedding.batch.line import MAX_LINE_BYTES
from millrace.tasks.lake import BATCH_TEXTS_SCHEMA, BatchJob, BatchJobs

MAX_LINES = 2_000
"""Of a job: its results have 450 MB as numbers, and what is lost by an end before its time stays small."""

_MAX_JOB_BYTES = 50 << 20
_JSON_GROWTH = 2
"""A text has at most so many times its own bytes as JSON, but for control characters, of which a text has none."""


class JobWriter:
    """Collects texts and writes them as jobs; `new_job` makes the record of one of so many texts, lines and tokens.

    The first job has `first_lines` lines: it tells soon, and for little, whether the account may use Batch at all.
    """

    def __init__(
        self,
        jobs: BatchJobs,
        new_job: Callable[[int, int, int], BatchJob],
        *,
        texts_per_line: int,
        tokens_per_line: int,
        first_lines: int = MAX_LINES,
    ) -> None:
        self._jobs = jobs
        self._new_job = new_job
        self._texts_per_line = texts_per_line
        self._tokens_per_line = tokens_per_line
        self._max_lines = first_lines
        self._waiting: list[Text] = []
        self._lines: list[list[Text]] = []
        self._bytes = 0
        self.written: list[BatchJob] = []

    def add(self, texts: Sequence[Text]) -> None:
        """Take texts, each of which no job carries yet; full jobs are on disk afterwards. Raises LakeError."""
        self._waiting += texts
        *full, last = pack_requests(
            [text.tokens for text in self._waiting],
            texts_per_request=self._texts_per_line,
            tokens_per_request=self._tokens_per_line,
        ) or [range(0)]
        for line in full:
            self._add_line(self._waiting[line.start : line.stop])
        self._waiting = self._waiting[last.start : last.stop]

    def close(self) -> None:
        """Write what is left as the last job. Raises LakeError."""
        if self._waiting:
            self._add_line(self._waiting)
            self._waiting = []
        self._write()

    def _add_line(self, line: list[Text]) -> None:
        size = sum(_JSON_GROWTH * len(text.text.encode()) for text in line)
        if size > MAX_LINE_BYTES and len(line) > 1:
            self._add_line(line[: len(line) // 2])
            self._add_line(line[len(line) // 2 :])
            return
        if self._lines and self._bytes + size > _MAX_JOB_BYTES:
            self._write()
        self._lines.append(line)
        self._bytes += size
        if len(self._lines) >= self._max_lines:
            self._write()

    def _write(self) -> None:
        if not self._lines:
            return
        rows = [(number, text) for number, line in enumerate(self._lines) for text in line]
        table = pa.table(
            {
                "line": [number for number, _ in rows],
                "text_key": [text.key for _, text in rows],
                "content": [text.text for _, text in rows],
                "tokens": [text.tokens for _, text in rows],
                "source": [text.source for _, text in rows],
            },
            schema=BATCH_TEXTS_SCHEMA,
        )
        job = self._new_job(len(rows), len(self._lines), sum(text.tokens for _, text in rows))
        self._jobs.add(job, table)
        self.written.append(job)
        self._lines, self._bytes, self._max_lines = [], 0, MAX_LINES
