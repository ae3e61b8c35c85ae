"""The scan stage: how the files to read are grouped into jobs. What it finds to be changed is in tests/flows."""

from pathlib import Path

import pytest

from tasks.lake import Lake
from tasks.records import SourceFile
from tasks.scan import scan

_TEXT_OF_A_CHUNK = 1_600  # bytes


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


def test_jobs_of_a_large_corpus_are_several_parts_and_end_as_small_ones(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, [100 * _TEXT_OF_A_CHUNK] * 2_500)  # a quarter of a million chunks
    expected = [100 * len(job) for job in jobs]
    assert expected[0] == 100  # so that the first request goes out soon
    assert expected[1] == 4_000
    assert max(expected) <= 4_000
    assert expected[1:] == sorted(expected[1:], reverse=True)
    assert expected[-9:-1] == [1_000] * 8  # no reader is left with a long one


@pytest.mark.parametrize(
    ("sizes", "files_of_jobs"),
    [
        pytest.param([], [], id="nothing to read"),
        pytest.param([0] * 3_000, [100, 1_000, 1_000, 900], id="a file is taken for a chunk at least"),
        pytest.param([10**12, 1, 10**12], [1, 2], id="a file is never divided"),
    ],
)
def test_a_job_has_whole_files_of_about_a_part(tmp_path: Path, sizes: list[int], files_of_jobs: list[int]) -> None:
    assert [len(job) for job in jobs_of(tmp_path, sizes)] == files_of_jobs
