"""Chunks drawn from the lake, so that every file counts, however long it is; the same seed draws the same ones.

Joins nothing but the lake: the manifest says how many chunks each document has, and only the parts that hold a chunk
that was drawn are read.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Lake
from millrace.tasks.records import CHUNK_SCHEMA

SAMPLE_SCHEMA = pa.schema([*CHUNK_SCHEMA, pa.field("path", pa.string()), pa.field("space", pa.string())])
"""A chunk's row, the file that it is from, and the name of the space of its vector."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The rows that were drawn (`SAMPLE_SCHEMA`), of `chunks` in all; `problems` names what could not be read."""

    rows: pa.Table
    chunks: int
    problems: tuple[str, ...] = ()


def draw_sample(lake: Lake, manifest: pa.Table, *, size: int, seed: int) -> Sample:
    """About `size` chunks of the documents of `manifest`: at least one a file while there are no more files than that.

    Files have a say by themselves, then by their length. What is drawn from one file does not depend on the others'
    names, so a sample stays much the same while a corpus grows.
    """
    stays = pc.and_(pc.greater(manifest["chunks"], 0), pc.not_equal(manifest["status"], "leaving"))
    live = manifest.filter(stays).sort_by([("path", "ascending"), ("source", "ascending")])
    chunks = live["chunks"].to_numpy().astype(np.int64)
    paths, starts = np.unique(live["path"].to_numpy(zero_copy_only=False).astype(str), return_index=True)
    ends = [*starts.tolist()[1:], live.num_rows]
    sizes = [int(chunks[start:end].sum()) for start, end in zip(starts.tolist(), ends, strict=True)]
    numbers: dict[int, list[int]] = {}
    for file, count in enumerate(_counts(paths.tolist(), sizes, size, seed)):
        if count:
            first = int(starts[file])
            ordinals = sorted(_generator(seed, str(paths[file])).sample(range(sizes[file]), count))
            _by_document(numbers, ordinals, chunks[first : ends[file]], first)
    rows, problems = _read(lake, live, numbers)
    return Sample(rows, int(chunks.sum()), tuple(problems))


def allocated(sizes: Sequence[int], total: int) -> list[int]:
    """How many of `total` each gets: one, then by what is left of its size (largest remainders first), never more.

    There are no more of them than `total`.

    >>> allocated([1, 10, 90], 12)
    [1, 2, 9]
    >>> allocated([2, 3], 100)
    [2, 3]
    """
    if sum(sizes) <= total:
        return list(sizes)
    spare, rest = total - len(sizes), sum(sizes) - len(sizes)
    shares = [(size - 1) * spare / rest for size in sizes]
    counts = [1 + int(share) for share in shares]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (int(shares[i]) - shares[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def _counts(paths: Sequence[str], sizes: Sequence[int], total: int, seed: int) -> list[int]:
    if len(paths) <= total:
        return allocated(sizes, total)
    chosen = set(sorted(range(len(paths)), key=lambda file: _digest(seed, paths[file]))[:total])
    return [int(file in chosen) for file in range(len(paths))]


def _by_document(numbers: dict[int, list[int]], ordinals: Sequence[int], chunks: np.ndarray, first: int) -> None:
    """Note chunk `ordinals` of a file as chunk numbers of its documents; `first` is its first row in the manifest."""
    ends = np.cumsum(chunks)
    for ordinal, document in zip(ordinals, np.searchsorted(ends, ordinals, side="right").tolist(), strict=True):
        numbers.setdefault(first + document, []).append(ordinal - int(ends[document] - chunks[document]))


def _read(lake: Lake, live: pa.Table, numbers: dict[int, list[int]]) -> tuple[pa.Table, list[str]]:
    """The chunks of the documents in the rows of `live`, in the order of jobs and parts."""
    documents = live.take(pa.array(sorted(numbers), pa.int64()))
    wanted = dict(zip(documents["source"].to_pylist(), (numbers[row] for row in sorted(numbers)), strict=True))
    ranges: dict[tuple[int, int, int], list[dict[str, str]]] = defaultdict(list)
    for d in documents.select(["source", "path", "space", "job", "part_first", "part_last"]).to_pylist():
        ranges[d["job"], d["part_first"], d["part_last"]].append(d)
    tables, problems = [SAMPLE_SCHEMA.empty_table()], []
    for (job, first, last), of_range in sorted(ranges.items()):
        try:
            rows = lake.chunks.read(job, first, last, sources=[d["source"] for d in of_range])
        except LakeError as error:
            problems.append(str(error))
            continue
        for document in of_range:
            own = rows.filter(pc.equal(rows["source"], document["source"]))
            there = [number for number in wanted[document["source"]] if number < own.num_rows]
            taken = own.take(pa.array(there, pa.int64()))
            for name in ("path", "space"):
                taken = taken.append_column(SAMPLE_SCHEMA.field(name), pa.array([document[name]] * len(there)))
            tables.append(taken.cast(SAMPLE_SCHEMA))
    return pa.concat_tables(tables), problems


def _digest(seed: int, path: str) -> bytes:
    return hashlib.sha256(f"{seed} {path}".encode()).digest()


def _generator(seed: int, path: str) -> random.Random:
    return random.Random(_digest(seed, path))  # noqa: S311 - no secret is drawn
