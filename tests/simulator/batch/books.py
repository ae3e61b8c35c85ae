"""What the books count by pool, and of files and jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tests.simulator.batch.job import Job
from tests.simulator.batch.shelf import Shelf

Pool = Literal["realtime", "batch"]
"""By which road texts were bought: in answers at once, or by Batch files at half the price."""


@dataclass(slots=True)
class PoolCounts:
    """What one pool sold, embeddings only."""

    billed: int = 0
    """Answers, or lines of Batch files."""
    texts_bought: int = 0
    texts_spoiled: int = 0
    tokens: int = 0
    """Billed: of sound answers and of spoiled ones."""
    yuan: float = 0.0
    """At the price of the pool; 0 for models that have no price here."""

    def add(self, texts: int, tokens: int, yuan: float, *, sound: bool) -> None:
        """One answer or line of so many texts."""
        self.billed += 1
        self.tokens += tokens
        self.yuan += yuan
        if sound:
            self.texts_bought += texts
        else:
            self.texts_spoiled += texts


@dataclass(slots=True)
class BatchCounts:
    """What happened to files and jobs since the start or the last reset."""

    jobs_by_input_file: Counter[str] = field(default_factory=Counter)
    """Jobs created, by the file they were created from: more than 1 is a job that was started twice."""
    lines_bought: Counter[str] = field(default_factory=Counter)
    """Lines billed, by custom_id."""
    refused: Counter[str] = field(default_factory=Counter)
    """Requests refused with an error of files and batches, as `404 POST /v1/batches`; the others are in `refused`."""
    peak_open_jobs: int = 0

    @property
    def lines_bought_again(self) -> int:
        """Purchases beyond the first of each custom_id."""
        return sum(many - 1 for many in self.lines_bought.values())

    def as_json(self, jobs: Iterable[Job], shelf: Shelf, *, lines: bool) -> dict[str, object]:
        """These counts, and those of what is there; with `lines` also how often each custom_id was bought."""
        inputs, results = shelf.inputs, shelf.results
        found: dict[str, object] = {
            "jobs": Counter(job.status for job in jobs),
            "jobs_by_input_file": dict(self.jobs_by_input_file),
            "peak_open_jobs": self.peak_open_jobs,
            "lines_bought": self.lines_bought.total(),
            "lines_bought_again": self.lines_bought_again,
            "files_stored": len(inputs) + len(results),
            "bytes_stored": sum(file.size_bytes for file in inputs),
            "uploads_never_referenced": [file.id for file in inputs if not self.jobs_by_input_file[file.id]],
            "results_never_downloaded": [file.id for file in results if not file.downloads],
            "refused": dict(self.refused),
        }
        if lines:
            found["lines"] = dict(self.lines_bought)
        return found
