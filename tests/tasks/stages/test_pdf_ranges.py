"""Ranges of a long file, read side by side by processes that may hang, die, or come upon another file."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from millrace.tasks.errors import LakeError, Rejected
from millrace.tasks.lake import ScratchFiles
from millrace.tasks.records import SourceFile
from millrace.tasks.stages.pdf_ranges import FileResult, RangeJob, RangeResult, read_in_ranges
from millrace.tasks.stages.worker_pool import WorkerLost

FILE = SourceFile("/corpus/book.pdf", "book.pdf", 1, 1)
PAGES = 400


class Processes:
    """Stands for a pool: reads at once, but `hanging` pages, and at `broken` ones whatever they do."""

    def __init__(self, folder: Path, hanging: frozenset[int] = frozenset()) -> None:
        self.scratch = ScratchFiles(folder)
        self.hanging = hanging
        self.changes_at = 0  # from this page on, the file is another one
        self.gone_at = 0
        self.error: Exception | None = None
        self.cpu_s = 0.0  # that each range takes
        self.read: list[tuple[int, ...]] = []

    async def run(self, job: RangeJob, receive: Callable[[RangeResult | None], Awaitable[None]]) -> None:
        for number in job.numbers:
            await asyncio.sleep(0)  # so that ranges are read in turn
            if self.error is not None and number == 100:
                raise self.error
            if number in self.hanging and f"page {number}" not in job.skip:
                raise WorkerLost(f"{FILE.path}\0page {number}", "timeout", "took longer than 60 s")
        pages = tuple(number for number in job.numbers if f"page {number}" not in job.skip)
        self.read.append(pages)
        if self.gone_at and job.numbers[0] >= self.gone_at:
            await receive(None)
        digest = "new" if self.changes_at and job.numbers[0] >= self.changes_at else "old"
        await receive(RangeResult(digest, self.scratch.put(repr(pages).encode()), self.cpu_s))

    async def read_all(self, readers: int) -> FileResult:
        return await read_in_ranges(FILE, PAGES, run=self.run, readers=readers, scratch=self.scratch)

    def pages_of(self, read: FileResult) -> list[int]:
        return [int(n) for path in read.ranges for n in self.scratch.take(path).decode().strip("(),").split(",")]


def is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


@pytest.mark.parametrize("readers", [1, 2, 7, 50])
async def test_a_page_that_hangs_costs_itself_however_many_read(tmp_path: Path, readers: int) -> None:
    processes = Processes(tmp_path, hanging=frozenset([3, 4, 41, 200, 399]))
    read = await processes.read_all(readers)
    assert processes.pages_of(read) == [n for n in range(1, PAGES + 1) if n not in processes.hanging]


@pytest.mark.parametrize("readers", [1, 2, 7, 50])
async def test_a_file_of_many_pages_that_hang_is_given_up_however_many_read(tmp_path: Path, readers: int) -> None:
    processes = Processes(tmp_path, hanging=frozenset(range(1, PAGES, 30)))
    read = await processes.read_all(readers)
    assert (read.ranges, read.failure) == ((), "timeout: took longer than 60 s")
    assert is_empty(tmp_path)


async def test_a_file_whose_pages_all_take_long_is_given_up_before_the_last(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.cpu_s = 170.0  # the bound is 600 s, and 0.2 s for each of 400 pages
    read = await processes.read_all(1)
    assert read == FileResult(failure="timeout: Reading its pages took more than 680 s of CPU.")
    assert len(processes.read) == 5
    assert is_empty(tmp_path)


async def test_a_range_that_takes_longer_than_a_whole_file_may_ends_the_file(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.error = Rejected("Reading its pages took more than 608 s of CPU.", reason="timeout", remedy="split it")
    read = await processes.read_all(2)
    assert read == FileResult(failure="timeout: Reading its pages took more than 608 s of CPU.")
    assert is_empty(tmp_path)


@pytest.mark.parametrize("attribute", ["changes_at", "gone_at"])
async def test_a_file_that_changes_while_it_is_read_is_read_in_one_go(tmp_path: Path, attribute: str) -> None:
    processes = Processes(tmp_path)
    setattr(processes, attribute, 300)
    assert await processes.read_all(2) == FileResult()
    assert is_empty(tmp_path)


async def test_an_error_passes_and_leaves_nothing(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.error = LakeError("the disk is full")
    with pytest.raises(LakeError, match="the disk is full"):
        await processes.read_all(3)
    assert is_empty(tmp_path)


async def test_a_process_that_cannot_work_at_all_is_no_fault_of_a_page(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.error = WorkerLost("", "died", "the reading process exited with code 1")
    with pytest.raises(WorkerLost):
        await processes.read_all(3)
