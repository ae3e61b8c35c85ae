"""A collection knows which lake fills it: another lake is refused, and rows that a lake does not know are kept."""

import shutil
from pathlib import Path

import pytest

from millrace.flows.commands.rebuild import rebuild
from millrace.flows.commands.verify.repair import repair
from millrace.flows.commands.verify.verify import verify
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.lake import Lake
from millrace.tasks.milvus import Collection, MilvusAddress
from tests.flows.prose import english
from tests.flows.site import Site


def collection_of(site: Site) -> Collection:
    settings = site.settings()
    return Collection.open(MilvusAddress(settings.milvus.uri), settings.milvus.collection, create=False)


def identity(lake: Path) -> str:
    return Lake.open(lake, "documents", read_only=True).identity


def other_lake(site: Site) -> str:
    return f"lake.path={site.lake}-2"


def fill(site: Site, names: str = "abc") -> None:
    for name in names:
        site.write(f"{name}.txt", english(20, seed=ord(name)))
    assert site.ingest().exit_code == 0


def other_corpus(site: Site) -> Path:
    folder = site.folder / "other"
    folder.mkdir(exist_ok=True)
    (folder / "x.txt").write_text(english(20, seed=99), encoding="utf-8")
    return folder


def test_a_collection_is_marked_by_the_lake_that_makes_it(site: Site) -> None:
    fill(site)
    with collection_of(site) as collection:
        assert collection.owners() == {identity(site.lake)}


def test_a_second_lake_is_refused_before_anything_is_paid_for_and_both_ways_on_are_named(site: Site) -> None:
    fill(site)
    before, sent = site.rows(), site.simulator.books.requests
    with pytest.raises(ConfigurationError, match=r"(?s)another lake.*--share.*--take-over") as refused:
        site.ingest(other_lake(site), sources=[other_corpus(site)])
    assert identity(site.lake) in str(refused.value)
    assert str(site.lake) + "-2" in str(refused.value)
    for command in (
        lambda: repair(site.settings(other_lake(site)), [other_corpus(site)], as_json=True),
        lambda: rebuild(site.settings(other_lake(site)), into="", drop=False, quiet=True),
    ):
        with pytest.raises(ConfigurationError):
            command()
    assert site.rows().keys() == before.keys()
    assert site.simulator.books.requests == sent


def test_lakes_that_share_a_collection_never_delete_each_others_rows(site: Site) -> None:
    fill(site)
    assert site.ingest(other_lake(site), "milvus.claim=share", sources=[other_corpus(site)]).exit_code == 0
    both = site.rows()
    assert len({row.metadata["source"] for row in both.values()}) == 4
    for lake, corpus in ((), site.corpus), ((other_lake(site),), other_corpus(site)):
        settings = site.settings(*lake, "sources.max_removed_share=1")
        looked = verify(settings, [corpus], as_json=True)
        assert looked.agree
        assert any("not of this lake" in note for note in looked.notes)
        repaired = repair(settings, [corpus], as_json=True)
        assert repaired.agree
        assert repaired.repaired is not None
        assert repaired.repaired.rows_deleted == 0
        assert rebuild(settings, into="", drop=False, quiet=True).deleted == 0
        with pytest.raises(ConfigurationError, match="not dropped"):
            rebuild(settings, into="", drop=True, quiet=True)
    assert site.rows().keys() == both.keys()


def test_a_shared_collection_still_loses_the_documents_that_its_own_lake_removes(site: Site) -> None:
    fill(site)
    site.ingest(other_lake(site), "milvus.claim=share", sources=[other_corpus(site)])
    (site.corpus / "a.txt").unlink()
    assert site.ingest("sources.max_removed_share=1").documents.removed == 1
    assert {Path(row.metadata["source"]).name for row in site.rows().values()} == {"b.txt", "c.txt", "x.txt"}


def test_an_empty_lake_beside_a_full_collection_stops_before_anything_is_bought(site: Site) -> None:
    fill(site)
    with collection_of(site) as collection:
        collection.mark_owners(())  # as an earlier version made it
    sent = site.simulator.books.requests
    shutil.rmtree(site.lake)  # not mounted, say
    with pytest.raises(ConfigurationError, match=r"(?s)knows none of them.*mounted.*--share.*--take-over"):
        site.ingest()
    assert site.simulator.books.requests == sent
    assert site.ingest("milvus.claim=take_over").exit_code == 0
    assert verify(site.settings(), [site.corpus], as_json=True).agree


