"""Small parts into large ones: 100 million vectors are then some thousand files in a folder, not a hundred thousand."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.lake.batches import KeyBytes, keys_in
from tasks.lake.parts import read_batches

MAX_ROWS = 65_536
"""Of a compacted part: 256 MiB at 1,024 dimensions."""

_SMALL = MAX_ROWS // 2
_WORTH_IT = 8
"""Small parts in a row that are merged though they do not fill a large one: an hourly run of ten vectors then rewrites
its last large part at every eighth run, not at each."""


def next_group(rows: Mapping[str, int], *, least: int = _WORTH_IT) -> list[str]:
    """The first parts, in order, that should become one; empty when nothing is worth the writing.

    Args:
        rows: Part name to rows, in order of purchase.
        least: So many small parts in a row are merged though they do not fill a large one.

    >>> next_group({"a": 65_536, "b": 30_000, "c": 30_000, "d": 30_000, "e": 1})
    ['b', 'c']
    >>> next_group({"a": 65_536, "b": 30_000, "c": 1})
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


class Merger:
    """The rows of several parts in order, a row group at a time, each key once; `keys` are those passed on."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._paths = [folder / name for name in names]
        self._seen: set[bytes] = set()
        self._passed: list[KeyBytes] = []

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows. Raises PartDamaged for the part that is."""
        for path in self._paths:
            for batch in read_batches(path):
                fresh = self._unseen(batch)
                if fresh.num_rows:
                    self._passed.append(keys_in(fresh.column(0)).copy())
                    yield fresh

    def keys(self) -> KeyBytes:
        """uint8, shape (rows, 32), in row order."""
        return np.concatenate(self._passed) if self._passed else np.empty((0, 32), np.uint8)

    def _unseen(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        keys = batch.column(0).to_pylist()
        fresh = [i for i, key in enumerate(keys) if key not in self._seen and not self._seen.add(key)]  # type: ignore[func-returns-value]
        return batch if len(fresh) == len(keys) else batch.take(pa.array(fresh, pa.int64()))
