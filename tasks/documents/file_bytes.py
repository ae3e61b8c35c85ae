"""The bytes of one file."""

import os
import stat


def bytes_of(path: str) -> bytes:
    """All bytes of a regular file, whatever may have taken its place since it was listed.

    Raises:
        OSError: it cannot be read, or is no regular file any more.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no regular file any more")
        return opened.read()
