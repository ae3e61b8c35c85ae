"""Chunk parts of which little is alive, brought together in new ones.

When a document changes, its rows move to a new part, and in the old one they are dead until all its documents have
moved. A run with few changes makes a part of few rows. Both leave parts that hold little of what is in the collection;
they are found by the manifest alone, which counts the rows of each document, so nothing is opened to find them.

The documents' rows are written to parts of a job of their own, then the manifest names those, and no longer the old
ones. Rows and ids stay as they are, so the collection is not concerned.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.collection.chunk_parts import ChunkParts, PartName
from millrace.tasks.records import MANIFEST_SCHEMA

MIN_LIGHT_PARTS = 8
"""So many light parts are worth the writing; fewer are left for a later run."""


@dataclass(frozen=True, slots=True)
class LightPart:
    """A part with few live rows, and the manifest rows of the documents that they belong to."""

    name: PartName
    documents: pa.Table


def light_parts(ranges: pa.Table, *, part_rows: int) -> list[PartName]:
    """The parts with less than half of `part_rows` live rows, by job and number; `ranges` as of `dangling`.

    Those that hold a piece of a document longer than a part are none: that document fills the parts before.
    """
    live = ranges.filter(pc.greater(ranges["chunks"], 0))
    if not live.num_rows:
        return []
    order = np.lexsort((live["part_first"].to_numpy(), live["job"].to_numpy()))
    job, first, last, counts = (live[name].to_numpy()[order] for name in ("job", "part_first", "part_last", "chunks"))
    starts = np.flatnonzero(np.r_[True, (job[1:] != job[:-1]) | (first[1:] != first[:-1])])
    rows = np.add.reduceat(counts, starts)
    whole = np.logical_and.reduceat(first == last, starts)
    light = starts[whole & (rows < part_rows // 2)]
    long = {(job[at], number) for at in np.flatnonzero(first != last) for number in range(first[at], last[at] + 1)}
    names = (PartName(int(job[start]), int(first[start])) for start in light)
    return [name for name in names if name not in long]


def documents_of(parts: Sequence[PartName], documents: Iterable[pa.Table]) -> list[LightPart]:
    """The `parts`, in order, with their `documents`: rows of the manifest, of which those of other parts are left."""
    keys = np.array([_key(*part) for part in parts], np.int64)
    some = [MANIFEST_SCHEMA.empty_table()]
    for rows in documents:
        here = np.isin(_key(rows["job"].to_numpy().astype(np.int64), rows["part_first"].to_numpy()), keys)
        some.append(rows.filter(pc.and_(pa.array(here), pc.greater(rows["chunks"], 0))))
    found = pa.concat_tables(some).sort_by([("job", "ascending"), ("part_first", "ascending")])
    of = _key(found["job"].to_numpy().astype(np.int64), found["part_first"].to_numpy())
    bounds = zip(np.searchsorted(of, keys).tolist(), np.searchsorted(of, keys, "right").tolist(), strict=True)
    return [LightPart(name, found.slice(first, end - first)) for name, (first, end) in zip(parts, bounds, strict=True)]


def _key(job: Any, number: Any) -> Any:
    """One number for a part, or an array for several, in the order of parts."""
    return (job << 32) + number


def gather_light_parts(chunks: ChunkParts, light: list[LightPart], *, job: int, part_rows: int) -> pa.Table:
    """The manifest rows of the documents of `light`, their rows now in parts of `job` of up to `part_rows` rows.

    Light parts that are damaged, or hold something else than the manifest says, are passed over. In memory is one part.

    Raises:
        LakeError: The disk is full, read-only or failing.
    """
    moved = [MANIFEST_SCHEMA.empty_table()]
    for number, group in enumerate(_groups(chunks, light, part_rows)):
        chunks.write(job, number, pa.concat_tables(rows for _, rows in group))
        documents = pa.concat_tables(part.documents for part, _ in group)
        moved.append(_relocated(documents, {"job": job, "part_first": number, "part_last": number}))
    return pa.concat_tables(moved)


def _groups(chunks: ChunkParts, light: list[LightPart], part_rows: int) -> Iterator[list[tuple[LightPart, pa.Table]]]:
    """Light parts with their live rows, as many together as fit one part."""
    group: list[tuple[LightPart, pa.Table]] = []
    count = 0
    for part in light:
        rows = _live_rows(chunks, part)
        if rows is None:
            continue
        if count + rows.num_rows > part_rows:
            yield group
            group, count = [], 0
        group.append((part, rows))
        count += rows.num_rows
    if group:
        yield group


def _live_rows(chunks: ChunkParts, part: LightPart) -> pa.Table | None:
    """The rows of the part's documents; None when they are not those that the manifest counts."""
    sources = part.documents["source"].to_pylist()
    try:
        rows = chunks.read(part.name.job, part.name.number, part.name.number, sources=sources)
    except LakeError:
        return None  # `verify` names it
    found = {one["values"]: one["counts"] for one in pc.value_counts(rows["source"]).to_pylist()}
    counted = dict(zip(sources, part.documents["chunks"].to_pylist(), strict=True))
    return rows if found == counted else None


def _relocated(documents: pa.Table, location: dict[str, int]) -> pa.Table:
    for name, value in location.items():
        at = MANIFEST_SCHEMA.get_field_index(name)
        field = MANIFEST_SCHEMA.field(name)
        documents = documents.set_column(at, field, pa.array([value] * documents.num_rows, field.type))
    return documents
