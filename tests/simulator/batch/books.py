"""What the books count by pool, and of files and jobs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

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
