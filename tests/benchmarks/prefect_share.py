"""What it costs that a run is seen in Prefect: the same corpus with and without a Prefect API, in turn.

Both in this process, with a Prefect server of its own beside it on the same cores. The share is of the run's own time;
what Prefect takes before and after it, once a run (the page is drawn then), is told apart. Importing Prefect is in
neither. Parts have 1,000 chunks. The provider has no limits: under them a part takes 20 s, and the share is less. The CPU
is that of the whole call; that of this process alone bounds what Prefect costs where its server is elsewhere.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flows.ingest import ingest_under_prefect
from flows.report import RunReport
from flows.runner import ingest_here
from tests.benchmarks.row import Row
from tests.benchmarks.throughput import Address, simulator_process
from tests.flows.prose import english
from tests.flows.site import Site
from tests.simulator.settings import API_KEY

FILES, ROUNDS = 500, 8
_PART_UNDER_LIMITS_S = 20.0
"""1,000 chunks of 400 tokens at 20,000 tokens a second."""


@dataclass(frozen=True)
class Measured:
    """One run: its own seconds and those of the call, and the call's CPU, in this process and in the Prefect server."""

    report: RunReport
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
    pairs: list[tuple[Measured, Measured]] = []
    with prefect_test_harness(server_startup_timeout=120), simulator_process() as url:
        for number in range(ROUNDS + 1):  # the first pair warms up and does not count
            with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
                site = Site(Path(folder), Address(url))
                for file in range(FILES if number else 20):
                    site.write(f"{file:04d}.txt", english(110, seed=file + number * FILES))
                pairs.append(_pair(site, plain_first=number % 2 == 0))
    del pairs[0]
    shares = [1 - plain.seconds / under.seconds for plain, under in pairs]
    chunks = pairs[-1][0].report.chunks.upserted

    def a_part(extra_s: Callable[[Measured, Measured], float]) -> float:
        return statistics.median(extra_s(*pair) * 1_000 / pair[0].report.chunks.upserted for pair in pairs)

    extra_s = a_part(lambda plain, under: under.seconds - plain.seconds)
    own_s = a_part(lambda plain, under: under.cpu_s - plain.cpu_s)
    server_s = a_part(lambda plain, under: under.server_cpu_s - plain.server_cpu_s)
    once_s = statistics.median(
        (under.call_s - under.seconds) - (plain.call_s - plain.seconds) for plain, under in pairs
    )
    plain_s, under_s = (statistics.median(run.seconds for run in runs) for runs in zip(*pairs, strict=True))
    return [
        Row(
            f"Prefect's share, {chunks:,} chunks in parts of 1,000, its server on the same cores",
            "< 5 %",
            f"{statistics.median(shares):.1%} without limits ({', '.join(f'{share:.1%}' for share in shares)}), "
            f"{extra_s * 1000:,.0f} ms a part; {extra_s / _PART_UNDER_LIMITS_S:.1%} under the provider's limits; "
            f"{once_s:.1f} s once a run; CPU a part: {own_s * 1000:,.0f} ms more in this process, {server_s * 1000:,.0f} ms in the server",
            f"{plain_s:.2f} s without Prefect, {under_s:.2f} s with it",
            f"{under_s / plain_s:.3f}",
        )
    ]


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


def _measured(run: Callable[[], RunReport]) -> Measured:
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
