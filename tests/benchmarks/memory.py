"""Peak memory at ten times the corpus, and over one large file: all processes of the command together.

Counted as proportional set size: pages that several processes share are counted once. Milvus Lite keeps its rows and
builds its index in the process that uses it, so it grows with the collection whatever that process does. Both are
measured: the run as users of Lite have it, and the run with a stand-in for Milvus that only acknowledges, which shows
what millrace itself takes. `MILLRACE_BENCH_LARGE_MB=200` and `MILLRACE_BENCH_RECORDS=1000000` are the sizes of the
targets, which take minutes; the files are a tenth of that otherwise.
"""

import itertools
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.row import Row
from tests.benchmarks.throughput import SENTENCES, Address, simulator_process
from tests.flows.prose import english
from tests.flows.site import Site, json_of

FILES = int(os.environ.get("MILLRACE_BENCH_MEMORY_FILES", "300"))
LARGE_MB = int(os.environ.get("MILLRACE_BENCH_LARGE_MB", "20"))
RECORDS = int(os.environ.get("MILLRACE_BENCH_RECORDS", "100000"))
TIMES = 10
_LOOK_EVERY_S = 0.1
_WITHOUT_MILVUS = ("-m", "tests.benchmarks.without_milvus")


@dataclass(frozen=True)
class Peak:
    """Bytes at most, of the command's process and of it with its children; how long it took."""

    main: int
    tree: int
    chunks: int
    seconds: float


def measure() -> list[Row]:
    """Ten times the corpus, with a stand-in for Milvus and with Milvus Lite; then one large file of each kind."""
    return [
        _ten_times("with a stand-in for Milvus", _WITHOUT_MILVUS, "<= 1.15"),
        _ten_times("with Milvus Lite in the process", ("-m", "millrace.flows.cli.main"), ""),
        _large(f"one text file of {LARGE_MB} MB", "book.txt", _write_book),
        _large(f"one JSON Lines file of {RECORDS:,} records", "records.jsonl", _write_records),
    ]


def _ten_times(name: str, entry: tuple[str, ...], target: str) -> Row:
    small, large = _of_files(FILES, entry), _of_files(FILES * TIMES, entry)
    return Row(
        f"peak memory, {TIMES} times {FILES:,} files, {name}",
        target,
        f"{_mb(small.tree)} -> {_mb(large.tree)} of all processes; {_mb(small.main)} -> {_mb(large.main)} of the "
        f"command's own; {small.chunks:,} -> {large.chunks:,} chunks",
        ratio=f"{large.tree / small.tree:.2f}; {large.main / small.main:.2f}",
    )


def _of_files(files: int, entry: tuple[str, ...]) -> Peak:
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder, simulator_process() as url:
        site = Site(Path(folder), Address(url))
        for number in range(files):
            site.write(f"{number:06d}.txt", english(SENTENCES, seed=number))
        return _peak(site, entry)


def _large(name: str, file: str, write: Callable[[Path], None]) -> Row:
    """Provider `local`, and no Milvus."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        site = Site(Path(folder), Address(""), ("embedding.provider=local",))
        site.corpus.mkdir()
        write(site.corpus / file)
        peak = _peak(site, _WITHOUT_MILVUS)
    figure = f"{_mb(peak.tree)} of all processes, {peak.chunks:,} chunks in {peak.seconds:,.0f} s"
    return Row(f"peak memory, {name}", "<= 1,500 MB", figure)


def _write_book(path: Path) -> None:
    with path.open("w", encoding="utf-8") as book:
        for number in itertools.count():
            if book.tell() >= LARGE_MB * 1_000_000:
                return
            book.write(english(500, seed=number) + "\n")


def _write_records(path: Path) -> None:
    texts = [english(2, seed=number) for number in range(2_000)]
    with path.open("w", encoding="utf-8") as records:
        for number in range(RECORDS):
            records.write(json.dumps({"id": str(number), "text": f"{number} {texts[number % len(texts)]}"}) + "\n")


def _peak(site: Site, entry: tuple[str, ...]) -> Peak:
    command = site.command("ingest", str(site.corpus), "--json")
    command[1:3] = entry
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=site.process_environment()
    ) as run:
        watch = Watch(run.pid)
        watch.start()
        out, err = run.communicate(timeout=7200)
        watch.join()
    assert run.returncode == 0, err
    report = json_of(subprocess.CompletedProcess(command, 0, out, err))
    return Peak(watch.main, watch.tree, report["chunks"]["upserted"], time.perf_counter() - began)


class Watch(threading.Thread):
    """Looks at a process and its children until it is gone.

    What the system says of a child that has ended (`ru_maxrss`) includes what its parent had when it was started.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.main = self.tree = 0

    def run(self) -> None:
        while main := _proportional(self._pid):
            self.main = max(self.main, main)
            self.tree = max(self.tree, main + sum(_proportional(child) for child in _children(self._pid)))
            time.sleep(_LOOK_EVERY_S)


def _proportional(pid: int) -> int:
    """Bytes of a process that are in memory, its share of what others have too; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
