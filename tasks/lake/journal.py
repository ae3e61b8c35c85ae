"""The journal: an Arrow IPC stream of vectors that were paid for and are in no part yet.

Any reader of Arrow streams can read it. Each batch carries a checksum in its metadata, because after a power cut the
tail of a file may have its length and not its content, and a wrong vector under a right key is worse than none.
"""

import io
import os
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from tasks.errors import LakeError
from tasks.lake.batches import crc32
from tasks.lake.writing import disk_errors, fsync_folder

_CRC = "crc32"


class Stretch(NamedTuple):
    """Where a batch is in its journal, in bytes."""

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
        with disk_errors(path, "Starting the journal"):
            self._file = path.open("xb", buffering=0)
        self._synced = 0

    def append(self, batch: pa.RecordBatch) -> Stretch:
        """Add the batch; it counts, and is where this says, only after `sync`."""
        begin = self._gathered.tell() or (0 if self._synced else self._schema_bytes)
        self._writer.write_batch(batch, custom_metadata={_CRC: str(checksum(batch))})
        return Stretch(self._synced + begin, self._gathered.tell() - begin)

    def sync(self) -> None:
        """Return when all that was appended is on disk.

        Raises:
            LakeError: It is not. The file must not be appended to again: after a failed flush the kernel may have
                dropped the very pages, and a second flush would report success.
        """
        with disk_errors(self.path, "Writing the journal"):
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
        """Close the file without another word to the disk: what was not synced was not promised."""
        self._file.close()


class JournalReader:
    """Reads the batches of the journal at `path` by where they are, also when its name is deleted meanwhile."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Open the file. Raises FileNotFoundError when it is not there, LakeError when the disk refuses."""
        self._path = path
        self._start = schema.serialize().to_pybytes()
        self._file = _opened(path)
        weakref.finalize(self, self._file.close)  # whoever still reads from it holds it

    def read(self, stretch: Stretch) -> pa.RecordBatch:
        """The batch there. Raises LakeError when it is not what was written, or the disk fails."""
        with disk_errors(self._path, "Reading the journal"):
            data = os.pread(self._file.fileno(), stretch.length, stretch.offset)
        try:
            reader = pa.ipc.open_stream(self._start + data)
            batch, metadata = reader.read_next_batch_with_custom_metadata()
            sound = _is_sound(batch, metadata)
        except (StopIteration, pa.ArrowException, OSError):
            sound = False
        if not sound:
            raise LakeError(
                f"The journal {self._path} does not hold at byte {stretch.offset} what was written there. Check the"
                " disk, then run the same command again: it keeps what is sound, and buys the rest again."
            )
        return batch


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a journal still holds: its sound batches, where they are, and the bytes behind them that were dropped."""

    batches: list[pa.RecordBatch]
    places: list[Stretch]
    dropped_bytes: int
    dropped_batches: int

    @property
    def rows(self) -> int:
        """How many vectors."""
        return sum(batch.num_rows for batch in self.batches)


def read_journal(path: Path, schema: pa.Schema) -> Recovered:
    """The sound batches of the journal at `path`, whatever became of its tail.

    Raises:
        FileNotFoundError: There is no such file.
        LakeError: The disk fails, or the journal belongs to other vectors.
    """
    with _opened(path) as file, disk_errors(path, "Reading the journal"):
        data = file.readall()
    source = pa.BufferReader(data)
    try:
        reader = pa.ipc.open_stream(source)
    except (pa.ArrowException, OSError):
        return Recovered([], [], len(data), 0)  # not even its first message was durable, so nothing in it was promised
    if not reader.schema.equals(schema):
        raise LakeError(
            f"The journal {path} holds {reader.schema.to_string()!r}, not vectors of this space. Move it away."
        )
    batches: list[pa.RecordBatch] = []
    places: list[Stretch] = []
    unsound = 0
    end = source.tell()
    while True:
        begin = end
        try:
            batch, metadata = reader.read_next_batch_with_custom_metadata()
            sound = _is_sound(batch, metadata)
        except (StopIteration, pa.ArrowException, OSError):
            break
        end = source.tell()
        if sound:
            batches.append(batch)
            places.append(Stretch(begin, end - begin))
        else:
            unsound += 1
    return Recovered(batches, places, _torn_bytes(data, end), unsound)


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


def _torn_bytes(data: bytes, end: int) -> int:
    """How many bytes lie behind `end`, an end-of-stream mark aside."""
    rest = data[end:]
    return 0 if rest in {b"", b"\xff\xff\xff\xff\0\0\0\0"} else len(rest)
