"""Reading on a Dask cluster: a scheduler and two workers in processes of their own, the lake in a bucket."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.flows.wiring.components import lake_path
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.lake import Lake
from tests.flows.prose import english
from tests.flows.site import ROOT, Site
from tests.system.crashes.processes import until
from tests.system.crashes.runs import assert_same_rows
from tests.system.servers.object_fixtures import CREDENTIALS, Bucket


class Cluster:
    """A Dask scheduler and two workers of one thread on loopback."""

    def __init__(self, folder: Path) -> None:
        self._environment = {**os.environ, **CREDENTIALS, "PYTHONPATH": str(ROOT)}
        self._folder = folder
        file = folder / "scheduler.json"
        self._scheduler = self._start("scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        until(lambda: file.exists() and file.read_text().endswith("}"), "the scheduler does not start")
        self.address = next(word for word in file.read_text().split('"') if word.startswith("tcp://"))
        self.workers = [self._start_worker(number) for number in range(2)]

    def stop(self) -> None:
        for process in (*self.workers, self._scheduler):
            process.kill()
            process.wait()

    def _start_worker(self, number: int) -> subprocess.Popen[bytes]:
        directory = str(self._folder / f"worker-{number}")
        return self._start(
            "worker", self.address, "--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", directory
        )

    def _start(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{what}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments, "--host", "127.0.0.1"],
                stdout=log, stderr=log, cwd=self._folder, env=self._environment,
            )  # fmt: skip


@pytest.fixture(scope="module")
def prefect_api() -> Iterator[str]:
    """The address of a temporary Prefect server."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield str(PREFECT_API_URL.value())


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "dask"
    folder.mkdir()
    started = Cluster(folder)
    try:
        from distributed import Client

        with Client(started.address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield started
    finally:
        started.stop()


@pytest.fixture
def spread(site: Site, bucket: Bucket, cluster: Cluster, prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site whose lake is in the bucket and whose documents are read on the cluster."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    site.overrides = (
        *bucket.settings(), "embedding.dimensions=64", f"documents.dask_scheduler={cluster.address}"
    )  # fmt: skip
    for number in range(120):
        site.write(f"{number:03d}.md", f"# Number {number}\n\n" + english(250, number))
    site.write("broken.md", b"\x00\x01 no text \xff")
    return site


def assert_rows_as_on_one_machine(site: Site) -> None:
    alone = (
        f"lake.path={site.folder / 'alone'}",
        f"milvus.uri={site.folder / 'alone.db'}",
        "documents.dask_scheduler=",
    )
    assert site.ingest(*alone).exit_code == 3
    assert_same_rows(site.rows(), site.rows(*alone))


def assert_nothing_is_left_over(site: Site, bucket: Bucket) -> None:
    assert not [key for key in bucket.objects() if "slips/" in key or key.startswith("lease/")]
    with Lake.open(lake_path(site.settings()), "documents", read_only=True) as lake:
        assert lake.chunks.dangling(lake.manifest.read()) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_rows_are_those_of_one_machine(spread: Site, bucket: Bucket) -> None:
    from millrace.flows.ingest import ingest_under_prefect

    report = ingest_under_prefect(spread.settings(), [spread.corpus], quiet=True)
    assert (report.exit_code, report.documents.added, report.documents.rejected) == (3, 120, 1)
    again = ingest_under_prefect(spread.settings(), [spread.corpus], quiet=True)
    assert (again.documents.unchanged, again.chunks.upserted) == (120, 0)
    assert spread.simulator.books.texts_bought_again == 0
    assert_nothing_is_left_over(spread, bucket)
    assert_rows_as_on_one_machine(spread)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_worker_that_is_killed_is_survived(spread: Site, bucket: Bucket, cluster: Cluster) -> None:
    from millrace.flows.ingest import ingest_under_prefect

    def kill_one_when_the_provider_is_asked() -> None:
        until(lambda: spread.simulator.books.answered > 0, "nothing is answered")
        cluster.workers[0].kill()

    killing = threading.Thread(target=kill_one_when_the_provider_is_asked)
    killing.start()
    report = ingest_under_prefect(spread.settings(), [spread.corpus], quiet=True)
    killing.join()
    assert (report.exit_code, report.documents.added) == (3, 120)
    assert spread.simulator.books.texts_bought_again == 0
    assert_nothing_is_left_over(spread, bucket)
    assert_rows_as_on_one_machine(spread)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_limits_of_the_account_hold_and_are_used_while_reading_is_spread(spread: Site) -> None:
    from millrace.flows.ingest import ingest_under_prefect

    limits = {"requests_per_second": 30, "tokens_per_second": 20_000, "growth_per_second": 10}
    spread.simulator.change({"limits": limits, "latency": {"fixed_s": 0.15, "jitter_s": 0.05}})
    of_the_account = ("limits.requests_per_second=30", "limits.tokens_per_second=20000")
    report = ingest_under_prefect(spread.settings(*of_the_account), [spread.corpus], quiet=True)
    books = spread.simulator.books
    assert (report.exit_code, report.documents.added) == (3, 120)
    assert sum(books.throttled.values()) <= 0.005 * books.requests
    assert books.tokens_billed / len(books.by_second) > 0.5 * 20_000
    assert books.texts_bought_again == 0


def test_without_a_prefect_server_that_all_reach_nothing_is_begun(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(ConfigurationError, match="set PREFECT_API_URL"):
        site.ingest("documents.dask_scheduler=tcp://127.0.0.1:8786")
