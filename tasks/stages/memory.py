"""Memory of our processes: freed memory goes back to the system, and Arrow does not import pandas.

glibc gives each of eight times as many threads as there are cores an arena that it hardly trims. Which allocator Arrow
uses is chosen earlier, by `flows.cli.environment`.
"""

import ctypes
import sys
from typing import Any

_libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None

_OPTIONS = {-8: 2, -3: 1 << 17}
"""Of mallopt(3): M_ARENA_MAX, and M_MMAP_THRESHOLD, which otherwise grows to 32 MB and leaves answers in the arenas."""


def configure_allocator() -> None:
    """Set this process up. To be called before there are threads and Arrow arrays; repeating it is harmless."""
    if hasattr(_libc, "mallopt"):  # musl has none, and no arenas
        for option, value in _OPTIONS.items():
            _libc.mallopt(option, value)
    if "pandas" not in sys.modules:
        _hide_pandas_from_arrow()


def release_free_memory() -> None:
    """Return free memory to the system. Takes about a millisecond, so it can be done once a part."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)


def _hide_pandas_from_arrow() -> None:
    """Let Arrow find now, and for the whole process, that pandas is missing.

    The first array made of a list imports pandas where it is installed, in case the list is a series: 0.27 s and 37 MB
    a process. pymilvus brings pandas and imports it all the same, where it is imported itself.
    """
    import pyarrow as pa

    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """Finds that pandas is not installed, and nothing else."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)
