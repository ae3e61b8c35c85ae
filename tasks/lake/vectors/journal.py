"""The journal: an Arrow IPC stream of vectors that were paid for and are in no part yet.

Any reader of Arrow streams can read it. Each batch carries a checksum in its metadata, because after a power cut the
tail of a file may have its length and not its content, and a wrong vector under a right key is worse than none. Until
a part holds them, vectors are read from their journal: a `Segment` knows where each key is in it.
"""

import io
import os
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.storage.atomic import create_file, fsync_folder, translate_os_errors
from millrace.tasks.lake.vectors.schema import Layout, Vectors, crc32, vectors_in

_CRC = "crc32"
_MESSAGE = b"\xff\xff\xff\xff"
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


class ByteRange(NamedTuple):
    """Where in its journal a batch is, in bytes."""

    offset: int
    length: int


class JournalFile:
    """A journal being written, at `path`, which must be new. `sync` makes all that was appended durable."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        # Messages are gathered here and written in one go; all are multiples of 8 bytes long, so starting at 0 again
        # keeps their alignment.
        self._gathered = io.BytesIO()
        self._writer = pa.ipc.new_stream(self._gathered, schema)
        self._schema_bytes = schema.serialize().size  # goes before the first batch
        with translate_os_errors(path, "Starting the journal"):
            self._file = create_file(path)
        self._synced = 0

    def append(self, batch: pa.RecordBatch) -> ByteRange:
        """Add the batch; it counts, and is where this says, only after `sync`."""
        begin = self._gathered.tell() or (0 if self._synced else self._schema_bytes)
        self._writer.write_batch(batch, custom_metadata={_CRC: str(checksum(batch))})
        return ByteRange(self._synced + begin, self._gathered.tell() - begin)

    def sync(self) -> None:
        """Return when all that was appended is on disk.

        Raises:
            LakeError: It is not. The file must not be appended to again: after a failed flush the kernel may have
                dropped the very pages, and a second flush would report success.
        """
        with translate_os_errors(self.path, "Writing the journal"):
            with self._gathered.getbuffer() as view:
                written = 0
                while written < len(view):
                    written += self._file.write(view[written:])
            os.fsync(self._file.fileno())
        if not self._synced:
            fsync_folder(self.path.parent)
        self._synced += written
        self._gathered.seek(0)
        self._gathered.truncate()

    def close(self) -> None:
        """Close the file; what was not synced was never acknowledged."""
        self._file.close()


class JournalReader:
    """Reads the batches of the journal at `path` by where they are, also when its name is deleted meanwhile."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Open the file. Raises FileNotFoundError when it is not there, LakeError when the disk refuses."""
        self._path = path
        self._start = schema.serialize().to_pybytes()
        self._file = _opened(path)
        weakref.finalize(self, self._file.close)  # a reader that is still in use holds it

    def read(self, byte_range: ByteRange) -> pa.RecordBatch:
        """The batch there. Raises LakeError when it is not what was written, or the disk fails."""
        with translate_os_errors(self._path, "Reading the journal"):
            data = os.pread(self._file.fileno(), byte_range.length, byte_range.offset)
        try:
            reader = pa.ipc.open_stream(self._start + data)
            batch, metadata = reader.read_next_batch_with_custom_metadata()
            sound = _is_sound(batch, metadata)
        except (StopIteration, pa.ArrowException, OSError):
            sound = False
        if not sound:
            raise LakeError(
                f"The journal {self._path} does not hold at byte {byte_range.offset} what was written there. Check the"
                " disk, then run the same command again: it keeps what is sound, and embeds the rest again."
            )
        return batch


@dataclass(frozen=True, slots=True)
class Recovered:
    """The sound batches of a journal, the byte range of each, and how much was dropped."""

    batches: list[pa.RecordBatch]
    ranges: list[ByteRange]
    dropped_bytes: int
    dropped_batches: int

    @property
    def rows(self) -> int:
        """The number of vectors in the sound batches."""
        return sum(batch.num_rows for batch in self.batches)


