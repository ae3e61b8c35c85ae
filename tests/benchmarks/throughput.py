"""Provider without limits or latency, plain text, Milvus Lite: chunks a second, beside a bare loop on the same files.

And beside two frameworks, each if its variable names the Python of an environment in which it is installed (see
`tests.benchmarks.frameworks`): `MILLRACE_BENCH_LLAMA_INDEX`, `MILLRACE_BENCH_LANGCHAIN`.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.frameworks import PACKAGES
from tests.benchmarks.row import Row
from tests.flows.prose import english
from tests.flows.site import ROOT, Site, json_of
from tests.simulator.server import Simulator

FILES, ROUNDS = 400, 3
SENTENCES = 110  # about 7.5 kB, 1,700 tokens


def measure() -> list[Row]:
    """A row for the bare loop and for each framework: `ROUNDS` times all of them in turn, against one simulator."""
    ours: list[float] = []
    others: dict[str, list[float]] = {name: [] for name in _others()}
    with simulator_process() as base_url:
        for number in range(ROUNDS):
            with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
                corpus = Path(folder) / "corpus"
                corpus.mkdir()
                for file in range(FILES):  # other texts in each round: the simulator remembers those it was asked for
                    text = english(SENTENCES, seed=number * FILES + file)
                    (corpus / f"{file:04d}.txt").write_text(text, encoding="utf-8")
                chunks, seconds = _millrace(Path(folder), base_url)
                ours.append(chunks / seconds)
                for name, rates in others.items():
                    rates.append(_beside(corpus, base_url, *_others()[name]))
    return [_row(name, ours, rates, chunks) for name, rates in others.items()]


def _others() -> dict[str, tuple[str, ...]]:
    """What is measured beside millrace: how it is run, by name."""
    variables = {name: f"MILLRACE_BENCH_{name.upper().replace('-', '_')}" for name in PACKAGES}
    return {"the bare loop": (sys.executable, "tests.benchmarks.bare")} | {
        name: (os.environ[variable], "tests.benchmarks.frameworks", name)
        for name, variable in variables.items()
        if variable in os.environ
    }


def _row(name: str, ours: list[float], theirs: list[float], chunks: int) -> Row:
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Row(
        f"no limits, plain text, Milvus Lite, {FILES} files ({chunks:,} chunks), start-up included",
        ">= 0.86 of the bare loop",
        f"{statistics.median(ours):,.0f} chunks/s",
        f"{name}: {statistics.median(theirs):,.0f} chunks/s",
        f"{statistics.median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})",
    )


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


def _millrace(folder: Path, base_url: str) -> tuple[int, float]:
    site = Site(folder, Address(base_url))
    began = time.perf_counter()
    done = site.run("ingest", str(site.corpus), "--json")
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    return int(json_of(done)["chunks"]["upserted"]), seconds


def _beside(corpus: Path, base_url: str, python: str, module: str, *name: str) -> float:
    """Chunks a second of another way over the same files, in an environment that nothing here has set."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        command = [python, "-m", module, *name, str(corpus), folder, base_url]
        environment = {"PATH": "/usr/bin:/bin", "HOME": folder, "PYTHONPATH": str(ROOT)}
        began = time.perf_counter()
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=environment, timeout=300
        )
        return int(done.stdout) / (time.perf_counter() - began)
