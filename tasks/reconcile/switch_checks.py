"""Checks of a collection before searches are sent to it: whether its rows are there, and whether they are found.

Joins `lake` (what should be there, and the vectors to ask with) and `milvus`. Nothing is embedded: the questions are
texts of the collection itself, each by the vector that the lake has of it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.lake import Lake, PartName
from millrace.tasks.milvus import Collection, Hit
from millrace.tasks.reconcile.compare import IdInventory
from millrace.tasks.reconcile.expected_rows import ExpectedRows, RowsWithVectors, Vectors, VectorStores, expected_rows
from millrace.tasks.records import CHUNK_SCHEMA

TOP_K = 10
"""Rows that a question asks for."""

_FOUND_SHARE = 0.99
"""Of the sampled rows, so many must find themselves: an index that guesses at neighbours may miss one in a hundred."""

Ask = Callable[[Vectors], list[Hit]]
"""The best `TOP_K` rows for a vector: float32, shape (dimensions,)."""

_NO_PART = PartName(0, 0)


@dataclass(slots=True)
class SwitchChecks:
    """What was found. `rows` should be there by the lake; `alike` is the share of answers that both give."""

    rows: int = 0
    missing: int = 0
    doubled: int = 0
    orphans: int = 0
    damaged: int = 0
    sampled: int = 0
    found: int = 0
    asked_both: int = 0
    unanswered: int = 0
    alike: float | None = None

    def problems(self) -> list[str]:
        """Why searches should not be sent to it, one sentence each; empty when they may."""
        problems = []
        if self.damaged:
            problems.append(
                f"the rows of {self.damaged:,} documents are not known, since parts of the lake are damaged"
            )
        if self.missing:
            problems.append(f"{self.missing:,} of {self.rows:,} rows are missing")
        if self.doubled:
            problems.append(f"{self.doubled:,} rows are there more than once")
        if self.orphans:
            problems.append(f"{self.orphans:,} rows are owned by no document of the lake")
        if self.found < _FOUND_SHARE * self.sampled:
            problems.append(
                f"{self.sampled - self.found:,} of {self.sampled:,} sampled rows are not found by their own vector"
            )
        if not self.sampled:
            problems.append("no row could be sampled")
        if self.unanswered:
            problems.append(f"{self.unanswered:,} of {self.asked_both:,} questions got no answer")
        return problems


def count_rows(checks: SwitchChecks, collection: Collection, lake: Lake) -> None:
    """Note which rows are there, by id."""
    inventory = IdInventory(collection)
    for expected in expected_rows(lake):
        checks.damaged += len(expected.sources)
        checks.rows += expected.rows.num_rows
        inventory.own(expected.rows["id"].to_pylist())
    if not collection.owners() - {lake.identity}:  # else they may be rows of another lake that fills it too
        checks.orphans = inventory.count_orphans()
    checks.missing = checks.rows - inventory.count_owned()
    checks.doubled = len(inventory.doubled())


def find_rows(checks: SwitchChecks, ask: Ask, sample: pa.Table, stores: VectorStores) -> None:
    """Note which of the rows of `sample` (`SAMPLE_SCHEMA`) are found by their own vectors."""
    for own in _by_space(sample, stores):
        for position in np.flatnonzero(own.has_vector).tolist():
            checks.sampled += 1
            hits = ask(own.vectors[position])
            row_id, content = own.rows["id"][position].as_py(), own.rows["content"][position].as_py()
            # Rows with one text have one vector, and any of them may come first.
            if any(hit.id == row_id for hit in hits) or (hits and hits[0].content == content):
                checks.found += 1


def compare_answers(
    checks: SwitchChecks, ask: Ask, ask_other: Ask, sample: pa.Table, stores: VectorStores, *, other_space: str
) -> None:
    """Ask two collections for the texts of `sample`, each by its own space's vector, and note what they answer.

    Texts without a vector in the other space are ignored.
    """
    shares: list[float] = []
    for own in _by_space(sample, stores):
        other = stores.read(_rows_in(other_space, own.rows))
        for position in np.flatnonzero(own.has_vector & other.has_vector).tolist():
            mine = {hit.content for hit in ask(own.vectors[position])}
            theirs = {hit.content for hit in ask_other(other.vectors[position])}
            checks.asked_both += 1
            if theirs and not mine:
                checks.unanswered += 1
            shares.append(len(mine & theirs) / max(len(mine), len(theirs), 1))
    checks.alike = round(float(np.mean(shares)), 3) if shares else None


def _by_space(sample: pa.Table, stores: VectorStores) -> Iterator[RowsWithVectors]:
    """The sampled rows of each space with their vectors."""
    for space in sorted(set(sample["space"].to_pylist())):
        yield stores.read(_rows_in(space, sample.filter(pc.equal(sample["space"], space))))


def _rows_in(space: str, rows: pa.Table) -> ExpectedRows:
    return ExpectedRows(_NO_PART, space, rows.select(CHUNK_SCHEMA.names))
