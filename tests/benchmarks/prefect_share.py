"""What it costs that a run is seen in Prefect: the same corpus with and without a Prefect API, in turn.

Both in this process, with a Prefect server of its own beside it on the same cores. The share is of the run's own time;
what Prefect takes after it, once a run (the page is drawn then), is told apart. Importing Prefect is in neither. The
CPU of a part is what runs of ten parts take more than runs of less than one; that of this process alone bounds what
Prefect costs where its server is elsewhere. The provider has no limits: under them a part takes 20 s, and the share is
less.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from millrace.flows.commands.ingest.run import ingest_here
from millrace.flows.ingest import ingest_under_prefect
from millrace.flows.monitoring.run_summary import RunSummary
from tests.benchmarks.row import Row
from tests.benchmarks.throughput import Address, simulator_process
from tests.flows.prose import english
from tests.flows.site import Site
from tests.simulator.settings import API_KEY

FILES, ROUNDS = 1_500, 8
_FEW_FILES, _ROUNDS_OF_FEW = 60, 6
_PART_UNDER_LIMITS_S = 20.0
"""1,000 chunks of 400 tokens at 20,000 tokens a second."""


@dataclass(frozen=True)
class Measured:
    """One run: its own seconds and those of the call, and the call's CPU, in this process and in the Prefect server."""

    report: RunSummary
    call_s: float
    cpu_s: float
    server_cpu_s: float

    @property
    def seconds(self) -> float:
        return self.report.seconds


def measure() -> list[Row]:
    """One row: runs in pairs, each first in every other pair; the medians of the pairs."""
    from prefect.testing.utilities import prefect_test_harness

    os.environ["DASHSCOPE_API_KEY"] = API_KEY
    with prefect_test_harness(server_startup_timeout=120), simulator_process() as url:
        _pairs(url, files=20, rounds=1)  # warms up and does not count
        small = _pairs(url, files=_FEW_FILES, rounds=_ROUNDS_OF_FEW)
        pairs = _pairs(url, files=FILES, rounds=ROUNDS)
    shares = [1 - plain.seconds / under.seconds for plain, under in pairs]
    chunks = pairs[-1][0].report.chunks.upserted

    def a_part(measure: Callable[[Measured], float]) -> float:
        more_chunks = chunks - small[-1][0].report.chunks.upserted
        return (_extra(pairs, measure) - _extra(small, measure)) * 1_000 / more_chunks

    extra_s = _extra(pairs, lambda run: run.seconds) * 1_000 / chunks
    drawn_s = _extra(small + pairs, lambda run: run.call_s - run.seconds)
    plain_s, under_s = (statistics.median(run.seconds for run in runs) for runs in zip(*pairs, strict=True))
    return [
        Row(
            f"Prefect's share, {chunks:,} chunks in parts of 1,000, its server on the same cores",
            "< 5 %",
            f"{statistics.median(shares):.1%} without limits ({', '.join(f'{share:.1%}' for share in shares)}); "
            f"{extra_s * 1000:,.0f} ms a part, {extra_s / _PART_UNDER_LIMITS_S:.1%} under the provider's limits; "
            f"{drawn_s:.1f} s after it, once a run; CPU a part: "
            f"{a_part(lambda run: run.cpu_s) * 1000:,.0f} ms more in this process, "
            f"{a_part(lambda run: run.server_cpu_s) * 1000:,.0f} ms in the server",
            f"{plain_s:.2f} s without Prefect, {under_s:.2f} s with it",
            f"{under_s / plain_s:.3f}",
        )
    ]


def _extra(pairs: list[tuple[Measured, Measured]], measure: Callable[[Measured], float]) -> float:
    """What a run takes more under Prefect: the median of the pairs."""
    return statistics.median(measure(under) - measure(plain) for plain, under in pairs)


def _pairs(url: str, *, files: int, rounds: int) -> list[tuple[Measured, Measured]]:
    pairs = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
            site = Site(Path(folder), Address(url))
            for file in range(files):
                site.write(f"{file:04d}.txt", english(110, seed=file + number * files))
            pairs.append(_pair(site, plain_first=number % 2 == 0))
    return pairs


def _pair(site: Site, *, plain_first: bool) -> tuple[Measured, Measured]:
    """The same corpus into two lakes: without Prefect, and under it."""
    other = [f"lake.path={site.folder}/lake-2", f"milvus.uri={site.folder}/milvus-2.db"]

    def plain() -> Measured:
        return _measured(lambda: ingest_here(site.settings(), [site.corpus], quiet=True))

    def under() -> Measured:
        return _measured(lambda: ingest_under_prefect(site.settings(*other), [site.corpus], quiet=True))

    if plain_first:
        first = plain()
        return first, under()
    second = under()
    return plain(), second


def _measured(run: Callable[[], RunSummary]) -> Measured:
    began_s, own_s, server_s = time.monotonic(), time.process_time(), _server_cpu_s()
    report = run()
    assert report.exit_code == 0
    return Measured(report, time.monotonic() - began_s, time.process_time() - own_s, _server_cpu_s() - server_s)


def _server_cpu_s() -> float:
    """Seconds of CPU that the Prefect server of this process has used."""
    ticks = 0
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                after_name = (process / "stat").read_text("utf-8").rpartition(")")[2].split()
                command = (process / "cmdline").read_bytes()
            except OSError:  # it has ended meanwhile
                continue
            if int(after_name[1]) == os.getpid() and b"prefect.server" in command:
                ticks += int(after_name[11]) + int(after_name[12])
    return ticks / os.sysconf("SC_CLK_TCK")
