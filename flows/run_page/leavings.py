"""What a run left in the lake: its rejects that are outstanding, and the sizes of its chunks. Bounded."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import LakeError
from tasks.lake import Lake, PartName

LISTED = 200
_EXAMPLES = 3
_PARTS_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class RejectGroup:
    """The rejects of one reason: how many, in how many documents, what one of them says, and what to do."""

    reason: str
    count: int
    documents: int
    message: str
    remedy: str
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunRejects:
    """The rejects of a run that are outstanding: by reason, most first, and the first of them singly.

    `documents` have some; `earlier` are those that other runs left.
    """

    groups: tuple[RejectGroup, ...] = ()
    listed: tuple[Mapping[str, str], ...] = ()
    total: int = 0
    documents: int = 0
    earlier: int = 0


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """Tokens of each chunk in the `looked_at` of `parts` parts that hold what the run brought in."""

    tokens: npt.NDArray[np.int64]
    looked_at: int
    parts: int


def rejects_of(lake: Lake, run: str) -> RunRejects:
    """The rejects of the run; none when the list cannot be read, and `millrace status` tells of that."""
    try:
        outstanding = lake.rejects.outstanding()
    except LakeError:
        return RunRejects()
    mine = outstanding.filter(pc.equal(outstanding["run"], run))
    order = [("reason", "ascending"), ("source", "ascending"), ("item", "ascending")]
    mine = mine.sort_by(order)
    counted = mine.group_by("reason").aggregate([("source", "count"), ("source", "count_distinct")]).to_pylist()
    groups = [
        _group(row["reason"], row["source_count"], row["source_count_distinct"], mine)
        for row in sorted(counted, key=lambda row: (-row["source_count"], row["reason"]))
    ]
    return RunRejects(
        groups=tuple(groups),
        listed=tuple(mine.slice(0, LISTED).to_pylist()),
        total=mine.num_rows,
        documents=pc.count_distinct(mine["source"]).as_py(),
        earlier=outstanding.num_rows - mine.num_rows,
    )


def _group(reason: str, count: int, documents: int, rejects: pa.Table) -> RejectGroup:
    some = rejects.filter(pc.equal(rejects["reason"], reason)).slice(0, _EXAMPLES).to_pylist()
    examples = tuple(", ".join(filter(None, (row["source"], short_item(row["item"])))) for row in some)
    return RejectGroup(reason, count, documents, some[0]["message"], some[0]["remedy"], examples)


def short_item(item: str) -> str:
    """The item with an id of 64 hex digits cut to its beginning, by which it can still be found."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", item)


def chunk_sizes_of(lake: Lake, run: str) -> ChunkSizes:
    """The sizes of chunks that the run brought in and that still are."""
    try:
        manifest = lake.manifest.read()
    except LakeError:
        return ChunkSizes(np.zeros(0, np.int64), 0, 0)
    mine = manifest.filter(pc.and_(pc.equal(manifest["run"], run), pc.greater(manifest["chunks"], 0)))
    ranges = mine.select(["job", "part_first", "part_last"]).group_by(["job", "part_first", "part_last"]).aggregate([])
    names = sorted(
        {
            PartName(row["job"], number)
            for row in ranges.to_pylist()
            for number in range(row["part_first"], row["part_last"] + 1)
        }
    )
    chosen = _evenly(names, _PARTS_LOOKED_AT)
    found: list[npt.NDArray[np.int64]] = []
    for part in chosen:
        try:
            tokens = lake.chunks.read(part.job, part.number, part.number, columns=["tokens"])["tokens"]
        except LakeError:  # `verify` tells of it
            continue
        found.append(tokens.to_numpy().astype(np.int64))
    return ChunkSizes(np.concatenate([np.zeros(0, np.int64), *found]), len(found), len(names))


def _evenly(names: Sequence[PartName], most: int) -> list[PartName]:
    """All of them, or `most` that are spread evenly."""
    if len(names) <= most:
        return list(names)
    return [names[i * len(names) // most] for i in range(most)]