def read_journal(path: Path, schema: pa.Schema) -> Recovered:
    """The sound batches of the journal at `path`, whatever became of the rest.

    Each batch is read by itself, after the schema that it must have: neither a damaged schema nor a damaged batch takes
    the others with it.

    Raises:
        FileNotFoundError: There is no such file.
        LakeError: The disk fails, or the journal belongs to other vectors.
    """
    with _opened(path) as file, translate_os_errors(path, "Reading the journal"):
        data = file.readall()
    start = schema.serialize().to_pybytes()
    begin = len(start) if data.startswith(start) else _first_batch(data, schema, path)
    batches: list[pa.RecordBatch] = []
    ranges: list[ByteRange] = []
    dropped_bytes = unsound = 0
    while begin < len(data) and data[begin:] != _END_OF_STREAM:
        batch, length = _batch_at(data, begin, start)
        # What a damaged batch says of its length may reach into the next one.
        end = min(_next_message(data, begin + 1), begin + length if length else len(data))
        if batch is not None:
            batches.append(batch)
            ranges.append(ByteRange(begin, length))
        elif end == begin + length:
            unsound += 1
        else:
            dropped_bytes += end - begin
        begin = end
    return Recovered(batches, ranges, dropped_bytes, unsound)


def _first_batch(data: bytes, schema: pa.Schema, path: Path) -> int:
    """Where the first batch begins in a journal that does not begin as expected.

    Raises:
        LakeError: It is sound, and belongs to other vectors.
    """
    start = schema.serialize().to_pybytes()
    begin = _next_message(data, 1)
    while begin < len(data):
        if _batch_at(data, begin, start)[0] is not None:
            return begin
        begin = _next_message(data, begin + 1)
    source = pa.BufferReader(data)
    try:
        found = pa.ipc.open_stream(source).schema
    except (pa.ArrowException, OSError, ValueError):
        return 0  # not even its first message was durable, so nothing in it was acknowledged
    if not found.equals(schema):
        raise LakeError(f"The journal {path} holds {found.to_string()!r}, not vectors of this space. Move it away.")
    return int(source.tell())


def _batch_at(data: bytes, begin: int, start: bytes) -> tuple[pa.RecordBatch | None, int]:
    """The batch at byte `begin`, None when it is not sound, and its length, 0 when that cannot be told."""
    length = 0
    source = pa.BufferReader(data)
    source.seek(begin)
    try:
        pa.ipc.read_message(source)
        length = source.tell() - begin
        reader = pa.ipc.open_stream(start + data[begin : begin + length])
        batch, metadata = reader.read_next_batch_with_custom_metadata()
        return (batch if _is_sound(batch, metadata) else None), length
    except (StopIteration, EOFError, pa.ArrowException, OSError, ValueError):
        return None, length


def _next_message(data: bytes, begin: int) -> int:
    """Where from `begin` on the next message may begin; the end of the data when there is none.

    Messages begin with four bytes 0xFF, which no float that is a number has, at a multiple of 8.
    """
    at: int = data.find(_MESSAGE, begin)
    while at % 8 and at >= 0:
        at = data.find(_MESSAGE, at + 1)
    return at if at >= 0 else len(data)


def checksum(batch: pa.RecordBatch) -> int:
    """CRC-32 over all columns of the batch, one after the other."""
    crc = 0
    for column in batch.columns:
        crc = crc32(column, crc)
    return crc


def _opened(path: Path) -> io.FileIO:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LakeError(f"The journal {path} cannot be read: {error.strerror}. Check the disk.") from error


def _is_sound(batch: pa.RecordBatch, metadata: pa.KeyValueMetadata | None) -> bool:
    if metadata is None or any(column.null_count for column in batch.columns):
        return False
    try:
        batch.validate(full=True)
        return bool(metadata.get(_CRC) == str(checksum(batch)).encode())
    except (ValueError, TypeError):  # buffers shorter than the rows they claim
        return False


