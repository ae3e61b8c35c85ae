"""Finding and reading vectors, wherever they are: in a journal, or in a part that the index names."""

from collections.abc import Callable, Sequence

import numpy as np

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.vectors.journal import Segment
from millrace.tasks.lake.vectors.part_file import PartDamaged
from millrace.tasks.lake.vectors.part_index import PartIndex
from millrace.tasks.lake.vectors.part_reader import GatheredSparse, GatheredVectors, Gathering, PartReader
from millrace.tasks.lake.vectors.schema import KeyBytes, Vectors, as_keys
from millrace.tasks.lake.vectors.space import SpaceFolder
from millrace.tasks.records import TEXT_KEY_BYTES

_ATTEMPTS = 4
"""How often a read looks again when another process has just compacted the part away."""


class Lookup:
    """Reads of one vector store. `segments` gives the current ones, whose vectors are in no part yet."""

    def __init__(
        self,
        space_folder: SpaceFolder,
        part_index: PartIndex,
        reader: PartReader,
        segments: Callable[[], tuple[Segment, ...]],
    ) -> None:
        self._space_folder = space_folder
        self._part_index = part_index
        self._reader = reader
        self._segments = segments

    def missing(self, keys: Sequence[bytes] | KeyBytes) -> list[int]:
        """See `VectorStore.missing`."""
        wanted = as_keys(keys)
        segments = self._segments()
        left = [i for i, key in enumerate(wanted) if not any(key in segment for segment in segments)]
        located = self._part_index.locate(wanted[i] for i in left)
        return [i for i in left if wanted[i] not in located]

    def read(self, keys: Sequence[bytes] | KeyBytes) -> Vectors:
        """See `VectorStore.read`."""
        wanted = as_keys(keys)
        vectors = GatheredVectors(len(wanted), self._space_folder.space.dimensions)
        self._gather(wanted, vectors)
        return vectors.out

    def read_sparse(self, keys: Sequence[bytes] | KeyBytes) -> list[bytes]:
        """See `VectorStore.read_sparse`."""
        if not self._space_folder.space.sparse:
            raise ValueError(f"the space {self._space_folder.space.name} has no sparse vectors")
        wanted = as_keys(keys)
        vectors = GatheredSparse(len(wanted))
        self._gather(wanted, vectors)
        return vectors.out

    def _gather(self, wanted: list[bytes], into: Gathering) -> None:
        for attempt in range(_ATTEMPTS):
            left = self._read_segments(wanted, into)
            try:
                if self._read_parts(wanted, left, into):
                    return
                self._part_index.rebuild()  # the index has named rows that hold other keys
            except FileNotFoundError:
                if attempt:
                    self._part_index.rebuild()  # it may be the index that names a part which never was
                else:
                    self._part_index.refresh()
        raise LakeError(
            f"The parts in {self._space_folder.folder} change while they are read. Try again when that is over."
        )

    def _read_segments(self, wanted: list[bytes], into: Gathering) -> list[int]:
        """Fill in what is in a journal; the positions that are not are returned."""
        segments = self._segments()
        return [
            position
            for position, key in enumerate(wanted)
            if not any(into.from_segment(segment, key, position) for segment in segments)
        ]

    def _read_parts(self, wanted: list[bytes], left: list[int], into: Gathering) -> bool:
        """Fill in what is in parts; whether every row that the index named holds its key."""
        located = self._part_index.locate(wanted[i] for i in left)
        absent = [wanted[i].hex() for i in left if wanted[i] not in located]
        if absent:
            raise LakeError(
                f"{len(absent)} of {len(wanted)} vectors are not in {self._space_folder.folder}, the first for the text"
                f" key {absent[0]}. Run `millrace ingest` again; it embeds what is missing."
            )
        by_part: dict[str, list[int]] = {}
        for i in left:
            by_part.setdefault(located[wanted[i]][0], []).append(i)
        for name, positions in by_part.items():
            rows = np.array([located[wanted[i]][1] for i in positions], np.int64)
            keys = np.frombuffer(b"".join(wanted[i] for i in positions), np.uint8).reshape(-1, TEXT_KEY_BYTES)
            try:
                if not self._reader.gather(name, rows, keys, into, np.array(positions, np.int64)):
                    return False
            except PartDamaged as error:
                self._part_index.report(error.damage)
                raise
        return True
