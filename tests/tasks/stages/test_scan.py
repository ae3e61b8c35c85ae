"""The scan stage: how the files to read are grouped into jobs. What it finds to be changed is in tests/flows."""

from pathlib import Path

import pytest

from millrace.tasks.lake import Lake
from millrace.tasks.records import SourceFile
from millrace.tasks.stages.scan import scan


def jobs_of(tmp_path: Path, sizes: list[int]) -> tuple[tuple[SourceFile, ...], ...]:
    """Jobs over files that are as long as given; a listing reads nothing of them."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, size in enumerate(sizes):
        with (corpus / f"{number:05d}.txt").open("wb") as file:
            file.truncate(size)  # takes no room on the disk
    with Lake.open(tmp_path / "lake", "documents") as lake:
        found = scan([corpus], lake.manifest.read(), include=(), exclude=(), base=None, fingerprint="one")
    assert [Path(file.path).name for job in found.jobs for file in job] == [f"{n:05d}.txt" for n in range(len(sizes))]
    return found.jobs


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
