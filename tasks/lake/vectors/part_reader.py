"""Single rows out of parts: the last decoded row groups are cached, and some files stay open."""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millrace.tasks.lake.storage.location import LakePath
from millrace.tasks.lake.vectors.journal import Segment
from millrace.tasks.lake.vectors.part_file import ROWS_A_GROUP, VectorPart
from millrace.tasks.lake.vectors.schema import KeyBytes, Layout, Vectors, keys_in, vectors_in

_CACHE_BYTES = 4 << 20
_OPEN_FILES = 32

Positions = npt.NDArray[np.int64]


class Gathering(Protocol):
    """What a read fills in, one position a key, out of the one column that it reads."""

    column: str

    def from_segment(self, segment: Segment, key: bytes, position: int) -> bool:
        """Whether the segment holds `key`; then it is filled in."""

    def from_group(self, values: pa.Array, rows: Positions, positions: Positions) -> None:
        """Fill in `positions` from these rows of a row group's column."""


class GatheredVectors:
    """`out`: float32, shape (count, dimensions)."""

    column = "vector"

    def __init__(self, count: int, dimensions: int) -> None:
        self.out: Vectors = np.empty((count, dimensions), np.float32)

    def from_segment(self, segment: Segment, key: bytes, position: int) -> bool:
        """Whether the segment holds `key`; then its vector is filled in."""
        vector = segment.vector(key)
        if vector is not None:
            self.out[position] = vector
        return vector is not None

    def from_group(self, values: pa.Array, rows: Positions, positions: Positions) -> None:
        """Copy these rows to `out[positions]`."""
        self.out[positions] = vectors_in(values)[rows]


class GatheredSparse:
    """`out`: sparse vectors, `count` of them."""

    column = "sparse"

    def __init__(self, count: int) -> None:
        self.out = [b""] * count

    def from_segment(self, segment: Segment, key: bytes, position: int) -> bool:
        """Whether the segment holds `key`; then its sparse vector is filled in."""
        vector = segment.sparse(key)
        if vector is not None:
            self.out[position] = vector
        return vector is not None

    def from_group(self, values: pa.Array, rows: Positions, positions: Positions) -> None:
        """Copy these rows to `out` at `positions`."""
        for position, vector in zip(positions.tolist(), values.take(pa.array(rows)).to_pylist(), strict=True):
            self.out[position] = vector


class PartReader:
    """Reads single rows out of the parts in `folder`."""

    def __init__(self, folder: LakePath, layout: Layout) -> None:
        self._folder = folder
        self._layout = layout
        self._lock = threading.Lock()
        self._files: OrderedDict[str, VectorPart] = OrderedDict()
        self._groups: OrderedDict[tuple[str, int, str], tuple[KeyBytes, pa.Array]] = OrderedDict()
        self._kept_bytes = 0

    def gather(self, name: str, rows: Positions, keys: KeyBytes, into: Gathering, at: Positions) -> bool:
        """Fill in what `rows` of part `name` hold at the positions `at`; whether each row holds its key.

        Raises:
            PartDamaged: A row group cannot be read.
            FileNotFoundError: The part was deleted: another process may have compacted it.
        """
        groups = rows // ROWS_A_GROUP
        for group in np.unique(groups).tolist():
            with self._lock:
                group_keys, values = self._group(name, group, into.column)
            members = np.flatnonzero(groups == group)
            within = rows[members] - group * ROWS_A_GROUP
            if within.max() >= len(group_keys) or not np.array_equal(group_keys[within], keys[members]):
                return False
            into.from_group(values, within, at[members])
        return True

    def forget(self, names: Iterable[str]) -> None:
        """Close the files of these parts and drop their cached row groups."""
        with self._lock:
            for name in names:
                file = self._files.pop(name, None)
                if file is not None:
                    file.close()
                for key in [key for key in self._groups if key[0] == name]:
                    self._kept_bytes -= _size(self._groups.pop(key))

    def close(self) -> None:
        """Close all files."""
        self.forget(list(self._files))

    def _group(self, name: str, group: int, column: str) -> tuple[KeyBytes, pa.Array]:
        found = self._groups.get((name, group, column))
        if found is not None:
            self._groups.move_to_end((name, group, column))
            return found
        file = self._file(name)
        if group >= file.groups:
            return np.empty((0, 32), np.uint8), pa.array([], self._layout.schema.field(column).type)
        table = file.group(group, ["text_key", column])
        found = keys_in(table["text_key"].chunk(0)), table[column].chunk(0)
        self._groups[name, group, column] = found
        self._kept_bytes += _size(found)
        while self._kept_bytes > _CACHE_BYTES and len(self._groups) > 2:
            self._kept_bytes -= _size(self._groups.popitem(last=False)[1])
        return found

    def _file(self, name: str) -> VectorPart:
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = VectorPart(self._folder / name, self._layout)
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(name)
        return file


def _size(group: tuple[KeyBytes, pa.Array]) -> int:
    keys, values = group
    return int(keys.nbytes + values.nbytes)
