import multiprocessing
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millrace.tasks.errors import LakeError, LeaseHeld
from millrace.tasks.lake import Lake, RunRecord, acquire_lease, new_run_id
from millrace.tasks.records import CHUNK_SCHEMA
from tests.tasks.lake.conftest import ROOT
from tests.tasks.lake.numbered import Texts

HOLDER = """
import signal, sys
from pathlib import Path
from millrace.tasks.lake import Lake
lake = Lake.open(Path(sys.argv[1]), sys.argv[2])
print(flush=True)
signal.pause()
"""


def holder(path: Path, collection: str = "docs") -> subprocess.Popen[str]:
    """A process that has the lake open for writing."""
    command = [sys.executable, "-c", HOLDER, str(path), collection]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert child.stdout is not None
    child.stdout.readline()
    return child


@pytest.mark.parametrize("collection", ["docs", "other"])
def test_a_second_writer_of_the_lake_is_told_who_has_it_and_a_dead_one_has_not(collection: str, tmp_path: Path) -> None:
    with holder(tmp_path, "docs") as child:
        with pytest.raises(LeaseHeld, match=rf"{tmp_path} is being written by process {child.pid} on \S+ since 20"):
            Lake.open(tmp_path, collection)
        Lake.open(tmp_path, "docs", read_only=True).close()
        child.send_signal(signal.SIGKILL)
    Lake.open(tmp_path, collection).close()


def test_a_process_refuses_itself_too_until_it_releases(tmp_path: Path) -> None:
    lease = acquire_lease(tmp_path / "lease", "The collection docs")
    with pytest.raises(LeaseHeld, match=f"The collection docs is being written by process {os.getpid()}"):
        acquire_lease(tmp_path / "lease", "The collection docs")
    lease.release()
    acquire_lease(tmp_path / "lease", "The collection docs").release()


def test_a_forked_worker_that_outlives_its_parent_does_not_keep_the_lease(tmp_path: Path) -> None:
    lease = acquire_lease(tmp_path / "lease", "The lake")
    fork = multiprocessing.get_context("fork")
    started, stop = fork.Event(), fork.Event()

    def wait() -> None:
        started.set()
        stop.wait(60)

    worker = fork.Process(target=wait)
    worker.start()
    try:
        assert started.wait(60)
        with pytest.raises(LeaseHeld):
            acquire_lease(tmp_path / "lease", "The lake")
        lease.release()
        acquire_lease(tmp_path / "lease", "The lake").release()
    finally:
        stop.set()
        worker.join()


def test_a_lake_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "format.json").write_text('{"format": 2, "reason": "unknown"}')
    for read_only in (True, False):
        with pytest.raises(LakeError, match=r"newer version \(format 2; this one knows up to 1\)"):
            Lake.open(tmp_path, "docs", read_only=read_only)
    assert [path.name for path in tmp_path.iterdir()] == ["format.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"format": "1"}', "{}"])
def test_a_damaged_format_file_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "format.json").write_text(content)
    with pytest.raises(LakeError, match=r"format\.json is damaged"):
        Lake.open(tmp_path, "docs")


