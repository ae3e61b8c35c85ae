"""A job that is read on another machine, as that machine does it."""

import multiprocessing
import shutil
from pathlib import Path

import pytest

from millrace.tasks.chunking import ChunkOptions
from millrace.tasks.documents import DocumentOptions
from millrace.tasks.errors import ConfigurationError, LakeError
from millrace.tasks.lake import ChunkParts, PartName, Sidecars
from millrace.tasks.records import LeftOut, SourceFile
from millrace.tasks.stages.chunk import ChunkJob, ChunkSettings
from millrace.tasks.stages.part_writer import PartContext
from millrace.tasks.stages.remote_chunk import RemoteJob, part_from_sidecar, run_remote_job
from tests.tasks.documents.mail.mails import attached, mail


def source_file(path: Path) -> SourceFile:
    found = path.stat()
    return SourceFile(name=str(path), path=str(path), size_bytes=found.st_size, mtime_ns=found.st_mtime_ns)


@pytest.fixture
def remote_job(tmp_path: Path) -> RemoteJob:
    """Three documents: a mail with a picture, and one with a text that is longer than a part."""
    (tmp_path / "a.md").write_text("# A\n\nA short one.\n")
    (tmp_path / "a.eml").write_bytes(attached(mail(), "a.png", b"\x89PNG").as_bytes())
    (tmp_path / "b.md").write_text("\n\n".join(f"# Part {n}\n\nSentence {n} of a long one." for n in range(40)))
    settings = ChunkSettings(
        documents=DocumentOptions(),
        chunking=ChunkOptions(max_tokens=16, overlap_tokens=0, max_bytes=8192),
        tokenizer="qwen",
        origin=PartContext(tmp_path / "chunks", "run", "fingerprint", "space", 10),
    )
    (tmp_path / "chunks").mkdir()
    files = tuple(source_file(tmp_path / name) for name in ("a.eml", "a.md", "b.md"))
    return RemoteJob(settings, ChunkJob(7, files), tmp_path / "sidecars", deadline_s=60.0, memory_mb=2048)


def test_parts_and_what_is_said_of_them_are_in_the_lake_and_numbers_come_back(
    remote_job: RemoteJob, tmp_path: Path
) -> None:
    done = run_remote_job(remote_job)
    sidecars, chunks = Sidecars(tmp_path / "sidecars"), ChunkParts(tmp_path / "chunks")
    assert [part.number for part in chunks.all()] == list(done.parts)
    parts = [part_from_sidecar(sidecars, 7, number) for number in done.parts]
    assert [part.name for part in parts] == chunks.all()
    assert [chunks.read(7, n, n).num_rows for n in done.parts] == [part.chunks for part in parts]
    documents = {row["source"]: row for part in parts for row in part.documents.to_pylist()}
    assert sum(row["chunks"] for row in documents.values()) == sum(part.chunks for part in parts)
    assert parts[-1].files_done == 3
    assert sum((part.left_out for part in parts), LeftOut()) == LeftOut({".png": 1})
    assert done.missing_files == ()
    assert list((tmp_path / "sidecars").iterdir()) == []


def test_the_same_job_read_twice_makes_parts_of_other_numbers(remote_job: RemoteJob, tmp_path: Path) -> None:
    first, second = run_remote_job(remote_job), run_remote_job(remote_job)
    assert not set(first.parts) & set(second.parts)
    assert len(ChunkParts(tmp_path / "chunks").all()) == 2 * len(first.parts)


def test_files_that_the_machine_does_not_see_are_named(remote_job: RemoteJob, tmp_path: Path) -> None:
    (tmp_path / "a.md").unlink()
    assert run_remote_job(remote_job).missing_files == (str(tmp_path / "a.md"),)


def test_sidecars_of_runs_that_were_killed_are_deleted_and_one_that_is_missing_is_told(
    remote_job: RemoteJob, tmp_path: Path
) -> None:
    done = run_remote_job(remote_job)
    sidecars = Sidecars(tmp_path / "sidecars")
    sidecars.clear(below=7)
    assert len(list((tmp_path / "sidecars").iterdir())) == len(done.parts)
    sidecars.clear(below=8)
    with pytest.raises(LakeError, match="do all reading machines reach the same lake"):
        sidecars.consume(PartName(7, done.parts[0]))
    shutil.rmtree(tmp_path / "sidecars")
    sidecars.clear(below=8)


def test_a_process_that_may_not_start_others_says_how_to_start_it(
    remote_job: RemoteJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="--no-nanny"):
        run_remote_job(remote_job)
