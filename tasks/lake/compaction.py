"""Small parts into large ones: 100 million vectors are then some thousand files in a folder, not a hundred thousand."""

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from tasks.lake.batches import Layout
from tasks.lake.parts import read_batches
from tasks.lake.places import Place

MAX_ROWS = 65_536
"""Of a compacted part: 256 MiB at 1,024 dimensions."""

_SMALL = MAX_ROWS // 2


def next_group(rows: Mapping[str, int], *, least: int) -> list[str]:
    """The first parts, in order, that should become one; empty when nothing is worth the writing.

    Args:
        rows: Part name to rows, in order of purchase.
        least: So many small parts in a row are merged though they do not fill a large one.

    >>> next_group({"a": 65_536, "b": 30_000, "c": 30_000, "d": 30_000, "e": 1}, least=8)
    ['b', 'c']
    >>> next_group({"a": 65_536, "b": 30_000, "c": 1}, least=8)
    []
    """
    group: list[str] = []
    total = 0
    for name, count in rows.items():
        if count >= _SMALL or total + count > MAX_ROWS:
            if len(group) >= least or (len(group) > 1 and total >= _SMALL):
                return group
            group, total = [], 0
        if count < _SMALL:
            group.append(name)
            total += count
    return group if len(group) >= least else []


def small_parts(rows: Mapping[str, int]) -> int:
    """How many of the parts a compaction could take; `rows`: part name to rows."""
    return sum(count < _SMALL for count in rows.values())


def concatenated(folder: Place, names: Sequence[str], layout: Layout) -> Iterator[pa.RecordBatch]:
    """The rows of the parts, one part after the other, a row group at a time. Raises PartDamaged."""
    for name in names:
        yield from read_batches(folder / name, layout)