@pytest.mark.parametrize("name", ["", "..", "a/b", "vectors", "-x", ".hidden", "文档", "x" * 201])
def test_a_collection_name_that_cannot_be_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="cannot be a folder of the lake"):
        Lake.open(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lake"
    path.write_text("mine")
    with pytest.raises(LakeError, match=f"{path} is a file"):
        Lake.open(path, "docs")
    with pytest.raises(LakeError, match="Something else has that name"):
        Lake.open(path / "below", "docs")


def test_a_lake_that_is_not_there_reads_as_empty_and_is_not_made(tmp_path: Path, texts: Texts) -> None:
    with Lake.open(tmp_path / "lake", "docs", read_only=True) as lake:
        assert lake.manifest.read().num_rows == lake.rejects.outstanding().num_rows == 0
        assert [*lake.chunks.all(), *lake.runs.newest(), *lake.spaces()] == []
        with lake.vectors(texts.space) as store:
            assert store.missing(texts.keys([1])) == [0]
    assert list(tmp_path.iterdir()) == []


def test_job_numbers_are_given_once_even_if_their_run_was_killed(tmp_path: Path) -> None:
    """A reading process may outlive its killed run and still write the parts of its job."""
    killed = Lake.open(tmp_path, "docs")
    assert [killed.next_job(), killed.next_job(500), killed.next_job()] == [1, 2, 502]
    killed._lease.release()  # type: ignore[union-attr]
    with Lake.open(tmp_path, "docs") as lake:
        first = lake.next_job()
        assert first > 502
        lake.chunks.write(first + 70, 0, CHUNK_SCHEMA.empty_table())
    with Lake.open(tmp_path, "docs") as lake:
        assert lake.next_job() == first + 71


def test_only_jobs_since_the_last_whole_run_are_in_doubt(tmp_path: Path) -> None:
    with Lake.open(tmp_path, "docs") as lake:
        assert lake.first_uncommitted_job() == 1
        lake.next_job(10)
        assert lake.first_uncommitted_job() == 1
        lake.mark_jobs_committed()
        assert lake.first_uncommitted_job() == lake.next_job() == 11
    with Lake.open(tmp_path, "docs") as lake:
        assert (lake.first_uncommitted_job(), lake.next_job()) == (11, 12)


def test_what_a_killed_run_left_half_written_is_swept_up(tmp_path: Path) -> None:
    Lake.open(tmp_path, "docs").close()
    left = tmp_path / "docs" / "chunks" / ".part-000001-000.parquet.0a1b2c3d.tmp"
    left.write_text("half")
    Lake.open(tmp_path, "docs", read_only=True).close()
    assert left.exists()
    Lake.open(tmp_path, "docs").close()
    assert not left.exists()


def test_run_ids_sort_by_time_and_never_repeat() -> None:
    start = datetime(2026, 11, 20, 14, 15, 30, 250_000, UTC)
    ids = [new_run_id(start + timedelta(milliseconds=n)) for n in range(100)]
    assert ids == sorted(ids)
    assert ids[0].startswith("20261120T141530.250Z-")
    assert len({new_run_id(start) for _ in range(100)}) == 100


def test_runs_are_listed_newest_first_and_a_damaged_one_is_set_apart(tmp_path: Path) -> None:
    with Lake.open(tmp_path, "docs") as lake:
        first = RunRecord("20261120T100000.000Z-aaaaaa", "ingest", "2026-11-20T10:00:00+00:00")
        last = RunRecord("20261121T100000.000Z-bbbbbb", "ingest", "x", "y", 0, {"documents": {"seen": 3}}, {}, 1.5)
        for record in (last, first, last):
            lake.runs.save(record)
        broken = tmp_path / "docs" / "runs" / "20261122T100000.000Z-cccccc.json"
        broken.write_text('{"id": ')
        assert lake.runs.newest() == [last, first]
        assert lake.runs.newest(1) == [last]
        assert [damage.path for damage in lake.damaged_records()] == [broken]


def test_spaces_tell_what_was_bought_in_each(tmp_path: Path, texts: Texts) -> None:
    with Lake.open(tmp_path, "docs") as lake:
        with lake.vectors(texts.space) as store:
            texts.fill(store, range(100))
            store.seal()
            texts.fill(store, range(100, 130))
            summary = lake.spaces()[0]
            assert (summary.space, summary.vectors, summary.parts, summary.damaged) == (texts.space, 130, 1, 0)
        assert lake.spaces()[0].vectors == 130


def test_a_lake_keeps_its_identity_wherever_it_is_moved_and_no_two_have_the_same(tmp_path: Path) -> None:
    with Lake.open(tmp_path / "one", "docs", read_only=True) as lake:
        assert lake.identity == ""
    with Lake.open(tmp_path / "one", "docs") as one, Lake.open(tmp_path / "two", "docs") as two:
        identity = one.identity
        assert len({identity, two.identity, ""}) == 3
    (tmp_path / "one").rename(tmp_path / "moved")
    with Lake.open(tmp_path / "moved", "other", read_only=True) as lake:
        assert lake.identity == identity


def test_a_lake_of_an_earlier_version_gets_its_identity_when_it_is_written_to(tmp_path: Path) -> None:
    Lake.open(tmp_path, "docs").close()
    (tmp_path / "lake.json").unlink()
    with Lake.open(tmp_path, "docs") as lake:
        assert len(lake.identity) == 36


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"identity": 1}', '{"identity": "not one"}'])
def test_a_damaged_identity_is_named_and_never_taken_for_another(content: str, tmp_path: Path) -> None:
    Lake.open(tmp_path, "docs").close()
    (tmp_path / "lake.json").write_text(content)
    with Lake.open(tmp_path, "docs") as lake, pytest.raises(LakeError, match=r"lake\.json is damaged"):
        assert lake.identity


def test_one_altered_digit_of_an_identity_is_noticed(tmp_path: Path) -> None:
    with Lake.open(tmp_path, "docs") as lake:
        digit = lake.identity[0]
    path = tmp_path / "lake.json"
    path.write_text(path.read_text().replace(f'"{digit}', f'"{"0" if digit != "0" else "1"}', 1))
    with Lake.open(tmp_path, "docs", read_only=True) as lake, pytest.raises(LakeError, match="damaged"):
        assert lake.identity
