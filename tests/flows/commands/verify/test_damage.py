"""Damaged, deleted and locked files: one clear message, nothing made worse, the rest usable, `--repair` heals."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from millrace.flows.commands.search.search import search
from millrace.flows.commands.status import lake_status
from millrace.flows.commands.verify.repair import repair
from millrace.flows.commands.verify.verify import verify
from millrace.tasks.errors import CollectionError, LakeError
from millrace.tasks.records import MANIFEST_SCHEMA
from tests.flows.commands.verify.test_verify import assert_same, fill, found
from tests.flows.prose import chinese, english
from tests.flows.site import Row, Site
from tests.tasks.lake.test_disk import needs_mount

Harm = Callable[[Path], object]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def corrupt(path: Path, at: int = 100) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + 40] = bytes(b ^ 0xFF for b in data[at : at + 40])
    path.write_bytes(data)


def the_file(site: Site, pattern: str) -> Path:
    (path,) = site.lake.glob(pattern)
    return path


def untouched(site: Site) -> dict[Path, bytes]:
    """Every file of the lake that a stopped run has no reason to change: all but what tells of the run itself."""
    output = {"runs", "timelines", "index"}
    retained = (path for path in site.lake.rglob("*") if path.is_file() and path.name not in {"lease", "jobs.json"})
    return {path: path.read_bytes() for path in retained if output.isdisjoint(path.parts)}


@pytest.mark.parametrize("harm", [truncate, corrupt, Path.unlink])
def test_a_damaged_chunk_part_is_read_again_from_the_sources(site: Site, harm: Harm) -> None:
    before = fill(site, documents=4, sentences=10)
    part = min(site.lake.glob("documents/chunks/part-*.parquet"))
    harm(part)
    assert site.ingest().exit_code == 0  # nothing has changed, so nobody needs the part
    assert lake_status(site.settings()).documents == 12
    report = verify(site.settings(), [site.corpus], as_json=True)
    assert found(report, "damaged_file") == {str(part)}
    assert report.counts.total() == 1
    assert "verify --repair" in report.findings[0].detail
    site.write("0.md", "# Changed\n\n" + english(3, seed=50))
    stopped = site.ingest()
    assert stopped.exit_code == 1
    assert str(part) in stopped.error
    assert_same(site.rows(), before)
    site.write("0.md", "# Number 0\n\n" + english(10, seed=0))
    sent = site.simulator.books.requests
    assert repair(site.settings(), [site.corpus], as_json=True).agree
    assert_same(site.rows(), before)
    assert site.simulator.books.requests == sent
    assert site.ingest().exit_code == 0


def test_a_damaged_part_whose_files_are_gone_costs_no_row(site: Site) -> None:
    site.write("keep/a.txt", english(10))
    site.ingest()
    site.write("gone.txt", english(12, seed=2))
    site.ingest()
    before = site.rows()
    corrupt(max(site.lake.glob("documents/chunks/part-*.parquet")))
    (site.corpus / "gone.txt").unlink()
    for _ in range(2):
        report = repair(site.settings("sources.max_removed_share=1"), [], as_json=True)
        assert report.counts == {"gone_file": 1, "unowned_row": 1}
        assert_same(site.rows(), before)
    assert site.ingest("sources.max_removed_share=1").exit_code == 1  # it counts the row that nobody owns
    assert repair(site.settings("sources.max_removed_share=1"), [site.corpus], as_json=True).agree
    assert len(site.rows()) == len(before) - 1
    assert site.ingest("sources.max_removed_share=1").exit_code == 0


def test_only_the_lost_texts_of_a_damaged_vector_part_are_bought(site: Site) -> None:
    site.write("first.txt", "".join(chinese(300, seed=seed) for seed in range(40)))
    site.write("other.md", english(300))
    site.ingest()
    before = site.rows()
    assert len(before) > 512  # so that there are three row groups
    part = the_file(site, "vectors/*/part-*.parquet")
    start = pq.ParquetFile(part).metadata.row_group(1).column(1).data_page_offset
    corrupt(part, start + 100)
    lost = 256
    books = site.simulator.books
    embedded = books.texts_bought

    report = verify(site.settings(), [site.corpus], as_json=True)
    assert report.counts == {"damaged_file": 1, "lacking_vector": lost}
    assert site.ingest().exit_code == 0
    assert search("the miller", settings=site.settings()).hits
    asked = books.texts_bought - embedded  # the query
    report = repair(site.settings(), [site.corpus], as_json=True)
    assert report.agree
    assert report.repaired is not None
    assert (report.repaired.vectors_saved, report.repaired.texts_embedded) == (len(before) - lost, lost)
    assert books.texts_bought == embedded + asked + lost
    assert_same(site.rows(), before)
    assert part.with_name(part.name + ".damaged").exists()


def test_damage_of_the_manifest_that_a_comparison_does_not_meet_stops_the_run_before_anything_is_bought(
    site: Site,
) -> None:
    fill(site, documents=1, sentences=10)
    manifest = site.lake / "documents" / "manifest.parquet"
    column = pq.read_metadata(manifest).row_group(0).column(MANIFEST_SCHEMA.get_field_index("document_hash"))
    corrupt(manifest, column.dictionary_page_offset + 80)
    sent = site.simulator.books.requests
    assert site.ingest().exit_code == 0  # nothing has changed, so nobody needs the column
    site.write("0.md", english(10, seed=5))
    stopped = site.ingest()
    assert (stopped.exit_code, site.simulator.books.requests) == (1, sent)
    assert str(manifest) in stopped.error


@pytest.mark.parametrize("harm", [truncate, corrupt])
def test_a_damaged_manifest_is_made_again_from_the_sources(site: Site, harm: Harm) -> None:
    before = fill(site, documents=4, sentences=10)
    manifest = site.lake / "documents" / "manifest.parquet"
    harm(manifest)
    lake = untouched(site)
    stopped = site.ingest()
    assert stopped.exit_code == 1
    assert str(manifest) in stopped.error
    status = lake_status(site.settings())
    assert str(manifest) in status.problems[0]
    assert status.runs
    searched = search("the miller", settings=site.settings())
    assert searched.hits
    if harm is truncate:  # otherwise the columns that a search reads are whole
        assert str(manifest) in searched.notes[0]
    report = verify(site.settings(), [site.corpus], as_json=True)
    assert found(report, "damaged_file") == {str(manifest)}
    with pytest.raises(LakeError, match="verify --repair SOURCE"):
        repair(site.settings(), [], as_json=True)
    assert untouched(site) == lake
    sent = site.simulator.books.requests
    assert repair(site.settings(), [site.corpus], as_json=True).agree
    assert_same(site.rows(), before)
    assert site.simulator.books.requests == sent


def test_a_damaged_delta_of_the_manifest_is_made_again_from_the_sources(site: Site) -> None:
    """Until it is folded, it alone knows the present version of the document that changed."""
    for number in range(41):
        site.write(f"{number:02d}.txt", english(1, seed=number))
    site.ingest()
    site.write("07.txt", english(2, seed=70))
    assert site.ingest().exit_code == 0
    before = site.rows()
    delta = the_file(site, "documents/manifest.d/*.parquet")
    corrupt(delta)
    stopped = site.ingest()
    assert (stopped.exit_code, str(delta) in stopped.error) == (1, True)
    sent = site.simulator.books.requests
    assert found(verify(site.settings(), [site.corpus], as_json=True), "damaged_file") == {str(delta)}
    assert repair(site.settings(), [site.corpus], as_json=True).agree
    assert_same(site.rows(), before)
    assert site.ingest().exit_code == 0
    assert site.simulator.books.requests == sent


def test_a_damaged_list_of_rejects_is_found_again(site: Site) -> None:
    site.write("a.txt", english(10))
    site.write("empty.txt", b"")
    site.ingest()
    rejects = site.rejects()
    path = site.lake / "documents" / "rejects" / "rejects.parquet"
    corrupt(path, 8)
    site.write("b.txt", english(10, seed=1))
    sent = site.simulator.books.requests
    stopped = site.ingest()
    assert stopped.exit_code == 1
    assert str(path) in stopped.error
    assert site.simulator.books.requests == sent
    status = lake_status(site.settings())
    assert (status.documents, str(path) in status.problems[0]) == (1, True)
    assert verify(site.settings(), [], as_json=True).counts == {"damaged_file": 1}
    assert repair(site.settings(), [], as_json=True).agree
    assert [(r["source"], r["reason"]) for r in site.rejects()] == [(r["source"], r["reason"]) for r in rejects]
    assert site.ingest().documents.added == 1


def test_a_deleted_collection_is_told_by_every_command_and_nothing_is_made_in_its_place(site: Site) -> None:
    before = fill(site, documents=3, sentences=5)
    path = site.folder / "milvus.db"
    shutil.rmtree(path)
    sent = site.simulator.books.requests
    unchanged = site.ingest()
    site.write("new.txt", english(5, seed=9))
    changed = site.ingest()
    for report in (unchanged, changed):
        assert report.exit_code == 1
        assert "millrace rebuild" in report.error
        assert str(path) in report.error
    with pytest.raises(CollectionError, match="millrace rebuild"):
        search("the miller", settings=site.settings())
    assert not path.exists()
    assert site.simulator.books.requests == sent
    assert lake_status(site.settings()).chunks == len(before)


def test_a_lake_of_a_newer_version_is_named_and_searches_go_on(site: Site) -> None:
    fill(site, documents=1, sentences=3)
    (site.lake / "format.json").write_text('{"format": 2}')
    lake = untouched(site)
    for act in (
        site.ingest,
        lambda: lake_status(site.settings()),
        lambda: verify(site.settings(), [], as_json=True),
        lambda: repair(site.settings(), [], as_json=True),
    ):
        with pytest.raises(LakeError, match="newer version"):
            act()
    found_rows = search("the miller", settings=site.settings())
    assert found_rows.hits
    assert "newer version" in found_rows.notes[0]
    assert untouched(site) == lake


def test_a_torn_journal_is_told_and_costs_only_what_was_torn(site: Site) -> None:
    rows = fill(site, documents=3, sentences=10)
    part = the_file(site, "vectors/*/part-*.parquet")
    stem = part.name.removeprefix("part-").removesuffix(".parquet")
    journal = part.with_name(f"journal-{stem}.arrows")
    write_journal(part, journal)
    part.unlink()
    truncate(journal)
    report = verify(site.settings(), [site.corpus], as_json=True)
    assert any("torn" in note for note in report.notes)
    lost = report.counts["lacking_vector"]
    assert report.counts == {"lacking_vector": lost}
    assert 0 < lost <= 10
    embedded = site.simulator.books.texts_bought
    assert repair(site.settings(), [site.corpus], as_json=True).agree
    assert site.simulator.books.texts_bought == embedded + lost
    assert_same(site.rows(), rows)


def write_journal(part: Path, journal: Path) -> None:
    """The rows of the part as the journal that it was made from, ten to a batch."""
    from millrace.tasks.lake.vectors.journal import JournalFile

    table = pq.read_table(part).combine_chunks()
    table = table.replace_schema_metadata(None)
    written = JournalFile(journal, table.schema)
    for batch in table.to_batches(max_chunksize=10):
        written.append(batch)
    written.sync()
    written.close()


@needs_mount
def test_a_read_only_lake_refuses_ingest_and_answers_the_rest(site: Site) -> None:
    fill(site, documents=1, sentences=3)
    site.write("new.txt", english(3, seed=9))

    def locked(*arguments: str) -> subprocess.CompletedProcess[str]:
        mount = f'mount --bind {site.lake} {site.lake} && mount -o remount,bind,ro {site.lake} && exec "$@"'
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", mount, "sh", *site.command(*arguments)],
            capture_output=True, text=True, timeout=60, env=site.process_environment(), check=False,
        )  # fmt: skip

    refused = locked("ingest", str(site.corpus))
    assert refused.returncode == 1
    assert str(site.lake) in refused.stderr
    assert "Read-only file system" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert locked("status").returncode == 0
    verified = locked("verify")
    assert verified.returncode == 0, verified.stderr
    assert "all agree" in verified.stdout


def test_every_row_stays_when_everything_but_the_vectors_is_lost(site: Site) -> None:
    before: dict[str, Row] = fill(site, documents=3, sentences=10)
    shutil.rmtree(site.lake / "documents")
    shutil.rmtree(site.folder / "milvus.db")
    sent = site.simulator.books.requests
    assert site.ingest().exit_code == 0
    assert_same(site.rows(), before)
    assert site.simulator.books.requests == sent


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
@pytest.mark.parametrize("folder", ["vectors", "documents/chunks", "documents/manifest.parquet"])
def test_a_file_that_may_not_be_read_is_told_and_never_taken_for_damaged(site: Site, folder: str) -> None:
    fill(site, documents=2, sentences=5)
    files = [site.lake / folder] if folder.endswith(".parquet") else sorted((site.lake / folder).rglob("*.parquet"))
    before = sorted(path.relative_to(site.lake) for path in site.lake.rglob("*") if path.suffix != ".json")
    sent = site.simulator.books.requests
    for path in files:
        path.chmod(0)
    without_override = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*without_override, *site.command("verify", "--repair", str(site.corpus))],
        capture_output=True, text=True, timeout=100, env=site.process_environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.relative_to(site.lake) for path in site.lake.rglob("*") if path.suffix != ".json") == before
    assert site.simulator.books.requests == sent
