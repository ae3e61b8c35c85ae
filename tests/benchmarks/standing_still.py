"""A re-run with nothing changed, and how soon the command answers and sends."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.row import Row
from tests.flows.prose import english
from tests.flows.site import ROOT

FILES = 10_000


def measure() -> list[Row]:
    """Rows for `--help` and for a re-run over 10,000 unchanged files, with provider `local`."""
    return [_help(), _rerun()]


def _help() -> Row:
    seconds = [_timed([sys.executable, "-m", "flows.cli", "--help"], ROOT) for _ in range(5)]
    return Row("`--help`", "<= 0.3 s", f"{statistics.median(seconds):.2f} s")


def _rerun() -> Row:
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        corpus = Path(folder) / "corpus"
        for number in range(FILES):
            path = corpus / f"{number // 100:03d}" / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(english(2, seed=number), encoding="utf-8")
        sets = ["--set", f"lake.path={folder}/lake", "--set", f"milvus.uri={folder}/milvus.db"]
        command = [sys.executable, "-m", "flows.cli", "ingest", str(corpus), "--json", *sets]
        _timed(command, ROOT)
        seconds = [_timed(command, ROOT) for _ in range(3)]
    return Row(
        "re-run, 10,000 files, nothing changed", "< 2 s", f"{statistics.median(seconds):.2f} s, start-up included"
    )


def _timed(command: list[str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=600)
    return time.perf_counter() - began
