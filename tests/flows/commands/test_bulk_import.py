"""A collection that a server imports from files: the same rows as by upserts, to be seen when they are all there."""

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.flows.commands.rebuild import rebuild
from millrace.flows.commands.switch import switch
from millrace.flows.wiring import milvus
from millrace.tasks.milvus import Aliases, Collection, MilvusAddress
from millrace.tasks.milvus.bulk_import import SUFFIX
from tests.flows.commands.verify.test_verify import assert_same
from tests.flows.site import ROOT, Site

SAMPLE = ROOT / "data" / "sample"

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def site(site: Site) -> Site:
    """A site with the local provider and the sample corpus in Milvus Lite."""
    site.overrides = ("embedding.provider=local", "embedding.base_url=", "milvus.bulk_rows=1")
    (site.folder / "bulk").mkdir()
    return site


@pytest.fixture
def moved(site: Site, server_uri: str) -> Iterator[tuple[str, ...]]:
    """Settings for a server and a name of one's own there."""
    name = f"test_{uuid.uuid4().hex}"
    site.overrides += (f"milvus.collection={name}",)
    yield (f"milvus.uri={server_uri}", f"milvus.bulk_path={site.folder / 'bulk'}")
    for one in (name, f"{name}{SUFFIX}", f"{name}_2"):
        milvus.drop_collection(site.settings(f"milvus.uri={server_uri}", f"milvus.collection={one}"))


def files_below(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))


@pytest.mark.server
def test_an_imported_collection_has_the_rows_of_the_lake_and_shows_all_of_them_or_none(
    site: Site, moved: tuple[str, ...]
) -> None:
    site.ingest(sources=[SAMPLE])
    lite, settings = site.rows(), site.settings(*moved)
    name, seen, stop = settings.milvus.collection, [], threading.Event()

    def watch(aliases: Aliases) -> None:
        client = aliases._connection.client
        while not stop.wait(0.05):
            if client.has_collection(name):
                seen.append(client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"])

    with milvus.open_aliases(settings) as aliases:
        watcher = threading.Thread(target=watch, args=(aliases,))
        watcher.start()
        report = rebuild(settings, into="", drop=False, quiet=True)
        stop.set()
        watcher.join()
        assert not aliases.exists(f"{name}{SUFFIX}")
    assert (report.exit_code, report.imported, report.upserted, report.notes) == (0, len(lite), 0, [])
    assert set(seen) <= {len(lite)}
    assert_same(site.rows(*moved), lite)
    assert files_below(site.folder / "bulk") == []
    again = site.ingest(*moved, sources=[SAMPLE])
    assert (again.chunks.upserted, again.documents.unchanged) == (0, again.documents.seen)


@pytest.mark.server
def test_an_imported_row_is_replaced_and_deleted_as_any_other(site: Site, moved: tuple[str, ...]) -> None:
    for number in range(3):
        site.write(f"{number}.txt", f"Lock number {number} is repaired in the year {1900 + number}.")
    site.ingest()
    assert rebuild(site.settings(*moved), into="", drop=False, quiet=True).imported == 3
    site.write("0.txt", "Lock number 0 was filled up.")
    (site.corpus / "1.txt").unlink()
    site.ingest(*moved, "sources.max_removed_share=1")
    assert sorted(row.content for row in site.rows(*moved).values()) == [
        "Lock number 0 was filled up.", "Lock number 2 is repaired in the year 1902.",
    ]  # fmt: skip


@pytest.mark.server
def test_where_there_can_be_no_import_rows_are_upserted_and_the_reason_told(site: Site, moved: tuple[str, ...]) -> None:
    site.ingest(sources=[SAMPLE])
    rows, settings = len(site.rows()), site.settings(*moved)

    def reason(*more: str, drop: bool = True) -> str:
        report = rebuild(site.settings(*moved, *more), into="", drop=drop, quiet=True)
        assert (report.exit_code, report.imported, report.upserted) == (0, 0, rows)
        assert files_below(site.folder / "bulk") == []
        return report.notes[0]

    assert "names no folder" in reason("milvus.bulk_path=")
    assert "there is no folder" in reason("milvus.bulk_path=/nowhere")
    assert "milvus.scalar_fields are not imported" in reason("milvus.scalar_fields=page_start:int64")
    plain = "milvus.scalar_fields="  # else those that the collection was just given are gone on with
    assert "failed" in reason("milvus.bulk_server_path=/nowhere/on/the/server", plain)
    with milvus.open_aliases(settings) as aliases:
        assert not aliases.exists(f"{settings.milvus.collection}{SUFFIX}")
    assert "has a collection" in reason(drop=False)
    assert rebuild(site.settings(*moved, "milvus.bulk_rows=1000"), into="", drop=False, quiet=True).notes == []


@pytest.mark.server
def test_what_a_killed_import_left_is_dropped_and_a_switch_imports_too(site: Site, moved: tuple[str, ...]) -> None:
    site.ingest(sources=[SAMPLE])
    alias = f"milvus.alias=live_{uuid.uuid4().hex}"
    settings = site.settings(*moved, alias)
    name = settings.milvus.collection
    with Collection.open(MilvusAddress(settings.milvus.uri), f"{name}{SUFFIX}"):
        pass
    assert rebuild(settings, into="", drop=False, quiet=True).imported == len(site.rows())
    first = switch(settings, source="", sample=20, move=True, quiet=True)
    assert first.moved
    second = site.settings(*moved, alias, f"milvus.collection={name}_2", "milvus.metric=IP")
    report = switch(second, source="", sample=20, move=True, quiet=True)
    assert (report.moved, report.built, report.notes) == (True, len(site.rows()), [])


def test_milvus_lite_has_no_import(site: Site) -> None:
    site.write("a.txt", "The sluice is opened at dawn.")
    site.ingest()
    report = rebuild(site.settings(f"milvus.bulk_path={site.folder / 'bulk'}"), into="", drop=True, quiet=True)
    assert (report.exit_code, report.upserted, len(report.notes)) == (0, 1, 1)
    assert "Milvus Lite has no import" in report.notes[0]
