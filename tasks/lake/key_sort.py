"""More keys than memory, sorted: spread over files by their first bits, each file then sorted by itself."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from tasks.lake.batches import KeyBytes
from tasks.lake.writing import disk_errors

PREFIX_BYTES = 16
"""Bytes of a key that an index keeps. Two of 100 million texts share 16 bytes with odds of 1 in 10^22, and a reader
compares the whole key with the part's own in any case."""

_KEYS_A_FILE = 1 << 20
_RECORD = np.dtype([("high", ">u8"), ("low", ">u8"), ("span", "<i8"), ("row", "<i8")])


class KeySort:
    """Takes keys in any order and gives them in ascending order; files in `folder`, or where temporary files go."""

    def __init__(self, folder: Path | None, rows: int) -> None:
        self._folder = folder
        self._count = max(1, min(512, rows // _KEYS_A_FILE))

    def __enter__(self) -> Self:
        where = Path(tempfile.gettempdir()) if self._folder is None else self._folder
        self._where = where
        with disk_errors(where, "Sorting keys in"):
            # Without names: nothing is left behind, however this ends.
            self._files: list[BinaryIO] = [
                os.fdopen(_unnamed(where), "w+b", buffering=1 << 14) for _ in range(self._count)
            ]
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            with disk_errors(self._where, "Sorting keys in"):
                file.close()

    def add(self, keys: KeyBytes, span: int) -> None:
        """Take in the keys of a span: uint8, shape (rows, 32), in row order."""
        records = np.empty(len(keys), _RECORD)
        prefixes = np.ascontiguousarray(keys[:, :PREFIX_BYTES]).view(">u8")
        records["high"], records["low"] = prefixes[:, 0], prefixes[:, 1]
        records["span"], records["row"] = span, np.arange(len(keys))
        files = (records["high"] >> np.uint64(40)) * self._count >> np.uint64(24)
        order = np.argsort(files, kind="stable")
        bounds = np.searchsorted(files[order], np.arange(self._count + 1))
        records = records[order]
        with disk_errors(self._where, "Sorting keys in"):
            for file, start, end in zip(self._files, bounds[:-1], bounds[1:], strict=True):
                file.write(records[start:end].tobytes())

    def ascending(self) -> Iterator[Iterator[tuple[bytes, int, int]]]:
        """Prefix, span and row of every key, a file's worth at a time."""
        for file in self._files:
            with disk_errors(self._where, "Sorting keys in"):
                file.seek(0)
                records = np.frombuffer(file.read(), _RECORD)
            records = records[np.lexsort((records["span"], records["low"], records["high"]))]
            joined = np.stack([records["high"], records["low"]], axis=1).astype(">u8").tobytes()
            prefixes = (joined[i : i + PREFIX_BYTES] for i in range(0, len(joined), PREFIX_BYTES))
            yield zip(prefixes, records["span"].tolist(), records["row"].tolist(), strict=True)


def _unnamed(folder: Path) -> int:
    """A file in the folder that has no name and so is gone when it is closed."""
    descriptor, name = tempfile.mkstemp(prefix=".sort-", suffix=".tmp", dir=folder)
    Path(name).unlink()
    return descriptor
