"""Making vector parts: of journals, of several small parts, and of what can be saved of damaged ones.

Every step leaves the store whole. A part is durable under its name before the index knows it, and indexed before what
it replaces is deleted; opening the store again finishes or forgets what was interrupted.

Small parts are merged so that 100 million vectors are some thousand files in a folder, not a hundred thousand.
"""

import contextlib
import itertools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millrace.tasks.lake.storage.atomic import Checkpoint, quarantine, remove_files
from millrace.tasks.lake.storage.location import LakePath
from millrace.tasks.lake.vectors.journal import Segment
from millrace.tasks.lake.vectors.part_file import (
    PartDamaged,
    check_part,
    new_stem,
    part_name,
    read_batches,
    read_keys,
    write_part,
)
from millrace.tasks.lake.vectors.part_index import PartIndex
from millrace.tasks.lake.vectors.part_reader import PartReader
from millrace.tasks.lake.vectors.schema import KeyBytes, Layout, keys_in

MAX_ROWS = 65_536
"""Of a compacted part: 256 MiB at 1,024 dimensions."""

_SMALL = MAX_ROWS // 2


def next_group(rows: Mapping[str, int], *, min_parts: int) -> list[str]:
    """The first parts, in order, that should become one; empty when nothing is worth the writing.

    Args:
        rows: Part name to rows, in the order in which they were embedded.
        min_parts: The smallest number of small parts in a row that are merged though they do not fill a large one.

    >>> next_group({"a": 65_536, "b": 30_000, "c": 30_000, "d": 30_000, "e": 1}, min_parts=8)
    ['b', 'c']
    >>> next_group({"a": 65_536, "b": 30_000, "c": 1}, min_parts=8)
    []
    """
    group: list[str] = []
    total = 0
    for name, count in rows.items():
        if count >= _SMALL or total + count > MAX_ROWS:
            if len(group) >= min_parts or (len(group) > 1 and total >= _SMALL):
                return group
            group, total = [], 0
        if count < _SMALL:
            group.append(name)
            total += count
    return group if len(group) >= min_parts else []


def small_parts(rows: Mapping[str, int]) -> int:
    """How many of the parts a compaction could take; `rows`: part name to rows."""
    return sum(count < _SMALL for count in rows.values())


def concatenated(folder: LakePath, names: Sequence[str], layout: Layout) -> Iterator[pa.RecordBatch]:
    """The rows of the parts, one part after the other, a row group at a time. Raises PartDamaged."""
    for name in names:
        yield from read_batches(folder / name, layout)


_MANY = 64
"""Small parts that a long run may leave before some are compacted on its way."""


