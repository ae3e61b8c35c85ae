"""The chunk stage on another machine: file names go there, parts go to the lake, and their numbers come back.

`run_remote_job` runs there, with a `RemoteJob`. The processes that read are the same as anywhere, with deadlines and
bounds on memory; here they are kept from one job to the next. Knows nothing of what carries jobs to machines.
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
    """One job to be read, how, and where what is found is left."""

    settings: ChunkSettings
    job: ChunkJob
    slips: LakePath
    deadline_s: float
    memory_mb: int


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an errand: the numbers of its parts in order, and files that `host` did not see at all."""

    parts: tuple[int, ...]
    unseen: tuple[str, ...]
    host: str


class _Reader(threading.local):
    """The chunk stage of this thread, kept while errands are of one run."""

    def __init__(self) -> None:
        self._stage: ChunkStage | None = None
        self._kind: tuple[ChunkSettings, float, int] | None = None

    def stage(self, errand: RemoteJob) -> ChunkStage:
        kind = errand.settings, errand.deadline_s, errand.memory_mb
        if self._stage is None or kind != self._kind:
            if self._stage is not None:
                self._stage.close()
            self._stage = ChunkStage(errand.settings, jobs=1, workers=1, deadline_s=kind[1], memory_mb=kind[2])
            self._kind = kind
        return self._stage


_reader = _Reader()


def run_remote_job(errand: RemoteJob) -> Done:
    """Read and chunk the files of a job; its parts and their slips are in the lake.

    Should a machine be taken for dead and the job be given to another while the first goes on, each writes parts under
    numbers of its own; those that nobody is told of are in no document and are deleted at the end of the run.

    Raises:
        ConfigurationError: This process may not have processes of its own.
        MillraceError: As `ChunkStage.run` does.
    """
    if multiprocessing.current_process().daemon:
        raise ConfigurationError(
            f"the Dask worker on {socket.gethostname()} may not start processes: start it with --no-nanny, or with "
            "DASK_DISTRIBUTED__WORKER__DAEMON=False in its environment"
        )
    unseen = tuple(file.path for file in errand.job.files if not Path(file.path).exists())
    slips = Sidecars(errand.slips)
    numbers: list[int] = []

    async def leave_slip(part: Part) -> None:
        counts = {"chunks": part.chunks, "tokens": part.tokens, "files_done": part.files_done}
        slips.write(part.name, Sidecar(part.documents, part.rejects, counts))
        numbers.append(part.number)

    job = replace(errand.job, first_part=secrets.randbelow(_TIMES) * _NUMBERS_A_TIME)
    asyncio.run(_reader.stage(errand).run(job, leave_slip))
    return Done(tuple(numbers), unseen, socket.gethostname())


def taken(slips: Sidecars, job: int, number: int) -> Part:
    """A part that was made elsewhere, as if it had been made here. Raises LakeError."""
    slip = slips.consume(PartName(job, number))
    counts = slip.counts
    return Part(
        job=job,
        number=number,
        chunks=counts["chunks"],
        tokens=counts["tokens"],
        documents=slip.documents,
        rejects=slip.rejects,
        files_done=counts["files_done"],
    )
