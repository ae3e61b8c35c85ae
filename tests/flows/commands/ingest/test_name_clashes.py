"""Files with the name of a record: one of the two is rejected, and no document is taken for another."""

import pytest

from tests.flows.site import Site


@pytest.fixture
def local(site: Site) -> Site:
    """A site without a provider."""
    site.overrides = ("embedding.provider=local",)
    return site


def names(site: Site) -> set[str]:
    """The documents in the collection, by their names below the corpus."""
    return {row.metadata["source"].removeprefix(f"{site.corpus}/") for row in site.rows().values()}


def clashes(site: Site) -> list[tuple[str, str, str]]:
    return [(r["source"].removeprefix(f"{site.corpus}/"), r["item"], r["reason"]) for r in site.rejects()]


def test_a_sibling_folder_whose_name_goes_on_with_a_hash_mark_is_another_folder(local: Site) -> None:
    local.write("C/a.md", "About rivers.")
    local.write("C#/b.md", "About sharp notes.")
    assert local.ingest().documents.added == 2
    report = local.ingest(sources=[local.corpus / "C"])
    assert (report.exit_code, report.documents.removed, report.documents.seen) == (0, 0, 1)
    assert names(local) == {"C/a.md", "C#/b.md"}


def test_of_a_file_and_a_record_of_one_name_the_file_is_taken_and_the_rest_is_in(local: Site) -> None:
    local.write("a.jsonl", '{"id": "x.txt", "text": "a record"}\n{"id": "y", "text": "another record"}\n')
    local.write("a.jsonl#x.txt", "a file")
    local.write("b.md", "beside them")
    report = local.ingest()
    assert (report.exit_code, report.documents.added, report.rejects) == (3, 3, 1)
    assert clashes(local) == [("a.jsonl", "record x.txt", "duplicate_id")]
    assert names(local) == {"a.jsonl#x.txt", "a.jsonl#y", "b.md"}
    assert local.ingest().chunks.upserted == 0


def test_a_record_that_is_in_keeps_its_name_from_a_file_that_comes_later(local: Site) -> None:
    local.write("a.jsonl", '{"id": "x.txt", "text": "a record"}\n{"id": "y", "text": "another record"}\n')
    assert local.ingest().exit_code == 0
    local.write("a.jsonl#x.txt", "a file")
    report = local.ingest()
    assert (report.exit_code, report.rejects, report.chunks.deleted) == (3, 1, 0)
    assert clashes(local) == [("a.jsonl#x.txt", "", "duplicate_id")]
    assert {row.content for row in local.rows().values()} == {"a record", "another record"}


def test_a_record_gets_its_name_back_when_the_file_that_had_it_goes(local: Site) -> None:
    local.write("a.jsonl", '{"id": "x.txt", "text": "a record"}\n{"id": "y", "text": "another record"}\n')
    path = local.write("a.jsonl#x.txt", "a file")
    assert local.ingest().exit_code == 3
    path.unlink()
    report = local.ingest("sources.max_removed_share=1")
    assert (report.exit_code, report.rejects, report.documents.removed) == (0, 0, 0)
    assert {row.content for row in local.rows().values()} == {"a record", "another record"}


def test_a_file_alone_does_not_overwrite_a_record_that_is_in_the_collection(local: Site) -> None:
    local.write("a.jsonl", '{"id": "x.txt", "text": "a record"}\n')
    assert local.ingest().exit_code == 0
    path = local.write("a.jsonl#x.txt", "a file")
    report = local.ingest(sources=[path])
    assert (report.exit_code, report.documents.removed) == (3, 0)
    assert clashes(local) == [("a.jsonl#x.txt", "", "duplicate_id")]
    assert {row.content for row in local.rows().values()} == {"a record"}


def test_records_of_two_files_cannot_have_one_name(local: Site) -> None:
    local.write("a.jsonl", '{"id": "b.jsonl#c", "text": "of the first file"}\n')
    local.write("a.jsonl#b.jsonl", '{"id": "c", "text": "of the second file"}\n')
    report = local.ingest()
    assert (report.exit_code, report.rejects) == (3, 1)
    assert {row.content for row in local.rows().values()} == {"of the second file"}
