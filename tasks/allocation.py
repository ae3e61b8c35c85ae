"""Memory that is freed goes back to the system, so that a run's peak is what it holds, not what it ever held.

Arrow's default allocator keeps what threads free that come and go, and glibc gives each of eight times as many threads
as there are cores an arena that is never trimmed: over 20,000 chunks the two keep 70 MB more than the run needs.
"""

import ctypes
import os
import sys
from typing import Any

import pyarrow as pa

_libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None

_OPTIONS = {-8: 2, -3: 1 << 20}
"""Of mallopt(3): M_ARENA_MAX, and M_MMAP_THRESHOLD, which otherwise grows to 32 MB and leaves arrays in the arenas."""


def give_memory_back() -> None:
    """Let this process keep little of what it frees. To be called before there are threads; repeating it is harmless.

    A choice of the user (`ARROW_DEFAULT_MEMORY_POOL`) stands.
    """
    if hasattr(_libc, "mallopt"):  # musl has none, and no arenas
        for option, value in _OPTIONS.items():
            _libc.mallopt(option, value)
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        pa.set_memory_pool(pa.system_memory_pool())


def trim() -> None:
    """Give back what lies free between things in use. Takes about a millisecond, so it can be done once a part."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
