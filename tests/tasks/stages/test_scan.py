"""The scan stage: how the files to read are grouped into jobs. What it finds to be changed is in tests/flows."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Lake, Manifest
from millrace.tasks.records import MANIFEST_SCHEMA, SourceFile
from millrace.tasks.stages import job_files
from millrace.tasks.stages import scan as scan_stage
from millrace.tasks.stages.job_files import JobFiles
from millrace.tasks.stages.known_files import KnownFiles
from millrace.tasks.stages.scan import scan


def jobs_of(tmp_path: Path, sizes: list[int]) -> list[tuple[SourceFile, ...]]:
    """Jobs over files that are as long as given; a listing reads nothing of them."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, size in enumerate(sizes):
        with (corpus / f"{number:05d}.txt").open("wb") as file:
            file.truncate(size)  # takes no room on the disk
    with Lake.open(tmp_path / "lake", "documents") as lake:
        found = scan([corpus], lake.manifest, fingerprint="one")
    assert [Path(file.path).name for job in found.jobs for file in job] == [f"{n:05d}.txt" for n in range(len(sizes))]
    return list(found.jobs)


@pytest.mark.parametrize(
    ("sizes", "files_of_jobs"),
    [
        pytest.param([], [], id="nothing to read"),
        pytest.param([0] * 3_000, [100, 1_500, 1_400], id="the first is small, a file makes a chunk at least"),
        pytest.param([850 * 50] * 50, [2, 30, 18], id="by what text takes"),
        pytest.param([10**12, 1, 10**12], [1, 2], id="a file is never divided"),
    ],
)
def test_a_job_has_whole_files_of_about_a_part(tmp_path: Path, sizes: list[int], files_of_jobs: list[int]) -> None:
    assert [len(job) for job in jobs_of(tmp_path, sizes)] == files_of_jobs


BLANK = {field.name: "" if field.type == "string" else 0 for field in MANIFEST_SCHEMA}


def manifest_of(path: Path, *, file_hash: str, recorded: bool = True) -> Manifest:
    """A manifest with the one file, as it looks now; without change time and inode if they are not `recorded`."""
    stat = path.stat()
    row = BLANK | {
        "source": str(path),
        "path": str(path),
        "size_bytes": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "file_hash": file_hash,
        "fingerprint": "one",
        "status": "live",
        "ctime_ns": stat.st_ctime_ns if recorded else None,
        "inode": stat.st_ino if recorded else None,
    }
    manifest = Manifest(path.with_name(".lake"))
    manifest.commit(pa.Table.from_pylist([row], schema=MANIFEST_SCHEMA), "run")
    return manifest


@pytest.mark.parametrize(("reread", "read"), [("", 0), ("*.pdf", 0), ("*.md", 1), ("*", 1)])
def test_bytes_are_compared_of_files_that_match_though_they_look_the_same(
    tmp_path: Path, reread: str, read: int
) -> None:
    path = tmp_path / "a.md"
    path.write_text("other content")
    manifest = manifest_of(path, file_hash=hashlib.sha256(b"this content.").hexdigest())
    found = scan([tmp_path], manifest, fingerprint="one", reread=reread)
    assert sum(map(len, found.jobs)) == read
    assert found.unchanged.documents == 1 - read


class Forgetful(Manifest):
    """Has documents when all are asked for, and not when some are: as where statistics of a file are damaged."""

    def batches(
        self, columns: Sequence[str] | None = None, *, paths: Iterable[str] | None = None
    ) -> Iterator[pa.Table]:
        return super().batches(columns) if paths is None else iter(())


def test_a_changed_document_whose_earlier_version_is_not_found_again_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("content")
    manifest_of(path, file_hash="that of another content")
    path.write_text("new content")
    with pytest.raises(LakeError, match=r"had 1 files .*/a\.md for one"):
        scan([tmp_path], Forgetful(tmp_path / ".lake"), fingerprint="one")


def test_change_times_of_a_lake_that_has_none_are_recorded_without_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("content")
    manifest = manifest_of(path, file_hash="not the hash of the file", recorded=False)
    found = scan([tmp_path], manifest, fingerprint="one")
    assert (len(found.jobs), found.unchanged.documents) == (0, 1)
    assert found.touched["ctime_ns"].to_pylist() == [path.stat().st_ctime_ns]


@pytest.mark.parametrize("at_a_time", [1, 2, 100])
def test_the_file_whose_record_has_the_name_of_another_is_found_however_many_are_looked_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr(scan_stage, "_FILES_AT_A_TIME", at_a_time)
    names = ["a.jsonl", "a.jsonl!.txt", "a.jsonl!0.txt", "a.jsonl#7", "a.jsonl#7#8", "b#.txt", "c/#.txt"]
    for name in names:
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    found = scan([tmp_path / "corpus"], Manifest(tmp_path / "lake"), include=["*"], base=tmp_path, fingerprint="one")
    reserved = {file.name: file.reserved for file in found.jobs.each_file()}
    assert reserved == dict.fromkeys((f"corpus/{name}" for name in names), ()) | {
        "corpus/a.jsonl": ("corpus/a.jsonl#7", "corpus/a.jsonl#7#8"),
        "corpus/a.jsonl#7": ("corpus/a.jsonl#7#8",),
    }


def test_files_to_read_come_again_as_often_as_asked_though_they_lie_in_a_temporary_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_files, "_IN_MEMORY_BYTES", 1)
    files = [SourceFile(f"/{number}", f"{number}", 400_000, number) for number in range(9)]
    jobs = JobFiles(files)
    assert (jobs.files, len(jobs), [len(job) for job in jobs]) == (9, 3, [1, 4, 4])
    assert list(zip(jobs.each_file(), jobs.each_file(), strict=True)) == list(zip(files, files, strict=True))


def test_files_of_several_records_come_in_order_of_their_paths(tmp_path: Path) -> None:
    """Arrow's groups come in the order of paths for most sets of paths, and not for some."""
    for corpus in range(30):
        folder = tmp_path / f"{corpus}"
        paths = [str(folder / f"{number:02}.jsonl") for number in range(40)]
        rows = [BLANK | {"path": path, "source": f"{path}#{n}"} for path in paths for n in (1, 2)]
        manifest = Manifest(folder)
        manifest.commit(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), "run")
        known = KnownFiles(manifest, folders=None, fingerprint="one", again=pa.array([], pa.string()))
        found = [path for files in known for path in files["path"].to_pylist()]
        assert found == paths
