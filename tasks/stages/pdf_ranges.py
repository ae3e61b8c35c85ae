"""Long PDF files: their pages are read in ranges by all reading processes side by side, and joined by one of them.

Joins `documents` (what a range holds) and `lake` (the spool, where ranges wait for the last of them). A page that hangs
or crashes its process costs that page; what it took down is read again without it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from millrace.tasks.documents import (
    DocumentOptions,
    PageRange,
    ParsedFiles,
    check_cpu_time,
    page_ranges,
    read_page_range,
)
from millrace.tasks.errors import LakeError, Rejected
from millrace.tasks.lake import ScratchFiles
from millrace.tasks.records import SourceFile
from millrace.tasks.stages.worker_pool import Channel, WorkerLost

_MAX_PAGES_LOST = 10  # of one file; each has cost the deadline, and a process


@dataclass(frozen=True, slots=True)
class LongPdfFound:
    """A worker came to a long file after `files_done` others of its job, and left it to be read in ranges."""

    files_done: int
    pages: int


@dataclass(frozen=True, slots=True)
class RangeJob:
    """Pages that one worker reads in order. `skip` names units of the file that already hung or crashed a worker."""

    file: SourceFile
    numbers: range
    skip: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RangeResult:
    """Where the spool has a range, the SHA-256 of the file that it was read from, and the CPU that it took."""

    digest: str
    path: Path
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FileResult:
    """All ranges of a file in order; none when it is to be read in one go. `failure` is why the file is given up."""

    ranges: tuple[Path, ...] = ()
    failure: str = ""


RunRange = Callable[[RangeJob, Callable[[RangeResult | None], Awaitable[None]]], Awaitable[None]]


def range_job(
    job: RangeJob,
    options: DocumentOptions,
    scratch: ScratchFiles,
    parsed: ParsedFiles,
    channel: Channel[RangeResult | None],
) -> None:
    """Read a range into the spool and say where it is; None when the file cannot be read in ranges.

    Raises `Rejected` when it takes too long.
    """
    try:
        found = read_page_range(
            job.file,
            options,
            job.numbers,
            skip=job.skip,
            at=lambda item: channel.at(f"{job.file.path}\0{item}"),
            parsed=parsed,
        )
    except Rejected:
        raise
    except Exception:  # noqa: BLE001 - a bug that one file uncovers; reading it in one go says so
        found = None
    if found is None:
        channel.send(None)
    else:
        channel.send(RangeResult(found.digest, scratch.put(found.to_json()), found.pages.cpu_s))


def spooled_ranges(paths: Sequence[Path], scratch: ScratchFiles) -> list[PageRange]:
    """The ranges that processes of this run have put there.

    Raises:
        LakeError: one cannot be read, or is damaged.
    """
    ranges = []
    for path in paths:
        try:
            ranges.append(PageRange.from_json(scratch.take(path)))
        except ValueError as error:
            raise LakeError(
                f"{path}, which another process of this run wrote, is damaged: {error}. Run the same command again."
            ) from error
    return ranges


async def read_in_ranges(
    file: SourceFile, pages: int, *, run: RunRange, readers: int, scratch: ScratchFiles
) -> FileResult:
    """Read all pages of a file, `readers` ranges at once.

    Each page that takes too long or crashes is left out, up to some; then the file is given up. How many processes
    there are makes no difference to what comes of it.
    """
    reading = _Reading(file, pages, run, scratch)
    tasks = [asyncio.create_task(reading.read()) for _ in range(readers)]
    try:
        await asyncio.gather(*tasks)
        found = reading.result()
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        reading.discard()
        raise
    if not found.ranges:
        reading.discard()
    return found


class _Reading:
    """The ranges of one file as they are read."""

    def __init__(self, file: SourceFile, pages: int, run: RunRange, scratch: ScratchFiles) -> None:
        self._file = file
        self._run = run
        self._spool = scratch
        self._pages = pages
        self._ranges = page_ranges(pages)
        self._waiting: Iterator[range] = iter(self._ranges)
        self._found: dict[range, RangeResult] = {}
        self._failures: dict[str, str] = {}  # by unit; "" is the file
        self._readable = True
        self._cpu_s = 0.0

    async def read(self) -> None:
        """Read ranges until none is left; several tasks do so at once."""
        for numbers in self._waiting:
            while self._readable and "" not in self._failures and numbers not in self._found:
                await self._read_range(numbers)

    async def _read_range(self, numbers: range) -> None:
        async def receive(read: RangeResult | None) -> None:
            if read is None:
                self._readable = False
            else:
                self._found[numbers] = read
                self._cpu_s += read.cpu_s

        try:
            await self._run(RangeJob(self._file, numbers, dict(self._failures)), receive)
            check_cpu_time(self._cpu_s, self._pages)
        except Rejected as refused:
            self._failures[""] = f"{refused.reason}: {refused}"
        except WorkerLost as lost:
            path, _, item = lost.unit.partition("\0")
            if not path:
                raise
            given_up = not item or len(self._failures) + 1 >= _MAX_PAGES_LOST
            self._failures["" if given_up else item] = f"{lost.cause}: {lost.detail}"

    def result(self) -> FileResult:
        if "" in self._failures:
            return FileResult(failure=self._failures[""])
        if not self._readable or len({read.digest for read in self._found.values()}) > 1:
            return FileResult()  # the file changed meanwhile; read in one go it is one version or the other
        return FileResult(tuple(self._found[numbers].path for numbers in self._ranges))

    def discard(self) -> None:
        self._spool.discard(read.path for read in self._found.values())
