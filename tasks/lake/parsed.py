"""What parsers gave that are too costly to run twice: one file a key, written once, and gone when it is pruned.

Nothing here was paid for, so a damaged file is as good as none: it is parsed again.
"""

import hashlib

import pyarrow as pa

from millrace.tasks.lake.storage.atomic import make_folder, write_bytes_atomically
from millrace.tasks.lake.storage.location import LakePath, names_in

FOLDER = "parsed"
_DIGEST_BYTES = 16
_SIZE_BYTES = 8


class ParsedFolder:
    """The files in `folder`. Needs no lease: a key's content is the same, whoever writes it."""

    def __init__(self, folder: LakePath, *, read_only: bool = False) -> None:
        self._folder = folder
        self._read_only = read_only

    def get(self, key: str) -> bytes | None:
        """What was put under `key`; None when it is not there, or not as it was written."""
        try:
            stored = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        digest, size, packed = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:][:_SIZE_BYTES], stored[_DIGEST_BYTES:]
        if _digest(packed) != digest:
            return None
        unpacked = pa.decompress(packed[_SIZE_BYTES:], int.from_bytes(size), codec="zstd", asbytes=True)
        return bytes(unpacked)

    def put(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`. Raises LakeError when it cannot be written."""
        if self._read_only:
            return
        packed = len(data).to_bytes(_SIZE_BYTES) + pa.compress(data, codec="zstd", asbytes=True)
        make_folder(self._folder)
        write_bytes_atomically(_digest(packed) + packed, self._path(key))

    def files(self) -> list[LakePath]:
        """All of them."""
        return [self._folder / name for name in sorted(names_in(self._folder)) if name.endswith(".zst")]

    def _path(self, key: str) -> LakePath:
        return self._folder / f"{key}.zst"


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
