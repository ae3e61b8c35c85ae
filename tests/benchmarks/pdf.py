"""A PDF book of 2,000 pages: pages a second by each engine on all cores, beside a bare loop of one; and peak memory.

`MILLRACE_BENCH_PDF` names another file to measure with, `MILLRACE_BENCH_PDF_PAGES` makes the book longer or shorter.
Times hold the start of the processes; seconds of CPU are told beside them, since other work on the machine changes
those less.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.row import Row
from tests.flows.site import ROOT
from tests.tasks.documents.pdf_files import book

PAGES = int(os.environ.get("MILLRACE_BENCH_PDF_PAGES", "2000"))
FILE = os.environ.get("MILLRACE_BENCH_PDF", "")
MEMORY_TARGET_MB = 1_500
_LOOK_EVERY_S = 0.1

_BARE = {
    "pypdf": "import pypdf, sys; print(len([page.extract_text() for page in pypdf.PdfReader(sys.argv[1]).pages]))",
    "pdfium": "import pypdfium2, sys; file = pypdfium2.PdfDocument(sys.argv[1])\n"
    "print(len([file[n].get_textpage().get_text_range() for n in range(len(file))]))",
}


@dataclass(frozen=True)
class Done:
    """A command that has run: what it printed, and its seconds, of the clock and of CPU with its children."""

    out: str
    seconds: float
    cpu_s: float


def measure() -> list[Row]:
    """A row for each engine, and one for memory."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        path = Path(FILE) if FILE else Path(folder) / "book.pdf"
        if not FILE:
            path.write_bytes(book(PAGES).to_bytes())
        bare = {engine: _timed([sys.executable, "-c", script, str(path)]) for engine, script in _BARE.items()}
        pages = int(bare["pypdf"].out)
        rows = [_row(engine, path, pages, bare) for engine in _BARE]
        return [*rows, *(_memory(engine, path, pages, Path(folder)) for engine in _BARE)]


def _row(engine: str, path: Path, pages: int, bare: dict[str, Done]) -> Row:
    ours = _timed(_millrace("plan", path, engine, path.parent / "no-lake"))
    beside = bare[engine]
    figure = (
        f"{pages / ours.seconds:,.0f} pages/s ({ours.seconds:.1f} s, {ours.cpu_s:.1f} s of CPU), "
        f"{beside.seconds / ours.seconds:.2f} of the bare loop"
    )
    if engine != "pypdf":
        figure += f", {bare['pypdf'].seconds / ours.seconds:.1f} of the bare loop of pypdf"
    output = f"{pages / beside.seconds:,.0f} pages/s ({beside.seconds:.1f} s, {beside.cpu_s:.1f} s of CPU, one process)"
    return Row(f"`plan` of one PDF of {pages:,} pages, {engine}, {os.cpu_count()} cores", "", figure, output)


def _memory(engine: str, path: Path, pages: int, folder: Path) -> Row:
    run = subprocess.Popen(
        _millrace("ingest", path, engine, folder / engine), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    peak = 0
    while run.poll() is None:
        peak = max(peak, sum(map(_proportional_bytes, _tree(run.pid))))
        time.sleep(_LOOK_EVERY_S)
    assert run.stdout is not None
    report = json.loads(run.stdout.read())
    assert report["documents"]["added"] == 1, report
    name = f"peak memory, `ingest` of one PDF of {pages:,} pages, {engine}, all processes"
    return Row(name, f"<= {MEMORY_TARGET_MB:,} MB", f"{peak / 1e6:,.0f} MB ({report['chunks']['total']:,} chunks)")


def _millrace(command: str, path: Path, engine: str, folder: Path) -> list[str]:
    sets = [f"documents.pdf_engine={engine}", f"lake.path={folder}/lake", f"milvus.uri={folder}/milvus.db"]
    if command == "ingest":
        folder.mkdir()
    return [
        *(sys.executable, "-m", "millrace.flows.cli.main", command, str(path), "--json"),
        *(word for one in sets for word in ("--set", one)),
    ]


def _timed(command: list[str]) -> Done:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=1_800)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Done(done.stdout, seconds, cpu_s)


def _tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(below for child in children for below in _tree(child))]


def _proportional_bytes(pid: int) -> int:
    """What the process has in memory; of what it shares with others, its share."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
