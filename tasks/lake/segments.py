"""Vectors between their purchase and their part: in memory for readers, in a journal for the next run."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tasks.lake.batches import Layout, Vectors, vectors_in
from tasks.lake.journal import JournalFile, read_journal

_PREFIX = "journal-"
_SUFFIX = ".arrows"


class Segment:
    """The batches of one journal that are durable, and where each key is in them."""

    def __init__(self, stem: str, path: Path, batches: Iterable[pa.RecordBatch] = ()) -> None:
        self.stem = stem
        self.path = path
        self.batches: list[pa.RecordBatch] = []
        self.rows = 0
        self._places: dict[bytes, tuple[Vectors, pa.Array | None, int]] = {}
        self.add(batches)

    def add(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Take in batches that are durable in the journal."""
        for batch in batches:
            vectors = vectors_in(batch["vector"])
            sparse = batch["sparse"] if "sparse" in batch.schema.names else None
            self._places.update((key, (vectors, sparse, row)) for row, key in enumerate(batch["text_key"].to_pylist()))
            self.batches.append(batch)
            self.rows += batch.num_rows

    @property
    def number(self) -> int:
        """The number in its stem."""
        return int(self.stem.partition("-")[0])

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def vector(self, key: bytes) -> Vectors | None:
        """The vector of `key`, None when it is not here."""
        place = self._places.get(key)
        return None if place is None else place[0][place[2]]

    def sparse(self, key: bytes) -> bytes | None:
        """The sparse vector of `key`, None when it is not here, or there are none."""
        _, sparse, row = self._places.get(key, (None, None, 0))
        return None if sparse is None else sparse[row].as_py()

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
        return cls(Segment(stem, path), JournalFile(path, layout.schema))

    def commit(self, batches: list[pa.RecordBatch]) -> None:
        """Make the batches durable, then known. Raises LakeError; the journal is then not to be appended to again."""
        for batch in batches:
            self.journal.append(batch)
        self.journal.sync()
        self.segment.add(batches)


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
            sound = read_journal(path, layout.schema)
        except FileNotFoundError:
            continue  # sealed by the writer since it was listed
        stem = path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
        segment = Segment(stem, path, sound.batches)
        found.append((segment, Recovery(segment.rows, sound.dropped_bytes, sound.dropped_batches)))
    return found
