"""Runs over a lake of objects, killed, and gone on with on the same machine and on another."""

from collections.abc import Iterator

import pytest

from millrace.flows.wiring.components import lake_path
from millrace.tasks.errors import LeaseHeld
from millrace.tasks.lake import Lake
from millrace.tasks.lake.storage import lease, object_lease
from tests.flows.site import ROOT, Site
from tests.simulator.settings import API_KEY
from tests.system.crashes import library
from tests.system.crashes.runs import Runs, assert_same_rows
from tests.system.servers.object_fixtures import CREDENTIALS, Bucket

STEPS = (
    "jobs: claimed",
    "part: cut",
    "vectors: append: journalled",
    "collection: upserted",
    "rejects: renamed",
    "manifest: renamed",
    "vectors: seal: renamed",
    "vectors: seal: indexed",
    "manifest: delta deleted",
    "jobs: settled",
)


@pytest.fixture(scope="module")
def object_runs() -> Iterator[Runs]:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "DASHSCOPE_API_KEY": API_KEY, **CREDENTIALS}
    with Runs(environment) as forking:
        yield forking


@pytest.fixture
def object_site(site: Site, bucket: Bucket) -> Site:
    site.overrides = (*site.overrides, *bucket.settings())
    return site


def assert_tidy(site: Site, bucket: Bucket) -> None:
    """No journal, no claim and no part that nobody needs is left, and all that is needed is whole."""
    assert list(bucket.local.rglob("*.arrows")) == []
    objects = bucket.objects()
    assert not [key for key in objects if key.startswith(("lease/", "documents/manifest.d/")) or ".damaged" in key]
    with Lake.open(lake_path(site.settings()), "documents", read_only=True) as lake:
        assert lake.chunks.dangling(lake.manifest.read()) == []
        assert [problem for part in lake.chunks.all() if (problem := lake.chunks.problem(part))] == []


def assert_rows_as_undisturbed(site: Site) -> None:
    elsewhere = (f"lake.path={site.folder / 'lake-2'}", f"milvus.uri={site.folder / 'milvus-2.db'}")
    assert site.ingest(*elsewhere).exit_code == 0
    assert_same_rows(site.rows(), site.rows(*elsewhere))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_runs_killed_at_one_step_after_the_other_converge(object_site: Site, bucket: Bucket, object_runs: Runs) -> None:
    library.write_first(object_site.corpus, 40)
    kills = 0
    for step in STEPS[:5]:
        kills += object_runs.try_ingest(object_site, step, 1).killed
    assert object_runs.ingest(object_site).exit_code == 0
    library.edit(object_site.corpus)
    (object_site.corpus / "a" / "002.md").unlink()
    for step in STEPS[5:]:
        kills += object_runs.try_ingest(object_site, step, 1).killed
    assert kills >= 8
    assert object_runs.ingest(object_site).exit_code == 0
    assert object_site.simulator.books.texts_bought_again <= 10 * 2 * kills
    assert object_runs.ingest(object_site).steps == []
    assert_tidy(object_site, bucket)
    assert_rows_as_undisturbed(object_site)


@pytest.mark.timeout(300)
def test_another_machine_goes_on_where_one_was_killed_and_buys_at_most_what_was_in_no_part(
    object_site: Site, bucket: Bucket, object_runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.write_first(object_site.corpus, 40)
    assert object_runs.ingest(object_site, "manifest: renamed", 2).killed
    (claim,) = [key for key in bucket.objects() if key.startswith("lease/")]
    embedded = object_site.simulator.books.texts_bought
    there = Site(object_site.folder, object_site.simulator, (*object_site.overrides, *bucket.settings("two")))
    for module in (lease, object_lease):
        monkeypatch.setattr(module, "process_namespace", lambda: "pid:[another machine]")
    with pytest.raises(LeaseHeld):
        there.ingest()
    assert (bucket.lake / claim).exists()
    monkeypatch.setattr(object_lease, "LAPSES_S", -1.0)
    assert there.ingest().exit_code == 0
    assert there.simulator.books.texts_bought_again <= embedded
    assert_rows_as_undisturbed(there)
