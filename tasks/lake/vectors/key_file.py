"""One file of the key index: the keys of whole vector parts in ascending order, and where in them their vectors are.

A line of JSON that names the parts, the records, a CRC-32 of all that. It is written once and never changed, and read
by mapping it into memory, so it takes 24 bytes of disk a key and no memory that the system could not have back. Nothing
flushes it: what a power cut leaves of one does not match its checksum, and is made again from the parts.
"""

import json
import mmap
import struct
import tempfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.storage.atomic import translate_os_errors, translate_read_errors, write_atomically
from millrace.tasks.lake.vectors.schema import KeyBytes

PREFIX_BYTES = 16
"""Bytes of a key that the index keeps. Two of 100 million texts share 16 bytes with odds of 1 in 10^22, and a reader
compares the whole key with the part's own in any case."""

SORTED_AT_ONCE = 1 << 20
"""Keys that are sorted in memory together: 24 MiB."""

_MERGED_AT_ONCE = 1 << 16
"""Keys that are merged in memory together: as many as lie in a processor's cache."""

Records = npt.NDArray[np.void]
_RECORD = np.dtype([("high", "<u8"), ("low", "<u8"), ("part", "<u4"), ("row", "<u4")])
_VERSION = 1
_CRC = struct.Struct("<I")
_NO_PART = np.iinfo(np.uint32).max


class IndexedPart(NamedTuple):
    """What the index keeps of a part: size in bytes, rows, and the parts that were compacted into it."""

    size: int
    rows: int
    replaces: Sequence[str] = ()


class KeyFileDamaged(LakeError):
    """The file is not what was written: delete it, and read its parts again."""


def records_of(keys: KeyBytes, part: int) -> Records:
    """The keys of the `part`-th part of a file as its records; `keys`: uint8, shape (rows, 32), in row order."""
    records = np.empty(len(keys), _RECORD)
    prefixes = prefixes_of(keys)
    records["high"], records["low"] = prefixes[:, 0], prefixes[:, 1]
    records["part"], records["row"] = part, np.arange(len(keys))
    return records


def prefixes_of(keys: KeyBytes) -> npt.NDArray[np.uint64]:
    """The first 16 bytes of each key as two numbers that sort as the bytes do; `keys`: uint8, shape (n, 32)."""
    return np.ascontiguousarray(keys[:, :PREFIX_BYTES]).view(">u8").astype(np.uint64)


def in_order(records: Records) -> Records:
    """The records in ascending order of the first 8 bytes of their keys; a reader looks at all that agree in those."""
    return records.take(np.argsort(records["high"], kind="stable"))  # six times as fast as with brackets


