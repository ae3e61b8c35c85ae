"""Opening the files of the sources: the file that was opened is checked, not the name it was listed under.

Between the listing of a file and its reading, anybody who may write to a source can put something else in its place: a
pipe, which would block the reader, or a link to a file outside the source, whose content would end up in the
collection. So every reader opens its file here, and the checks look at the open descriptor.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

from millrace.tasks.errors import Rejected
from millrace.tasks.records import SourceFile

_HASH_BLOCK_BYTES = 1 << 20
_BLOCKS_PER_BEAT = 64


def open_source(file: SourceFile) -> BufferedReader:
    """The file, open for reading.

    Raises:
        Rejected: "link_leaves_source": what was opened lies outside `file.within`.
        OSError: it cannot be read, or is no regular file any more.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer for ever.
    descriptor = os.open(file.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{file.path} is no regular file any more")
        if file.within and not _lies_within(file, status):
            raise Rejected(
                "The file leads out of its source through a link.",
                reason="link_leaves_source",
                remedy="Copy the file into the source, or set `sources.follow_links` if you trust its links.",
            )
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_source(file: SourceFile) -> bytes:
    """All bytes of the file. Raises as `open_source` does."""
    with open_source(file) as opened:
        return opened.read()


def file_hash(file: SourceFile, beat: Callable[[], None] = lambda: None) -> str:
    """The SHA-256 of the file's bytes as 64 hex digits, read in blocks of 1 MiB.

    `beat` is called after every 64 of them, so that a caller with a deadline knows that it goes on.

    Raises:
        OSError: it cannot be read, or is not the file that was listed.
    """
    digest = hashlib.sha256()
    try:
        with open_source(file) as opened:
            blocks = 0
            while block := opened.read(_HASH_BLOCK_BYTES):
                digest.update(block)
                blocks += 1
                if blocks % _BLOCKS_PER_BEAT == 0:
                    beat()
    except Rejected as refused:
        raise OSError(str(refused)) from refused
    return digest.hexdigest()


def _lies_within(file: SourceFile, opened: os.stat_result) -> bool:
    """Whether the open file is the one that stands below `file.within` once all links are resolved."""
    real, bound = os.path.realpath(file.path), os.path.realpath(file.within)
    if real != bound and not real.startswith(bound.rstrip(os.sep) + os.sep):
        return False
    try:
        return os.path.samestat(opened, Path(real).lstat())  # else another file has just taken its place
    except OSError:
        return False
