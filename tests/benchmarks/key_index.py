"""The key index alone: time and bytes written a key, at 100,000 keys and more.

Random keys, 4,096 at a time as parts bring them, looked up 1,000 at a time. CPU, since the time of the disk is the
disk's. `MILLRACE_BENCH_KEYS=1000000` stops earlier than at ten million, which take half a minute and 240 MB of disk.
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from millrace.tasks.lake.vectors.key_index import KeyIndex, NewPart
from millrace.tasks.lake.vectors.schema import KeyBytes
from tests.benchmarks.row import Row

LARGEST = int(os.environ.get("MILLRACE_BENCH_KEYS", "10000000"))
PART, LOOKUP, LOOKUPS = 4_096, 1_000, 20


def measure() -> list[Row]:
    """One row: each figure at 100,000 keys, a million and ten million, and the ratio of the last to the first."""
    sizes = [size for size in (100_000, 1_000_000, 10_000_000) if size <= LARGEST]
    measured = [_measure(size) for size in sizes]
    add, written, there, absent = zip(*measured, strict=True)
    figures = (
        f"{_joined(add, 2)} us of CPU to add a key, {_joined(written, 0)} bytes written;"
        f" looked up in {_joined(there, 1)} us, in {_joined(absent, 1)} when it is not there"
    )
    ratio = f"{add[-1] / add[0]:.2f} of the time, {written[-1] / written[0]:.2f} of the bytes"
    name = f"key index at {' / '.join(f'{size:,}' for size in sizes)} random keys"
    return [Row(name, "<= 1.5 times those at 100,000", figures, "", ratio)]


def _joined(figures: tuple[float, ...], digits: int) -> str:
    return " / ".join(f"{figure:.{digits}f}" for figure in figures)


def _measure(size: int) -> tuple[float, float, float, float]:
    """Microseconds of CPU and bytes a key that is added, and microseconds a key that is and is not found."""
    random = np.random.default_rng(size)
    asked: list[KeyBytes] = []
    seconds = 0.0
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        index = KeyIndex.open(Path(folder), read_only=False)
        before = _written_bytes()
        for first in range(0, size, PART):
            keys = random.integers(0, 256, (min(PART, size - first), 32), dtype=np.uint8)
            if len(keys) > (every := size // (LOOKUP * LOOKUPS)):
                asked.append(keys[::every])
            began = time.process_time()
            index.add([NewPart(f"part-{first:08d}-00000000.parquet", 0, keys)])
            seconds += time.process_time() - began
        written = _written_bytes() - before
        some = random.permutation(np.concatenate(asked))[: LOOKUP * LOOKUPS]
        none = random.integers(0, 256, some.shape, dtype=np.uint8)
        there, absent = (_looked_up(index, keys) for keys in (some, none))
    return seconds / size * 1e6, written / size, there, absent


def _looked_up(index: KeyIndex, keys: KeyBytes) -> float:
    """Microseconds of CPU a key."""
    batches = [[key.tobytes() for key in keys[i : i + LOOKUP]] for i in range(0, len(keys), LOOKUP)]
    index.locate(batches[0])  # what is kept in memory is read
    began = time.process_time()
    for batch in batches:
        index.locate(batch)
    return (time.process_time() - began) / len(keys) * 1e6


def _written_bytes() -> int:
    """What this process has handed to the system to write so far; 0 where it does not say."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return int(dict(line.split(": ") for line in lines)["wchar"])
