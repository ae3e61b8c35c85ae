"""Milvus Lite's side: its engine runs in threads of this process and holds a path for itself until it is released."""

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from millrace.tasks.errors import CollectionError

_WRITE_BUFFER_BYTES = 32 << 20
"""Milvus Lite makes Python lists of the rows that it writes out, eight times their size, and an index of them in the
background: of 32 MB at a time instead of 128 MB, and while rows still come instead of at the end."""

_users: dict[Path, int] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def variables_set(**variables: str) -> Iterator[None]:
    """Environment variables that a library reads while it is imported; afterwards the environment is as before.

    A value that the user has set stands.
    """
    ours = variables.keys() - os.environ.keys()
    os.environ.update({name: variables[name] for name in ours})
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


@dataclass(frozen=True, slots=True)
class LitePath:
    """A path that this process holds open. `uri` is where its engine listens, on loopback."""

    path: Path
    uri: str

    def release(self) -> None:
        """Give the path free, once as many users have released it as acquired it."""
        from milvus_lite.server_manager import server_manager_instance

        with _lock:
            _users[self.path] -= 1
            if not _users[self.path]:
                del _users[self.path]
                # pymilvus keeps the engine, and with it the lock, until the process ends; others may want the path.
                server_manager_instance.release_server(str(self.path))


def acquire(path_text: str) -> LitePath:
    """The path, opened for this process; its folder must be there.

    Raises:
        CollectionError: milvus-lite is not installed; the folder is missing; the path is a file, cannot be written, or
            is open in another process.
    """
    # Normalised as milvus-lite does it, so that two spellings of one path count as one.
    path = Path(os.path.abspath(Path(path_text).expanduser()))  # noqa: PTH100
    if not path.parent.is_dir():
        message = f"Milvus Lite cannot open {path}: there is no folder {path.parent}; make it, or correct milvus.uri"
        raise CollectionError(message)
    if path.exists() and not path.is_dir():
        message = (
            f"Milvus Lite cannot open {path}: it is a file, and Milvus Lite 3 keeps its data in a folder; name another "
            f"path in milvus.uri (data of Milvus Lite 2 is not read)"
        )
        raise CollectionError(message)
    try:
        with variables_set(MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES=str(_WRITE_BUFFER_BYTES)):
            from milvus_lite.server_manager import server_manager_instance
    except ImportError as error:
        message = f"milvus.uri is the path {path}, but milvus-lite is not installed: install it, or name a server's URI"
        raise CollectionError(message) from error
    with _lock:
        cause = _StartFailure()
        logger = logging.getLogger("milvus_lite.server_manager")
        logger.addHandler(cause)
        level, propagate = logger.level, logger.propagate
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        try:
            uri = server_manager_instance.start_and_get_uri(str(path))
        finally:
            logger.removeHandler(cause)
            logger.setLevel(level)
            logger.propagate = propagate
        if uri is None:
            raise _refusal(path, cause.error) from cause.error
        _users[path] = _users.get(path, 0) + 1
        return LitePath(path, uri)


def may_hold(path_text: str, name: str) -> bool:
    """Whether the collection `name` may be at the path, without opening it, which takes about a second.

    Milvus Lite keeps a folder of this name for each collection. Where it looks otherwise, nothing is known: True.
    """
    path = Path(path_text).expanduser()
    folders = path / "collections"
    return (folders / name).is_dir() if folders.is_dir() else path.exists()


class _StartFailure(logging.Handler):
    """Keeps the exception that milvus-lite logs instead of raising it."""

    error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.error = record.exc_info[1]


def _refusal(path: Path, cause: BaseException | None) -> CollectionError:
    from milvus_lite.exceptions import DataDirLockedError

    if isinstance(cause, DataDirLockedError):
        message = (
            f"Milvus Lite cannot open {path}: another process has it open; end that process, or use a Milvus server"
        )
        return CollectionError(message)
    if isinstance(cause, OSError):
        return CollectionError(f"Milvus Lite cannot open {path}: {cause.strerror or cause}")
    return CollectionError(f"Milvus Lite cannot open {path}: {cause or 'it gives no reason'}")
