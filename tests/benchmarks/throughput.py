"""Provider without limits or latency, Milvus Lite: seconds for a corpus, beside a bare loop on the same files.

And beside two frameworks, each if its variable names the Python of an environment in which it is installed (see
`tests.benchmarks.frameworks`): `MILLRACE_BENCH_LLAMA_INDEX`, `MILLRACE_BENCH_LANGCHAIN`. `MILLRACE_BENCH_CORPUS` names a
folder of text files to take in place of generated prose, `MILLRACE_BENCH_SET` settings of millrace ("chunking.sections=pack").

The work is the corpus: who cuts smaller chunks has more of them a second, and no file sooner. So rows are told beside
the time. Each is a whole command in a process that has imported nothing.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.frameworks import PACKAGES
from tests.benchmarks.row import Row
from tests.flows.prose import english
from tests.flows.site import ROOT, Site
from tests.simulator.server import Simulator

BARE = "the bare loop"
FILES, ROUNDS = 400, 3
SENTENCES = 110  # about 7.5 kB, 1,700 tokens


@dataclass(frozen=True)
class Done:
    """A whole command: the rows it made, and its seconds, of the clock and of CPU with its children."""

    rows: int
    seconds: float
    cpu_s: float


def measure() -> list[Row]:
    """A row for the bare loop and for each framework: `ROUNDS` times all of them in turn over the same files."""
    ours: list[Done] = []
    others: dict[str, list[Done]] = {name: [] for name in _others()}
    for number in range(ROUNDS):
        with simulator_process() as base_url, tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
            corpus = Path(folder) / "corpus"
            files, size_bytes = _fill(corpus, seed=number * FILES)
            ours.append(_millrace(Path(folder), base_url))
            for name, done in others.items():
                done.append(_beside(corpus, base_url, *_others()[name]))
    return [_row(name, ours, done, f"{files} files, {size_bytes / 1e6:.1f} MB") for name, done in others.items()]


def _fill(corpus: Path, *, seed: int) -> tuple[int, int]:
    """Files in the folder `corpus`: those that the environment names, or prose; their number and bytes."""
    if given := os.environ.get("MILLRACE_BENCH_CORPUS"):
        shutil.copytree(given, corpus)
    else:
        corpus.mkdir()
        for file in range(FILES):
            (corpus / f"{file:04d}.txt").write_text(english(SENTENCES, seed=seed + file), encoding="utf-8")
    files = list(corpus.iterdir())
    return len(files), sum(file.stat().st_size for file in files)


def _others() -> dict[str, tuple[str, ...]]:
    """What is measured beside millrace: how it is run, by name."""
    variables = {name: f"MILLRACE_BENCH_{name.upper().replace('-', '_')}" for name in PACKAGES}
    return {BARE: (sys.executable, "tests.benchmarks.bare")} | {
        name: (os.environ[variable], "tests.benchmarks.frameworks", name)
        for name, variable in variables.items()
        if variable in os.environ
    }


def _row(name: str, ours: list[Done], theirs: list[Done], corpus: str) -> Row:
    ratios = [other.seconds / mine.seconds for mine, other in zip(ours, theirs, strict=True)]
    times_the_rows = ours[-1].rows / theirs[-1].rows
    target = "no slower, <= 1.25 times the rows" if name == BARE else ">= 3 times as fast"
    return Row(
        f"no limits, Milvus Lite, {corpus}, whole commands in turn",
        target,
        _said(ours),
        f"{name}: {_said(theirs)}",
        f"{statistics.median(ratios):.2f} times as fast ({', '.join(f'{ratio:.2f}' for ratio in ratios)}), "
        f"{times_the_rows:.2f} times the rows",
    )


def _said(done: list[Done]) -> str:
    seconds, cpu_s = (statistics.median(values) for values in zip(*((d.seconds, d.cpu_s) for d in done), strict=True))
    return f"{seconds:.1f} s, {cpu_s:.1f} s of CPU, {done[-1].rows:,} rows"


@contextmanager
def simulator_process() -> Iterator[str]:
    """The base URL of a simulator without limits or latency, in a process of its own."""
    command = [sys.executable, "-m", "tests.simulator", "--max-seconds", "1800"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as provider:
        assert provider.stdout is not None
        try:
            yield provider.stdout.readline().strip()
        finally:
            provider.terminate()


class Address(Simulator):
    """Stands for a simulator in another process: a site asks it only where it is."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    @property
    def base_url(self) -> str:
        return self._base_url


def _millrace(folder: Path, base_url: str) -> Done:
    site = Site(folder, Address(base_url), tuple(os.environ.get("MILLRACE_BENCH_SET", "").split()))
    printed, seconds, cpu_s = _timed(site.command("ingest", str(site.corpus), "--json"), site.process_environment())
    return Done(int(json.loads(printed)["chunks"]["upserted"]), seconds, cpu_s)


def _beside(corpus: Path, base_url: str, python: str, module: str, *name: str) -> Done:
    """Another way over the same files, in an environment that nothing here has set."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        environment = {"PATH": "/usr/bin:/bin", "HOME": folder, "PYTHONPATH": str(ROOT)}
        printed, *spent = _timed([python, "-m", module, *name, str(corpus), folder, base_url], environment)
        return Done(int(printed), *spent)


def _timed(command: list[str], environment: Mapping[str, str]) -> tuple[str, float, float]:
    """What the command prints, and its seconds, of the clock and of CPU with the children that it waited for."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=dict(environment), timeout=300
    )
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
