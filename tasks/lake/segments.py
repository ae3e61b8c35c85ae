"""Vectors between their purchase and their part: in a journal, from which they are read until they are in a part."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tasks.lake.batches import Layout, Vectors, vectors_in
from tasks.lake.journal import JournalFile, JournalReader, Stretch, read_journal

_PREFIX = "journal-"
_SUFFIX = ".arrows"


class Segment:
    """The batches of one journal that are durable, and where each key is in them. The vectors stay in the file."""

    def __init__(self, stem: str, path: Path, layout: Layout) -> None:
        """Of the journal at `path`, nothing yet. Raises FileNotFoundError when there is none, LakeError."""
        self.stem = stem
        self.path = path
        self.rows = 0
        self._reader = JournalReader(path, layout.schema)
        self._stretches: list[Stretch] = []
        self._places: dict[bytes, tuple[int, int]] = {}  # to the number of a batch, and the row in it
        self._last: tuple[int, pa.RecordBatch] | None = None  # neighbours are asked for one after the other

    def add(self, batches: Iterable[pa.RecordBatch], places: Iterable[Stretch]) -> None:
        """Take in batches that are durable in the journal, and where they are in it."""
        for batch, stretch in zip(batches, places, strict=True):
            number = len(self._stretches)
            self._stretches.append(stretch)
            self._places.update((key, (number, row)) for row, key in enumerate(batch["text_key"].to_pylist()))
            self.rows += batch.num_rows

    @property
    def size_bytes(self) -> int:
        """What its batches take in the file."""
        return sum(stretch.length for stretch in self._stretches)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its batches in order, read one at a time. Raises LakeError when the file no longer holds one of them."""
        return map(self._reader.read, self._stretches)

    @property
    def number(self) -> int:
        """The number in its stem."""
        return int(self.stem.partition("-")[0])

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def vector(self, key: bytes) -> Vectors | None:
        """The vector of `key`, None when it is not here. Raises LakeError when the file no longer holds it."""
        place = self._places.get(key)
        if place is None:
            return None
        vector: Vectors = vectors_in(self._batch(place[0])["vector"])[place[1]]
        return vector

    def sparse(self, key: bytes) -> bytes | None:
        """The sparse vector of `key`, None when it is not here, or there are none. Raises as `vector` does."""
        place = self._places.get(key)
        batch = None if place is None else self._batch(place[0])
        if place is None or batch is None or "sparse" not in batch.schema.names:
            return None
        vector: bytes = batch["sparse"][place[1]].as_py()
        return vector

    def _batch(self, number: int) -> pa.RecordBatch:
        last = self._last  # another thread may put its own there at any time
        if last is None or last[0] != number:
            self._last = last = number, self._reader.read(self._stretches[number])
        return last[1]

    def keys(self) -> list[bytes]:
        """Every key, once."""
        return list(self._places)


@dataclass(frozen=True, slots=True)
class OpenSegment:
    """The segment that is being appended to, and its journal."""

    segment: Segment
    journal: JournalFile

    @classmethod
    def start(cls, folder: Path, stem: str, layout: Layout) -> "OpenSegment":
        """An empty segment with a new journal in `folder`. Raises LakeError when the disk refuses."""
        path = folder / f"{_PREFIX}{stem}{_SUFFIX}"
        journal = JournalFile(path, layout.schema)
        return cls(Segment(stem, path, layout), journal)

    def commit(self, batches: list[pa.RecordBatch]) -> None:
        """Make the batches durable, then known. Raises LakeError; the journal is then not to be appended to again."""
        places = [self.journal.append(batch) for batch in batches]
        self.journal.sync()
        self.segment.add(batches, places)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What journals of an earlier run gave back: vectors kept, and what was behind their sound part.

    What is dropped was never acknowledged, unless the disk has failed: `dropped_batches` are those whose length was
    right and whose checksum was not.
    """

    vectors: int = 0
    dropped_bytes: int = 0
    dropped_batches: int = 0

    def __add__(self, other: "Recovery") -> "Recovery":
        return Recovery(
            self.vectors + other.vectors,
            self.dropped_bytes + other.dropped_bytes,
            self.dropped_batches + other.dropped_batches,
        )


def has_journals(folder: Path) -> bool:
    """Whether a journal is in `folder`."""
    return next(folder.glob(f"{_PREFIX}*{_SUFFIX}"), None) is not None


def leftover_segments(folder: Path, layout: Layout) -> list[tuple[Segment, Recovery]]:
    """The segments whose journals are in `folder`, oldest first, as far as they are sound.

    Raises:
        LakeError: The disk fails, or a journal holds something else.
    """
    found: list[tuple[Segment, Recovery]] = []
    for path in sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}")):
        try:
            segment = Segment(path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX), path, layout)
            sound = read_journal(path, layout.schema)
        except FileNotFoundError:
            continue  # sealed by the writer since it was listed
        segment.add(sound.batches, sound.places)
        found.append((segment, Recovery(segment.rows, sound.dropped_bytes, sound.dropped_batches)))
    return found
