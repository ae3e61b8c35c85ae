"""The chunk stage on another machine: file names go there, parts go to the lake, and their numbers come back.

`run_remote_job` runs there, with a `RemoteJob`. The processes that read are the same as anywhere, with deadlines and
bounds on memory; here they are kept from one job to the next. Knows nothing of how jobs get to machines.
"""

import asyncio
import multiprocessing
import secrets
import socket
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from millrace.tasks.errors import ConfigurationError
from millrace.tasks.lake import LakePath, PartName, Sidecar, Sidecars
from millrace.tasks.stages.chunk import ChunkJob, ChunkSettings, ChunkStage
from millrace.tasks.stages.part_writer import Part

_NUMBERS_A_TIME = 1_000
_TIMES = 1 << 20


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """One job to be read, with the options of the run and the folder for the sidecars of its parts."""

    settings: ChunkSettings
    job: ChunkJob
    sidecars_dir: LakePath
    deadline_s: float
    memory_mb: int


@dataclass(frozen=True, slots=True)
class RemoteResult:
    """The numbers of the parts of a job in order, and files that `host` does not have at all."""

    parts: tuple[int, ...]
    missing_files: tuple[str, ...]
    host: str


class _Reader(threading.local):
    """The chunk stage of this thread, kept while jobs are of one run."""

    def __init__(self) -> None:
        self._stage: ChunkStage | None = None
        self._kind: tuple[ChunkSettings, float, int] | None = None

    def stage(self, remote_job: RemoteJob) -> ChunkStage:
        kind = remote_job.settings, remote_job.deadline_s, remote_job.memory_mb
        if self._stage is None or kind != self._kind:
            if self._stage is not None:
                self._stage.close()
            self._stage = ChunkStage(remote_job.settings, jobs=1, workers=1, deadline_s=kind[1], memory_mb=kind[2])
            self._kind = kind
        return self._stage


_reader = _Reader()


def run_remote_job(remote_job: RemoteJob) -> RemoteResult:
    """Read and chunk the files of a job; its parts and their sidecars are in the lake.

    Should a machine be taken for dead and the job be given to another while the first goes on, each writes parts under
    numbers of its own; those that are not reported belong to no document and are deleted at the end of the run.

    Raises:
        ConfigurationError: This process may not have processes of its own.
        MillraceError: As `ChunkStage.run` does.
    """
    if multiprocessing.current_process().daemon:
        raise ConfigurationError(
            f"the Dask worker on {socket.gethostname()} may not start processes: start it with --no-nanny, or with "
            "DASK_DISTRIBUTED__WORKER__DAEMON=False in its environment"
        )
    missing_files = tuple(file.path for file in remote_job.job.files if not Path(file.path).exists())
    sidecars = Sidecars(remote_job.sidecars_dir)
    numbers: list[int] = []

    async def write_sidecar(part: Part) -> None:
        counts = {"chunks": part.chunks, "tokens": part.tokens, "files_done": part.files_done}
        sidecars.write(part.name, Sidecar(part.documents, part.rejects, counts, part.left_out))
        numbers.append(part.number)

    job = replace(remote_job.job, first_part=secrets.randbelow(_TIMES) * _NUMBERS_A_TIME)
    asyncio.run(_reader.stage(remote_job).run(job, write_sidecar))
    return RemoteResult(tuple(numbers), missing_files, socket.gethostname())


def part_from_sidecar(sidecars: Sidecars, job: int, number: int) -> Part:
    """A part that was made on another machine, as if it had been made here. Raises LakeError."""
    sidecar = sidecars.consume(PartName(job, number))
    counts = sidecar.counts
    return Part(
        job=job,
        number=number,
        chunks=counts["chunks"],
        tokens=counts["tokens"],
        documents=sidecar.documents,
        rejects=sidecar.rejects,
        files_done=counts["files_done"],
        left_out=sidecar.left_out,
    )
