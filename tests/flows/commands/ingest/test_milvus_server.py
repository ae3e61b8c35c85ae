"""A Milvus server in the place of Milvus Lite: the same rows, also when it is killed and started again in mid-run."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.flows.commands.ingest.pipeline import Execution
from millrace.flows.commands.ingest.run import ingest_here
from millrace.flows.commands.rebuild import rebuild
from millrace.flows.commands.verify.verify import verify
from millrace.flows.wiring import components, milvus
from millrace.tasks.errors import ConfigurationError
from tests.flows.commands.verify.test_verify import assert_same
from tests.flows.prose import chinese, english
from tests.flows.site import ROOT, Site
from tests.system.servers.milvus_server import MilvusServer

pytestmark = pytest.mark.server

SAMPLE = ROOT / "data" / "sample"


@pytest.fixture
def site(site: Site) -> Site:
    """A site with the local provider, whose rows are in Milvus Lite."""
    site.overrides = ("embedding.provider=local", "embedding.base_url=")
    return site


@pytest.fixture
def on_server(site: Site, server_uri: str) -> Iterator[tuple[str, ...]]:
    """Settings for another lake and a collection on a server, which is dropped afterwards."""
    overrides = (f"milvus.uri={server_uri}", f"milvus.collection=test_{uuid.uuid4().hex}", f"lake.path={site.lake}-2")
    yield overrides
    milvus.drop_collection(site.settings(*overrides))


def write_corpus(corpus: Path) -> None:
    for number in range(60):
        text = english(60, seed=number) if number % 2 else chinese(40, seed=number)
        (corpus / f"{number:03d}.txt").write_text(text, encoding="utf-8")


@pytest.mark.timeout(300)
def test_the_same_corpus_is_the_same_rows_in_lite_and_on_a_server(site: Site, on_server: tuple[str, ...]) -> None:
    assert site.ingest(sources=[SAMPLE]).exit_code == 0
    assert site.ingest(*on_server, sources=[SAMPLE]).exit_code == 0
    lite, server = site.rows(), site.rows(*on_server)
    assert any("的" in row.content for row in lite.values())
    assert_same(server, lite)
    assert verify(site.settings(*on_server), [SAMPLE], as_json=True).exit_code == 0
    again = site.ingest(*on_server, sources=[SAMPLE])
    assert (again.chunks.upserted, again.documents.unchanged) == (0, again.documents.seen)


@pytest.mark.timeout(300)
def test_a_collection_that_is_gone_from_a_server_is_told_also_when_nothing_is_to_be_done(
    site: Site, on_server: tuple[str, ...]
) -> None:
    site.write("a.txt", english(20))
    assert site.ingest(*on_server).exit_code == 0
    settings = site.settings(*on_server)
    with milvus.open_collection(settings, components.load_model(settings), create=False) as collection:
        collection.delete([row_id for ids in collection.ids() for row_id in ids])
    assert "there is no row in collection" in site.ingest(*on_server).error
    milvus.drop_collection(settings)
    gone = site.ingest(*on_server)
    assert gone.exit_code == 1
    assert "there is no collection" in gone.error


@pytest.mark.timeout(300)
def test_a_rebuild_moves_a_lite_collection_to_a_server(site: Site, on_server: tuple[str, ...]) -> None:
    site.ingest(sources=[SAMPLE])
    lite = site.rows()
    moved = (on_server[0],)
    try:
        report = rebuild(site.settings(*moved), into="", drop=False, quiet=True)
        assert (report.exit_code, report.upserted) == (0, len(lite))
        assert_same(site.rows(*moved), lite)
        assert site.ingest(*moved, sources=[SAMPLE]).chunks.upserted == 0
    finally:
        milvus.drop_collection(site.settings(*moved))


@pytest.mark.timeout(400)
def test_a_server_killed_and_started_again_in_mid_run_costs_nothing_but_time(
    site: Site, on_server: tuple[str, ...], milvus_server: MilvusServer
) -> None:
    write_corpus(site.corpus)
    small = "chunking.max_tokens=32"  # so that there are several calls
    assert site.ingest(small).chunks.upserted > 2_000
    upserts = 0

    def kill_once(step: str) -> None:
        nonlocal upserts
        upserts += step == "collection: upserted"
        if step == "collection: upserted" and upserts == 2:
            milvus_server.kill()
            milvus_server.start()  # answers at once, and is not ready for a long while

    report = ingest_here(
        site.settings(small, *on_server), [site.corpus], quiet=True, execution=Execution(checkpoint=kill_once)
    )
    assert (report.exit_code, report.error) == (0, "")
    assert upserts > 2
    milvus_server.wait_until_ready()
    assert_same(site.rows(*on_server), site.rows())
    assert verify(site.settings(small, *on_server), [site.corpus], as_json=True).exit_code == 0


@pytest.mark.timeout(300)
def test_a_second_lake_is_refused_on_a_server_too_unless_it_shares_the_collection(
    site: Site, on_server: tuple[str, ...]
) -> None:
    site.write("a.txt", english(20))
    assert site.ingest(*on_server).exit_code == 0
    before = site.rows(*on_server)
    other = (*on_server, f"lake.path={site.lake}-3")
    second = site.write("other/b.txt", chinese(20))
    with pytest.raises(ConfigurationError, match="another lake"):
        site.ingest(*other, sources=[second])
    assert site.rows(*on_server).keys() == before.keys()
    assert site.ingest(*other, "milvus.claim=share", sources=[second]).exit_code == 0
    second.unlink()
    assert site.ingest(*on_server, "milvus.claim=sole").exit_code == 0
    assert len(site.rows(*on_server)) > len(before)