class PartMaker:
    """Makes the parts in `folder`. One thread at a time may use it, `new_stem` aside."""

    def __init__(
        self, folder: LakePath, layout: Layout, part_index: PartIndex, reader: PartReader, checkpoint: Checkpoint
    ) -> None:
        self._folder = folder
        self._layout = layout
        self._part_index = part_index
        self._reader = reader
        self._checkpoint = checkpoint
        self._numbering = threading.Lock()
        self._numbers = itertools.count(1)

    def number_from(self, first: int) -> None:
        """Let the next stem have this number."""
        self._numbers = itertools.count(first)

    def new_stem(self) -> str:
        """The stem of the next journal or part."""
        with self._numbering:
            return new_stem(next(self._numbers))

    def seal(self, segment: Segment, forget: Callable[[Segment], None]) -> None:
        """Make a part of the segment, then delete its journal. `forget` is called when readers find it in the part."""
        if segment.rows:
            path = self._folder / part_name(segment.stem)
            keys: list[KeyBytes] = []
            write_part(path, self._layout, _collecting_keys(segment.batches(), keys), checkpoint=self._step("seal"))
            self._part_index.add(path, np.concatenate(keys))
            self._checkpoint("seal: indexed")
        forget(segment)
        remove_files([segment.path])
        self._checkpoint("seal: journal deleted")

    def compact(self, *, min_parts: int, groups: int | None = None) -> int:
        """How many parts went into larger ones, in up to `groups` groups; see `next_group` for `min_parts`."""
        merged = 0
        for _ in range(groups) if groups is not None else itertools.count():
            names = next_group(self._sound_rows(), min_parts=min_parts)
            if not names:
                break
            try:
                if not self._merge(names):
                    break
                merged += len(names)
            except PartDamaged as error:
                self._part_index.report(error.damage)  # and from now on it is in no group
        return merged

    def thin_out(self) -> None:
        """Compact one full group when a long run has left many small parts."""
        if small_parts(self._part_index.rows()) >= _MANY:
            self.compact(min_parts=sys.maxsize, groups=1)

    def quarantine(self, path: LakePath) -> int:
        """Move the readable rows of a damaged part to a new one; returns how many. The file becomes `*.damaged`."""
        saved: list[pa.RecordBatch] = []
        with contextlib.suppress(PartDamaged, FileNotFoundError):  # then nothing of it can be read
            saved += read_batches(path, self._layout, salvage=True)
        if saved:
            rescue = self._folder / part_name(self.new_stem())
            keys: list[KeyBytes] = []
            write_part(rescue, self._layout, _collecting_keys(saved, keys), checkpoint=self._step("repair"))
            self._part_index.add(rescue, np.concatenate(keys))
            self._checkpoint("repair: indexed")
        self._reader.forget([path.name])
        quarantine(path)
        self._part_index.drop([path.name])
        return sum(batch.num_rows for batch in saved)

    def drop_unused(self, is_used: Callable[[KeyBytes], npt.NDArray[np.bool_]]) -> int:
        """Write each part anew without the rows whose keys are not used; how many rows went.

        What stays is durable, read back and indexed in its new part before the old one is deleted.
        """
        dropped = 0
        for name in self._sound_rows():
            kept = is_used(read_keys(self._folder / name, self._layout))
            if kept.all() or (kept.any() and not self._keep_only(name, is_used)):
                continue
            self._reader.forget([name])
            remove_files([self._folder / name])
            self._part_index.drop([name])
            self._checkpoint("drop: part deleted")
            dropped += int((~kept).sum())
        return dropped

    def _keep_only(self, name: str, is_used: Callable[[KeyBytes], npt.NDArray[np.bool_]]) -> bool:
        """Whether the used rows of the part are in another one now."""
        path = self._folder / part_name(self.new_stem())
        keys: list[KeyBytes] = []
        batches = (
            batch.filter(pa.array(is_used(keys_in(batch.column(0)))))
            for batch in read_batches(self._folder / name, self._layout)
        )
        write_part(path, self._layout, _collecting_keys(batches, keys), checkpoint=self._step("drop"))
        if check_part(path, self._layout) is not None:
            remove_files([path])
            return False
        self._part_index.add(path, np.concatenate(keys))
        self._checkpoint("drop: indexed")
        return True

    def _merge(self, names: list[str]) -> bool:
        """Whether the parts are one now."""
        path = self._folder / part_name(self.new_stem())
        known = self._part_index.rows()
        replaced = {name: known[name] for name in names}
        keys: list[KeyBytes] = []
        batches = _collecting_keys(concatenated(self._folder, names, self._layout), keys)
        write_part(path, self._layout, batches, replaces=replaced, checkpoint=self._step("compact"))
        if check_part(path, self._layout) is not None:  # what it replaces was paid for, so it is read back first
            remove_files([path])
            return False
        self._part_index.add(path, np.concatenate(keys), names)
        self._checkpoint("compact: indexed")
        self._reader.forget(names)
        for name in names:
            remove_files([self._folder / name])
            self._checkpoint("compact: part deleted")
        self._part_index.drop(names)
        return True

    def _sound_rows(self) -> dict[str, int]:
        damaged = {damage.path.name for damage in self._part_index.damaged}
        return {name: rows for name, rows in self._part_index.rows().items() if name not in damaged}

    def _step(self, name: str) -> Checkpoint:
        return lambda step: self._checkpoint(f"{name}: {step}")


def _collecting_keys(batches: Iterable[pa.RecordBatch], keys: list[KeyBytes]) -> Iterator[pa.RecordBatch]:
    """The batches; the keys of each, uint8 of shape (rows, 32), are added to `keys` as it goes by."""
    for batch in batches:
        keys.append(keys_in(batch.column(0)).copy())  # not a view, which would keep the vectors too
        yield batch