_KEPT_BYTES = 8 << 20
"""Of the last batches of a segment, kept in memory: what was just embedded is read soon, to be loaded."""

_PREFIX = "journal-"
_SUFFIX = ".arrows"


class Segment:
    """The batches of one journal that are durable, and where each key is in them. The last are in memory too."""

    def __init__(self, stem: str, path: Path, layout: Layout) -> None:
        """An empty segment over the journal at `path`. Raises FileNotFoundError when there is none, LakeError."""
        self.stem = stem
        self.path = path
        self.rows = 0
        self._reader = JournalReader(path, layout.schema)
        self._ranges: list[ByteRange] = []
        self._positions: dict[bytes, tuple[int, int]] = {}  # to the number of a batch, and the row in it
        self._kept: dict[int, pa.RecordBatch] = {}  # the last ones, by number
        self._kept_bytes = 0
        self._last: tuple[int, pa.RecordBatch] | None = None  # neighbours are asked for one after the other

    def add(self, batches: Iterable[pa.RecordBatch], ranges: Iterable[ByteRange]) -> None:
        """Take in batches that are durable in the journal, and where they are in it."""
        for batch, byte_range in zip(batches, ranges, strict=True):
            number = len(self._ranges)
            self._ranges.append(byte_range)
            self._positions.update((key, (number, row)) for row, key in enumerate(batch["text_key"].to_pylist()))
            self.rows += batch.num_rows
            self._kept[number] = batch
            self._kept_bytes += batch.nbytes
            while self._kept_bytes > _KEPT_BYTES:
                self._kept_bytes -= self._kept.pop(next(iter(self._kept))).nbytes

    @property
    def size_bytes(self) -> int:
        """The size of its batches in the file."""
        return sum(byte_range.length for byte_range in self._ranges)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its batches in order, one at a time. Raises LakeError when the file no longer holds one that must be read."""
        return map(self._batch, range(len(self._ranges)))

    @property
    def number(self) -> int:
        """The number in its stem."""
        return int(self.stem.partition("-")[0])

    def __contains__(self, key: bytes) -> bool:
        return key in self._positions

    def vector(self, key: bytes) -> Vectors | None:
        """The vector of `key`, None when it is not here. Raises LakeError when the file no longer holds it."""
        position = self._positions.get(key)
        if position is None:
            return None
        vector: Vectors = vectors_in(self._batch(position[0])["vector"])[position[1]]
        return vector

    def sparse(self, key: bytes) -> bytes | None:
        """The sparse vector of `key`, None when it is not here, or there are none. Raises as `vector` does."""
        position = self._positions.get(key)
        batch = None if position is None else self._batch(position[0])
        if position is None or batch is None or "sparse" not in batch.schema.names:
            return None
        vector: bytes = batch["sparse"][position[1]].as_py()
        return vector

    def _batch(self, number: int) -> pa.RecordBatch:
        kept = self._kept.get(number)
        if kept is not None:
            return kept
        last = self._last  # another thread may put its own there at any time
        if last is None or last[0] != number:
            self._last = last = number, self._reader.read(self._ranges[number])
        return last[1]

    def keys(self) -> list[bytes]:
        """Every key, once."""
        return list(self._positions)


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
        ranges = [self.journal.append(batch) for batch in batches]
        self.journal.sync()
        self.segment.add(batches, ranges)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was recovered from the journals of an earlier run, and what had to be dropped.

    Dropped bytes were never acknowledged, unless the disk has failed: `dropped_batches` counts the batches whose length
    was right and whose checksum was not.
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
        segment.add(sound.batches, sound.ranges)
        found.append((segment, Recovery(segment.rows, sound.dropped_bytes, sound.dropped_batches)))
    return found
