"""The sparse vectors that the simulated model returns: a pure function of model and text.

A test that wants to know whether a row carries the sparse vector of its own content calls `expected_sparse`.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, replace

import orjson

from millrace.tasks.records import sparse_bytes
from tests.simulator.model.lexical import terms, weight

INDICES = 250_000
"""Indices are below this. Not ids of the Qwen vocabulary, as on the real server."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a sparse vector as it is sent."""

    index: int
    value: float
    token: str


def sparse_entries(model: str, text: str) -> list[Entry]:
    """One entry a term of the text, each index once, in no order that means anything.

    Values are in (0, 1]. A text without a word has none.
    """
    by_index: dict[int, Entry] = {}
    for term, many in terms(text).items():
        index = int.from_bytes(hashlib.sha256(f"{model}\0{term}".encode()).digest()[:8]) % INDICES
        value = round(min(1.0, weight(term) * (1 + 0.2 * math.log(many))), 4)
        found = by_index.get(index)
        if found is None or found.value < value:
            by_index[index] = Entry(index, value, term)
    return sorted(by_index.values(), key=lambda entry: hashlib.sha256(entry.token.encode()).digest())


def expected_sparse(model: str, text: str) -> bytes:
    """The model's sparse vector for `text`, whatever its text_type and instruct, as `records.sparse_bytes` makes it."""
    entries = sparse_entries(model, text)
    return sparse_bytes([entry.index for entry in entries], [entry.value for entry in entries])


def rendered_sparse(entries: list[Entry], *, doubled: bool = False) -> bytes:
    """`entries` as JSON; `doubled` repeats every third index with a lesser value, which changes no maximum."""
    if doubled:
        entries = entries + [replace(entry, value=round(entry.value / 2, 4)) for entry in entries[::3]]
    return orjson.dumps([asdict(entry) for entry in entries])
