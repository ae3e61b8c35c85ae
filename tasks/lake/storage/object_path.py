"""Objects on S3-compatible storage, as paths: reading, listing, and replacing one at a stroke.

An object appears whole or not at all, under its own name, and is durable when its writing returns; so there is no
temporary name, no rename and no flushing of folders.

They are reached through pyarrow's own S3 client. Credentials come from where that looks for them (environment,
shared files, the machine's role) and are kept nowhere here.
"""

import fnmatch
import io
import mmap
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from millrace.tasks.errors import LakeUnreachable
from millrace.tasks.outages import Availability

CONNECT_S = 5.0
REQUEST_S = 10.0
ATTEMPTS = 3
"""A request that gets nowhere is given up after `ATTEMPTS` times both, within what a lapsing lease leaves a writer."""

_ATTEMPTS_TO_READ = 10


class ObjectStore:
    """One S3-compatible service as this process reaches it.

    `endpoint` is an address such as "http://127.0.0.1:9000", "" for AWS itself. `local` is the folder on this machine
    for what must be on a disk: journals, whose every flush would be a request, and indexes. While a lease is held,
    `guard` raises when it may have been lost; it is asked before anything is written or deleted.
    """

    def __init__(self, *, endpoint: str, region: str, virtual_hosting: bool, local: Path) -> None:
        self.endpoint = endpoint
        self.region = region
        self.virtual_hosting = virtual_hosting
        self.local = local
        self.guard: Callable[[], None] = unguarded
        self.availability = Availability("storage")

    def __reduce__(self) -> tuple[Any, ...]:
        # A reading process writes parts of jobs that are its own, and so needs no lease.
        return _reached, (self.endpoint, self.region, self.virtual_hosting, self.local)

    @cached_property
    def files(self) -> Any:
        """The client, made when it is first needed: it starts threads, and takes a while."""
        from pyarrow import fs

        scheme, _, host = self.endpoint.rpartition("://")
        return fs.S3FileSystem(
            endpoint_override=host or None,
            scheme=scheme or "https",
            region=self.region,
            force_virtual_addressing=self.virtual_hosting,
            connect_timeout=CONNECT_S,
            request_timeout=REQUEST_S,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
            # In the foreground a stream whose third part was refused still publishes the first two when it is let go.
            background_writes=True,
            allow_delayed_open=True,  # so that a small object is one request, not three
        )


def unguarded() -> None:
    """The guard where no lease is held."""


def _reached(endpoint: str, region: str, virtual_hosting: bool, local: Path) -> ObjectStore:
    return ObjectStore(endpoint=endpoint, region=region, virtual_hosting=virtual_hosting, local=local)