@dataclass(frozen=True, eq=False)
class KeyFile:
    """A key file that is whole. `path`: None for one without a name, which ends with the process."""

    path: Path | None
    parts: Mapping[str, IndexedPart]
    records: Records

    @classmethod
    def open(cls, path: Path) -> Self:
        """The file at `path`, once it was read to its end and agrees with its checksum.

        Raises:
            FileNotFoundError: It is not there.
            LakeUnreachable: The system does not let this process read it.
            KeyFileDamaged: It is not what was written, or of another version.
        """
        with translate_read_errors(path, KeyFileDamaged), path.open("rb") as file:
            checksum, tail = 0, b""
            while block := file.read(1 << 20):
                block = tail + block
                checksum, tail = zlib.crc32(block[: -_CRC.size], checksum), block[-_CRC.size :]
            if tail != _CRC.pack(checksum):
                raise ValueError("it does not agree with its checksum")
            file.seek(0)
            header = json.loads(line := file.readline())
            if header["version"] != _VERSION:
                raise ValueError(f"version {header['version']}")
            parts = {name: IndexedPart(*fields) for name, fields in header["parts"].items()}
            return cls(path, parts, _mapped(file, len(line), parts))

    @classmethod
    def write(cls, path: Path | None, parts: Mapping[str, IndexedPart], blocks: Iterable[Records]) -> Self:
        """A file at `path` of the records of `parts`, as many as these have rows, in ascending blocks.

        Raises:
            LakeError: The disk refuses.
        """
        # Records begin at a multiple of 8 bytes, so that they can be compared where they are.
        line = json.dumps({"version": _VERSION, "parts": parts}).encode()
        line += b" " * (-(len(line) + 1) % 8) + b"\n"

        def fill(sink: BinaryIO) -> None:
            sink.write(line)
            checksum = zlib.crc32(line)
            for block in blocks:
                sink.write(block.view(np.uint8).data)
                checksum = zlib.crc32(block.view(np.uint8).data, checksum)
            sink.write(_CRC.pack(checksum))

        if path is not None:
            write_atomically(path, fill, durable=False)
            with translate_os_errors(path, "Reading"), path.open("rb") as file:
                return cls(path, parts, _mapped(file, len(line), parts))
        with translate_os_errors(Path(tempfile.gettempdir()), "Writing to"), tempfile.TemporaryFile() as unnamed:
            fill(unnamed)
            unnamed.flush()
            return cls(path, parts, _mapped(unnamed, len(line), parts))

    @cached_property
    def _first_bits(self) -> npt.NDArray[np.bool_] | None:
        """By the first bits of a key, whether one that begins so may be here, for 4 to 8 times as many as there are.

        Most keys that are not here are told by that at once. None for a large file, where it would take much memory.
        """
        if len(self.records) >= SORTED_AT_ONCE:
            return None
        bits = (4 * len(self.records)).bit_length()
        found = np.zeros(1 << bits, np.bool_)
        found[self.records["high"] >> np.uint64(64 - bits)] = True
        return found

    def find(self, prefixes: npt.NDArray[np.uint64], without: Collection[str]) -> Iterator[tuple[int, tuple[str, int]]]:
        """Position in `prefixes`, part name and row of each key that is here, in a part that is not one of `without`.

        Args:
            prefixes: As `prefixes_of` makes them, shape (n, 2); ascending ones are found faster.
            without: Names of parts.
        """
        high = self.records["high"]
        positions = np.arange(len(prefixes))
        if self._first_bits is not None:
            bits = np.uint64(65 - len(self._first_bits).bit_length())
            positions = np.flatnonzero(self._first_bits[prefixes[:, 0] >> bits])
        places = np.zeros(len(prefixes), np.intp)
        places[positions] = np.searchsorted(high, prefixes[positions, 0])
        positions = positions[places[positions] < len(high)]
        positions = positions[high[places[positions]] == prefixes[positions, 0]]
        names = list(self.parts)
        while len(positions):
            others = []
            hits = zip(positions, prefixes[positions].tolist(), self.records[places[positions]].tolist(), strict=True)
            for position, (high_wanted, low_wanted), (high_here, low_here, part, row) in hits:
                if low_here == low_wanted and high_here == high_wanted and names[part] not in without:
                    yield int(position), (names[part], row)
                elif high_here == high_wanted and places[position] + 1 < len(high):
                    others.append(position)
            positions = np.array(others, np.intp)
            places[positions] += 1


def _mapped(file: BinaryIO, begin: int, parts: Mapping[str, IndexedPart]) -> Records:
    """The records in the file from byte `begin` on. Raises ValueError when they are not as many as the parts' rows."""
    rows = sum(part.rows for part in parts.values())
    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if len(mapping) != begin + rows * _RECORD.itemsize + _CRC.size:
        raise ValueError("it does not have as many keys as its parts")
    return np.frombuffer(mapping, _RECORD, rows, begin)


def merged(files: Sequence[KeyFile], without: Collection[str]) -> tuple[dict[str, IndexedPart], Iterator[Records]]:
    """The parts in the files but those `without`, and their records, ascending, `_MERGED_AT_ONCE` or so in memory."""
    parts: dict[str, IndexedPart] = {}
    numbers: list[npt.NDArray[np.uint32]] = []
    for file in files:
        taken = {name: part for name, part in file.parts.items() if name not in without and name not in parts}
        new_numbers = {name: len(parts) + number for number, name in enumerate(taken)}
        numbers.append(np.array([new_numbers.get(name, _NO_PART) for name in file.parts], np.uint32))
        parts |= taken
    return parts, _merged_records(files, numbers)


def _merged_records(files: Sequence[KeyFile], numbers: Sequence[npt.NDArray[np.uint32]]) -> Iterator[Records]:
    """Keys are hashes, so that equal shares of all that they could be hold about as many each."""
    shares = sum(len(file.records) for file in files) // _MERGED_AT_ONCE + 1
    edges = np.array([(share << 64) // shares for share in range(1, shares)], np.uint64)
    bounds = [[0, *np.searchsorted(file.records["high"], edges).tolist(), len(file.records)] for file in files]
    for share in range(shares):
        taken = []
        for file, bound, new_numbers in zip(files, bounds, numbers, strict=True):
            records = file.records[bound[share] : bound[share + 1]].copy()
            records["part"] = new_numbers[records["part"]]
            taken.append(records[records["part"] != _NO_PART] if _NO_PART in new_numbers else records)
        yield in_order(np.concatenate(taken))
