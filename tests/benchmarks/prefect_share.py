"""What it costs that a run is seen in Prefect: the same corpus with and without a Prefect API, in turn.

Both in this process, with a Prefect server of its own beside it; the time is that of the run, so starting Prefect is
not in it. Parts have 1,000 chunks. The provider has no limits: under them a part takes 20 s, and the share is less.
"""

import os
import statistics
import tempfile
from pathlib import Path

from flows.ingest import ingest_under_prefect
from flows.report import RunReport
from flows.runner import ingest_here
from tests.benchmarks.row import Row
from tests.benchmarks.throughput import Address, simulator_process
from tests.flows.prose import english
from tests.flows.site import Site
from tests.simulator.settings import API_KEY

FILES, ROUNDS = 500, 3
_PART_UNDER_LIMITS_S = 20.0
"""1,000 chunks of 400 tokens at 20,000 tokens a second."""


def measure() -> list[Row]:
    """One row: runs in pairs, the medians."""
    from prefect.testing.utilities import prefect_test_harness

    os.environ["DASHSCOPE_API_KEY"] = API_KEY
    plain, under = [], []
    with prefect_test_harness(server_startup_timeout=120), simulator_process() as url:
        for number in range(ROUNDS + 1):  # the first pair warms up and does not count
            with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
                site = Site(Path(folder), Address(url))
                for file in range(FILES if number else 20):
                    site.write(f"{file:04d}.txt", english(110, seed=file + number * FILES))
                plain.append(ingest_here(site.settings(), [site.corpus], quiet=True))
                other = [f"lake.path={folder}/lake-2", f"milvus.uri={folder}/milvus-2.db"]
                under.append(ingest_under_prefect(site.settings(*other), [site.corpus], quiet=True))
    assert all(report.exit_code == 0 for report in [*plain, *under])
    plain_s, under_s = _median_s(plain[1:]), _median_s(under[1:])
    chunks = plain[-1].chunks.upserted
    extra_s = (under_s - plain_s) * 1_000 / chunks
    return [
        Row(
            f"Prefect's share, {chunks:,} chunks in parts of 1,000",
            "< 5 %",
            f"{1 - plain_s / under_s:.1%} without limits ({extra_s * 1000:,.0f} ms a part); "
            f"{extra_s / _PART_UNDER_LIMITS_S:.1%} under the provider's limits",
            f"{plain_s:.2f} s without Prefect, {under_s:.2f} s with it",
            f"{under_s / plain_s:.3f}",
        )
    ]


def _median_s(reports: list[RunReport]) -> float:
    return statistics.median(report.seconds for report in reports)