@dataclass(frozen=True, slots=True, order=True)
class ObjectPath:
    """The object `key` (bucket first), or the "folder" of all whose keys begin with it and a slash."""

    key: str
    store: ObjectStore = field(compare=False, repr=False)
    size: int | None = field(default=None, compare=False, repr=False)
    """In bytes, as far as a listing has said."""
    changed: datetime | None = field(default=None, compare=False, repr=False)
    """By the clock of the store, as far as a listing has said."""

    def __str__(self) -> str:
        return f"s3://{self.key}"

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(f"{self.key}/{name}", self.store)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> "ObjectPath":
        """The folder that holds it."""
        return ObjectPath(self.key.rpartition("/")[0], self.store)

    def with_name(self, name: str) -> "ObjectPath":
        """The object of that name in the same folder."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> "ObjectPath":
        """The object in the same folder whose name ends in `suffix` instead."""
        stem, dot, _ = self.name.rpartition(".")
        return self.with_name((stem if dot else self.name) + suffix)

    def absolute(self) -> "ObjectPath":
        """The same path: an object's key is always absolute."""
        return self

    def exists(self) -> bool:
        """Whether there is such an object or folder. Raises LakeUnreachable."""
        return str(self._info().type.name) != "NotFound"

    def is_dir(self) -> bool:
        """Whether there are objects below it. Raises LakeUnreachable."""
        return str(self._info().type.name) == "Directory"

    def size_bytes(self) -> int:
        """The object's size. Raises FileNotFoundError, LakeUnreachable."""
        if self.size is not None:
            return self.size
        info = self._info()
        if info.type.name != "File":
            raise FileNotFoundError(f"there is no object {self}")
        return int(info.size)

    def iterdir(self) -> Iterator["ObjectPath"]:
        """The objects and folders in it, by name; none where it is not there. Raises LakeUnreachable."""
        from pyarrow import fs

        with reaching(self, "Listing"):
            found = self.store.files.get_file_info(fs.FileSelector(self.key, allow_not_found=True))
        for info in sorted(found, key=lambda info: str(info.path)):
            yield replace(ObjectPath(info.path, self.store), size=info.size, changed=info.mtime)

    def glob(self, pattern: str) -> Iterator["ObjectPath"]:
        """Those in it whose names match. Raises LakeUnreachable."""
        return (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def read_bytes(self) -> bytes:
        """What the object holds, all of one version of it. Raises FileNotFoundError, LakeUnreachable.

        The client asks for the size first and then for so many bytes: another object may have come between the two.
        """
        before = self._info()
        for attempt in range(_ATTEMPTS_TO_READ):
            try:
                with self.open() as file:
                    data = file.read()
            except LakeUnreachable:  # an answer longer than was asked for is an error, too
                if attempt:
                    raise
                continue
            after = self._info()
            if len(data) == before.size == after.size and before.mtime == after.mtime:
                return data
            before = after
        raise LakeUnreachable(f"{self} was being replaced all the time. Try again when the writer is done.")

    def open(self) -> "ObjectReader":
        """The object as a file to be read in places. Raises FileNotFoundError, LakeUnreachable."""
        with reaching(self, "Reading"):
            return ObjectReader(self, self.store.files.open_input_file(self.key))

    def write(self, write: Callable[[BinaryIO], None], written: Callable[[], None]) -> None:
        """Replace the object at one stroke by what `write` puts into the stream it is given; durable on return.

        It is collected on the local disk first, and handed over in one call: should collecting it fail, no stream to
        the store is open, which would publish what has come so far. `written` is called between the two.

        Raises:
            LakeError: The store refuses or cannot be reached, or the lease is lost; the object is as it was.
        """
        with tempfile.TemporaryFile() as local:
            write(local)
            local.flush()
            written()
            self._send(pa.py_buffer(mmap.mmap(local.fileno(), 0, access=mmap.ACCESS_READ)))

    def _send(self, data: pa.Buffer) -> None:
        self.store.guard()
        with reaching(self, "Writing"):
            stream = self.store.files.open_output_stream(self.key, compression=None)
            stream.write(data)
            stream.close()

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Delete the object. Raises FileNotFoundError, LakeUnreachable."""
        self.store.guard()
        with reaching(self, "Deleting"):
            try:
                self.store.files.delete_file(self.key)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def quarantine(self) -> None:
        """Rename it to `*.damaged` (a copy, then a deletion), if it is there. Raises LakeUnreachable."""
        self.store.guard()
        if self.exists():
            with reaching(self, "Setting aside"):
                self.store.files.move(self.key, f"{self.key}.damaged")

    def _info(self) -> Any:
        with reaching(self, "Reading"):
            return self.store.files.get_file_info(self.key)


class ObjectReader(io.RawIOBase):
    """An object as pyarrow reads it from Python: what the network does to it is never taken for damage."""

    def __init__(self, path: ObjectPath, file: Any) -> None:
        self._path = path
        self._file = file

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new position."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """The position."""
        return int(self._file.tell())

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes from the position on. Raises LakeUnreachable."""
        with reaching(self._path, "Reading"):
            return bytes(self._file.read(None if size is None or size < 0 else size))

    def close(self) -> None:
        """Close the stream."""
        self._file.close()
        super().close()


@contextmanager
def reaching(path: ObjectPath, action: str) -> Iterator[None]:
    """Turn errors of the store's client into a LakeUnreachable that names the object and the remedy.

    A missing object stays a FileNotFoundError.
    """
    try:
        yield
    except FileNotFoundError:
        path.store.availability.answered()
        raise
    except (OSError, pa.ArrowException) as error:
        remedy = _remedy(str(error))
        if remedy == _CHECK_NETWORK:  # not a refusal, which is an answer; after the client's own tries
            path.store.availability.failed(f"{action} {path} failed: {error}", since=time.monotonic())
        raise LakeUnreachable(f"{action} {path} failed: {error}. {remedy}") from error
    path.store.availability.answered()


_CHECK_NETWORK = (
    "Check the network, lake.endpoint and lake.region, then run the same command again. Nothing that was finished is"
    " lost."
)


def _remedy(message: str) -> str:
    if "NO_SUCH_BUCKET" in message:
        return "Make the bucket, or correct lake.path."
    if any(word in message for word in ("ACCESS_DENIED", "INVALID_ACCESS_KEY", "SIGNATURE", "TOKEN", "ACL ")):
        return (
            "Look at the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or the machine's role):"
            " they must be allowed to list the bucket and to read, write and delete in it. Check lake.region, too."
        )
    return _CHECK_NETWORK
