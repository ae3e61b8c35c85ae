"""Peak memory at ten times the corpus: the command's own process, and it with its reading processes.

Milvus Lite keeps its rows and its index in the process that uses it, so it grows with the collection whatever that
process does. Both are measured: the run as users of Lite have it, and the run with a stand-in for Milvus that only
acknowledges, which shows what millrace itself takes.
"""

import os
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.row import Row
from tests.benchmarks.throughput import SENTENCES, Address, simulator_process
from tests.flows.prose import english
from tests.flows.site import Site, json_of

FILES = int(os.environ.get("MILLRACE_BENCH_MEMORY_FILES", "300"))
TIMES = 10
_LOOK_EVERY_S = 0.02
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Peak:
    """Bytes: resident at most, of the command's process and of it with its children, theirs without shared pages."""

    main: int
    tree: int
    chunks: int


def measure() -> list[Row]:
    """Two rows: with a stand-in for Milvus, and with Milvus Lite."""
    return [
        _row("with a stand-in for Milvus", ["-m", "tests.benchmarks.without_milvus"], "<= 1.15"),
        _row("with Milvus Lite in the process", ["-m", "flows.cli"], ""),
    ]


def _row(name: str, entry: list[str], target: str) -> Row:
    small, large = _peak(FILES, entry), _peak(FILES * TIMES, entry)
    figure = (
        f"{large.main / small.main:.2f} ({small.main / 1e6:,.0f} -> {large.main / 1e6:,.0f} MB); with its readers "
        f"{large.tree / small.tree:.2f} ({small.tree / 1e6:,.0f} -> {large.tree / 1e6:,.0f} MB); "
        f"{small.chunks:,} -> {large.chunks:,} chunks"
    )
    return Row(f"peak memory, {TIMES} times {FILES:,} files, {name}", target, figure)


def _peak(files: int, entry: list[str]) -> Peak:
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder, simulator_process() as url:
        site = Site(Path(folder), Address(url))
        for number in range(files):
            site.write(f"{number:06d}.txt", english(SENTENCES, seed=number))
        command = site.command("ingest", str(site.corpus), "--json")
        command[1:3] = entry
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=site.process_environment()
        ) as run:
            watch = _Watch(run.pid)
            watch.start()
            out, err = run.communicate(timeout=900)
            watch.join()
        assert run.returncode == 0, err
        report = json_of(subprocess.CompletedProcess(command, 0, out, err))
    return Peak(watch.main, watch.tree, report["chunks"]["upserted"])


class _Watch(threading.Thread):
    """Looks at a process and its children until it is gone."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.main = self.tree = 0

    def run(self) -> None:
        while Path(f"/proc/{self._pid}").is_dir():
            main = _resident(self._pid)
            if not main:
                return
            self.main = max(self.main, main)
            self.tree = max(self.tree, main + sum(_resident(child, own=True) for child in _children(self._pid)))
            time.sleep(_LOOK_EVERY_S)


def _resident(pid: int, *, own: bool = False) -> int:
    """Bytes of a process that are in memory; `own`: without the pages that it shares with a file or another process."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return 0
    return (int(resident) - int(shared) * own) * _PAGE_BYTES


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
