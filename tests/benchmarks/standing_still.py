"""A re-run with nothing changed, and how soon the command answers and sends."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.row import Row
from tests.flows.prose import english
from tests.flows.site import ROOT

FILES = int(os.environ.get("MILLRACE_BENCH_FILES", "10000"))
ROUNDS = 3

_BARE_HELP = "import click; click.Command('bare').main(['--help'])"
_BARE_WALK = """
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        os.stat(os.path.join(folder, name))
"""


def measure() -> list[Row]:
    """Rows for `--help` and for a re-run over unchanged files, with provider `local`; medians, in turn with the bare way."""
    return [_help(), _rerun()]


def _help() -> Row:
    ours, bare = _in_turn(
        [sys.executable, "-m", "millrace.flows.cli.main", "--help"], [sys.executable, "-c", _BARE_HELP]
    )
    return Row("`--help`", "<= 0.3 s", _told(ours), f"{_told(bare)}, click alone", f"{ours[0] / bare[0]:.1f}")


def _rerun() -> Row:
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        corpus = Path(folder) / "corpus"
        for number in range(FILES):
            path = corpus / f"{number // 100:04d}" / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(english(2, seed=number), encoding="utf-8")
        sets = ["--set", f"lake.path={folder}/lake", "--set", f"milvus.uri={folder}/milvus.db"]
        command = [sys.executable, "-m", "millrace.flows.cli.main", "ingest", str(corpus), "--json", *sets]
        _timed(command, ROOT)  # into Milvus itself: the rows are counted at the end of each run
        ours, bare = _in_turn(command, [sys.executable, "-c", _BARE_WALK, str(corpus)])
    target = "< 2 s" if FILES == 10_000 else f"< {FILES / 10_000:g} s, 1 s per 10,000"
    return Row(
        f"re-run, {FILES:,} files, nothing changed",
        target,
        f"{_told(ours)}, start-up included",
        f"{_told(bare)}, walk and stat",
        f"{ours[0] / bare[0]:.1f}",
    )


def _in_turn(command: list[str], bare: list[str]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of each the medians of its seconds and of its seconds of CPU."""
    pairs = [(_timed(command, ROOT), _timed(bare, ROOT)) for _ in range(ROUNDS)]
    ours, theirs = ([pair[way] for pair in pairs] for way in (0, 1))
    return _medians(ours), _medians(theirs)


def _medians(timed: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(seconds for seconds, _ in timed), statistics.median(cpu for _, cpu in timed)


def _told(timed: tuple[float, float]) -> str:
    return f"{timed[0]:.2f} s ({timed[1]:.2f} s of CPU)"


def _timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds of the clock, and of CPU with its children, which other work on the machine changes less."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=1800)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
