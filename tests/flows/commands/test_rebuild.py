"""`rebuild` makes the collection again from the lake, bit by bit, without one request."""

import shutil

import pytest

from millrace.flows.commands.rebuild import rebuild
from millrace.flows.commands.verify.verify import verify
from millrace.tasks.errors import CollectionError, ConfigurationError, LakeError
from millrace.tasks.lake import Lake
from millrace.tasks.milvus import Collection, MilvusAddress
from tests.flows.commands.verify.test_verify import assert_same, changed, fill, opened, put
from tests.flows.prose import chinese, english
from tests.flows.site import Row, Site, json_of


def test_a_deleted_collection_comes_back_bit_by_bit_without_one_request(site: Site) -> None:
    before = fill(site, documents=8, sentences=40)
    sent = site.simulator.books.requests
    shutil.rmtree(site.folder / "milvus.db")
    # The command, without a key: nothing is asked of the provider.
    done = site.run("rebuild", "--json", DASHSCOPE_API_KEY="")
    assert done.returncode == 0, done.stderr
    assert json_of(done)["upserted"] == len(before)
    assert_same(site.rows(), before)
    assert site.simulator.books.requests == sent
    assert site.ingest().documents.unchanged == 24
    runs = Lake.open(site.lake, "documents", read_only=True).runs.newest()
    assert [(run.command, run.exit) for run in runs] == [("ingest", 0), ("rebuild", 0), ("ingest", 0)]


def test_into_another_collection_and_server_and_on_after_an_interruption(site: Site) -> None:
    before = fill(site, documents=4, sentences=10)
    elsewhere = site.settings(f"milvus.uri={site.folder / 'other.db'}")
    assert rebuild(elsewhere, into="copy", drop=False, quiet=True).exit_code == 0
    assert_same(site.rows(f"milvus.uri={site.folder / 'other.db'}", "milvus.collection=copy"), before)
    with Collection.open(MilvusAddress(elsewhere.milvus.uri), "copy") as copy:  # half of it is in, as after a kill
        copy.delete(list(before)[::2])
    assert rebuild(elsewhere, into="copy", drop=False, quiet=True).exit_code == 0
    assert rebuild(elsewhere, into="", drop=False, quiet=True).exit_code == 0
    assert_same(site.rows(f"milvus.uri={site.folder / 'other.db'}"), before)


def test_what_is_not_of_this_lake_is_never_written_over(site: Site) -> None:
    before = fill(site, documents=2, sentences=5)
    row = next(iter(before.values()))
    with Collection.open(MilvusAddress(site.settings().milvus.uri), "foreign") as foreign:
        put(foreign, [changed(row, id="0" * 64)])
        with pytest.raises(CollectionError, match="1 rows that are not of this lake"):
            rebuild(site.settings(), into="foreign", drop=False, quiet=True)
        assert foreign.count() == 1
    with pytest.raises(ConfigurationError, match="--drop"):
        rebuild(site.settings(), into="foreign", drop=True, quiet=True)
    Lake.open(site.lake, "another").close()
    with pytest.raises(ConfigurationError, match="collection of this lake itself"):
        rebuild(site.settings(), into="another", drop=False, quiet=True)
    with pytest.raises(ConfigurationError, match="knows no row"):
        rebuild(site.settings("milvus.collection=another"), into="", drop=False, quiet=True)


def test_every_document_is_found_while_its_collection_is_made_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fill(site, documents=6, sentences=20)
    orphan = changed(next(iter(before.values())), id="0" * 64)
    with opened(site) as collection:
        put(collection, [orphan, *(changed(row, content="altered") for row in list(before.values())[:5])])
    counts: list[int] = []
    upsert, delete = Collection.upsert, Collection.delete

    def watched(collection: Collection, *arguments: object) -> object:
        counts.append(len(collection.present(list(before))))
        assert collection.present([orphan.id])  # it goes last
        result = (upsert if len(arguments) == 2 else delete)(collection, *arguments)  # type: ignore[arg-type]
        counts.append(len(collection.present(list(before))))
        return result

    monkeypatch.setattr(Collection, "upsert", watched)
    monkeypatch.setattr(Collection, "delete", watched)
    report = rebuild(site.settings(), into="", drop=False, quiet=True)
    monkeypatch.undo()
    assert (report.upserted, report.deleted, report.exit_code) == (len(before), 1, 0)
    assert set(counts) == {len(before)}
    assert_same(site.rows(), before)


def test_dropping_gives_the_collection_the_shape_of_the_settings(site: Site) -> None:
    before = fill(site, documents=2, sentences=5)
    settings = site.settings("milvus.content_max_bytes=4096")
    with pytest.raises(CollectionError, match="another shape"):
        rebuild(settings, into="", drop=False, quiet=True)
    assert rebuild(settings, into="", drop=True, quiet=True).upserted == len(before)
    with pytest.raises(CollectionError, match=r"expected VARCHAR\(8192\), found VARCHAR\(4096\)"):
        opened(site)
    for part in site.lake.glob("vectors/*/part-*.parquet"):
        part.unlink()
    with pytest.raises(LakeError, match="not dropped"):
        rebuild(settings, into="", drop=True, quiet=True)


def test_what_the_lake_lacks_is_named_and_the_rest_goes_in(site: Site) -> None:
    site.write("lost.txt", english(5))
    site.ingest()
    (part,) = site.lake.glob("vectors/*/part-*.parquet")
    site.write("kept.txt", chinese(30, seed=1))
    site.ingest()
    part.unlink()
    rows: dict[str, Row] = site.rows()
    shutil.rmtree(site.folder / "milvus.db")
    sent = site.simulator.books.requests
    report = rebuild(site.settings(), into="", drop=False, quiet=True)
    assert report.exit_code == 3
    assert [one["source"].rpartition("/")[2] for one in report.missing] == ["lost.txt"]
    assert_same(site.rows(), {row.id: row for row in rows.values() if "kept" in str(row.metadata["source"])})
    assert site.simulator.books.requests == sent
    assert verify(site.settings(), [], as_json=True).counts == {"missing_row": 1, "lacking_vector": 1}