def test_a_lake_that_was_lost_is_refused_by_its_own_collection_until_that_is_meant(site: Site) -> None:
    fill(site)
    shutil.rmtree(site.lake)
    with pytest.raises(ConfigurationError, match="another lake"):
        site.ingest()
    (site.corpus / "c.txt").unlink()
    taken_over = site.ingest("milvus.claim=take_over")
    assert taken_over.documents.added == 2
    assert "millrace verify --repair" in taken_over.error  # which deletes the rows of the lost lake
    assert verify(site.settings(), [site.corpus], as_json=True).counts["unowned_row"] > 0
    assert repair(site.settings("sources.max_removed_share=1"), [site.corpus], as_json=True).agree
    assert {Path(row.metadata["source"]).name for row in site.rows().values()} == {"a.txt", "b.txt"}


def test_a_collection_of_an_earlier_version_is_marked_by_the_lake_that_knows_all_of_its_rows(site: Site) -> None:
    fill(site)
    with collection_of(site) as collection:
        collection.mark_owners(())
    fill(site, "d")
    with collection_of(site) as collection:
        assert collection.owners() == {identity(site.lake)}


def test_rows_that_may_be_another_lakes_are_kept_in_a_collection_of_an_earlier_version(site: Site) -> None:
    fill(site)
    site.ingest(other_lake(site), "milvus.claim=share", sources=[other_corpus(site)])
    both = site.rows()
    with collection_of(site) as collection:
        collection.mark_owners(())
    repaired = repair(site.settings("sources.max_removed_share=1"), [site.corpus], as_json=True).repaired
    assert repaired is not None
    assert any("earlier version" in note for note in repaired.notes)
    assert site.rows().keys() == both.keys()
    repair(site.settings("sources.max_removed_share=1", "milvus.claim=take_over"), [site.corpus], as_json=True)
    assert {Path(row.metadata["source"]).name for row in site.rows().values()} == {"a.txt", "b.txt", "c.txt"}


def test_sharing_a_collection_of_an_earlier_version_deletes_nothing_of_the_lake_that_filled_it(site: Site) -> None:
    fill(site)
    with collection_of(site) as collection:
        collection.mark_owners(())
    shared = (other_lake(site), "milvus.claim=share", "sources.max_removed_share=1")
    assert site.ingest(*shared, sources=[other_corpus(site)]).exit_code == 0
    before = site.rows()
    for claim in ("share", "sole"):
        settings = site.settings(*shared, f"milvus.claim={claim}")
        repaired = repair(settings, [other_corpus(site)], as_json=True).repaired
        assert repaired is not None
        assert repaired.rows_deleted == 0
    assert site.rows().keys() == before.keys()


def test_a_collection_of_an_earlier_version_becomes_the_lakes_alone_once_it_knows_all_rows(site: Site) -> None:
    fill(site)
    site.ingest(other_lake(site), "milvus.claim=share", sources=[other_corpus(site)])
    with collection_of(site) as collection:
        collection.mark_owners(())
    fill(site, "d")
    with collection_of(site) as collection:
        assert collection.owners() == {identity(site.lake), "unknown"}
        known = {row.id for row in site.rows().values() if "other" not in row.metadata["source"]}
        collection.delete([row_id for ids in collection.ids() for row_id in ids if row_id not in known])
    fill(site, "e")
    with collection_of(site) as collection:
        assert collection.owners() == {identity(site.lake)}


def test_rows_that_a_restored_older_lake_does_not_know_are_told_and_repaired(site: Site) -> None:
    fill(site)
    shutil.copytree(site.lake, site.folder / "copy")
    fill(site, "d")
    shutil.rmtree(site.lake)
    (site.folder / "copy").rename(site.lake)
    (site.corpus / "d.txt").unlink()
    assert verify(site.settings(), [site.corpus], as_json=True).counts["unowned_row"] > 0
    assert repair(site.settings("sources.max_removed_share=1"), [site.corpus], as_json=True).agree


def test_the_command_exits_with_2_and_takes_the_flags(site: Site) -> None:
    fill(site)
    site.overrides = (other_lake(site),)
    assert site.run("ingest", str(other_corpus(site))).returncode == 2
    assert site.run("ingest", "--share", str(other_corpus(site))).returncode == 0
