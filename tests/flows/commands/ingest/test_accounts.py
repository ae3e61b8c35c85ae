"""What a run accounts for at its end: every row of the collection, and every file below the sources."""

import json
import os

import pytest

from millrace.flows.commands.verify.repair import repair
from millrace.flows.commands.verify.verify import verify
from millrace.flows.wiring.components import load_model
from millrace.flows.wiring.milvus import open_collection
from tests.flows.prose import english
from tests.flows.site import Site


@pytest.fixture
def local(site: Site) -> Site:
    """A site without a provider."""
    site.overrides = ("embedding.provider=local",)
    return site


@pytest.mark.parametrize("changed", [False, True])
def test_rows_that_were_taken_out_of_the_collection_are_missed_by_the_next_run(local: Site, *, changed: bool) -> None:
    local.write("a.md", english(60))
    local.write("b.md", english(20, seed=1))
    first = local.ingest()
    assert first.rows is not None
    assert first.rows.expected == first.rows.counted == first.chunks.upserted > 2
    with open_collection(local.settings(), load_model(local.settings()), create=False) as collection:
        collection.delete(next(iter(collection.ids()))[:2])
    if changed:
        local.write("c.md", "A third document.")
    report = local.ingest()
    assert (report.outcome, report.exit_code) == ("finished", 1)
    assert report.rows is not None
    assert report.rows.expected - report.rows.counted == 2
    assert f"2 of {report.rows.expected} rows are missing in the collection documents" in report.error
    assert "millrace verify --repair" in report.error
    repair(local.settings(), [local.corpus], as_json=True)
    assert local.ingest().exit_code == 0


def test_rows_that_no_document_owns_are_told_of(local: Site) -> None:
    local.write("a.md", english(20))
    local.ingest()
    with open_collection(local.settings(), load_model(local.settings()), create=False) as collection:
        stored = next(iter(collection.fetch(next(iter(collection.ids()))[:1], with_vectors=True)))
        collection._connection.client.upsert(
            "documents", [{"id": "f" * 64, "content": "no one's", "metadata": {}, "embedding": stored.vector}]
        )
    report = local.ingest()
    assert (report.outcome, report.exit_code) == ("finished", 1)
    assert "has 1 rows that no document of the lake owns" in report.error


def test_other_content_of_the_same_size_and_time_is_seen_by_the_change_time(local: Site) -> None:
    path = local.write("a.md", "The sluice is open.")
    local.write("b.md", "Another document.")
    local.ingest()
    times = path.stat()
    path.write_text("The sluice is shut.")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    (change,) = verify(local.settings(), [local.corpus], as_json=True).findings
    assert (change.kind, change.item) == ("changed_file", str(path))
    report = local.ingest()
    assert (report.documents.changed, report.documents.unchanged) == (1, 1)
    assert {row.content for row in local.rows().values()} == {"The sluice is shut.", "Another document."}


def test_files_whose_change_time_alone_is_new_are_not_read_again(local: Site) -> None:
    path = local.write("a.md", "The sluice is open.")
    local.ingest()
    path.chmod(0o600)
    report = local.ingest()
    assert (report.documents.unchanged, report.chunks.upserted) == (1, 0)


def test_files_without_a_reader_are_counted_and_nothing_else_is_no_success(local: Site) -> None:
    for name in ("a.dwg", "b.dwg", "c.vsd", "node_modules/x/readme.md"):
        local.write(name, b"PK\x03\x04")
    report = local.ingest()
    assert (report.exit_code, report.documents.seen, report.left_out.unsupported) == (3, 0, {".dwg": 2, ".vsd": 1})
    output = "\n".join(report.lines())
    assert "3 files that no reader takes (2 .dwg, 1 .vsd)" in output
    assert "1 of tools (node_modules/)" in output
    assert "no reader takes any of the files" in output
    local.write("a.md", "A document.")
    report = local.ingest()
    assert (report.exit_code, report.documents.added, report.left_out.total) == (0, 1, 4)
    as_json = json.loads(local.run("ingest", str(local.corpus), "--json").stdout)
    assert as_json["left_out"]["unsupported"] == {".dwg": 2, ".vsd": 1}
    assert as_json["rows"] == {"expected": 1, "counted": 1, "index": "FLAT"}


def test_a_file_named_on_the_command_line_that_no_reader_takes_is_a_reject(local: Site) -> None:
    path = local.write("a.dwg", b"PK\x03\x04" + bytes(100))
    report = local.ingest(sources=[path])
    assert report.exit_code == 3
    (reject,) = local.rejects()
    assert reject["source"] == str(path)


def test_a_folder_that_cannot_be_entered_is_a_reject_and_what_is_known_from_it_stays(local: Site) -> None:
    if os.geteuid() == 0:
        pytest.skip("root enters every folder")
    path = local.write("locked/a.md", "A document.")
    local.write("b.md", "Another document.")
    local.ingest()
    path.parent.chmod(0o600)
    try:
        report = local.ingest()
    finally:
        path.parent.chmod(0o700)
    assert (report.exit_code, report.documents.removed) == (3, 0)
    assert len(local.rows()) == 2


def test_bytes_are_compared_again_where_it_is_asked_for(local: Site) -> None:
    path = local.write("a.md", "The sluice is open.")
    local.ingest()
    assert local.run("ingest", str(local.corpus), "--reread", "*").returncode == 0
    done = local.run("ingest", "--reread", str(local.corpus), str(path))
    assert done.returncode == 2
    assert "is a file or folder, not a glob" in done.stderr
