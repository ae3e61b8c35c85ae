"""Reading spread over machines: jobs as Prefect tasks on a Dask cluster, through prefect-dask.

Only this module names Dask, and it is imported only where `documents.dask_scheduler` is set. What crosses between
machines is names: of the files of a job, and of the parts that they became.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from distributed import Future
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect_dask import DaskTaskRunner

from millrace.configs.settings import Settings
from millrace.flows.commands.ingest.pipeline import Pipeline
from millrace.tasks.errors import ConfigurationError, MillraceError, RunStopped, SourceError
from millrace.tasks.lake import Lake
from millrace.tasks.stages.chunk import ChunkJob, ChunkSettings
from millrace.tasks.stages.part_writer import Part
from millrace.tasks.stages.remote_chunk import Done, RemoteJob, run_remote_job, taken

_log = logging.getLogger(__name__)

_CONNECT_S = 30

_as_task: Any = task(name="chunk", task_run_name="chunk job {errand.job.number}", cache_policy=NO_CACHE)
_read: Any = _as_task(run_remote_job)


class DaskReaders:
    """A chunk stage whose jobs are read by the workers of a Dask cluster, as many at once as those have threads."""

    def __init__(self, runner: Any, settings: ChunkSettings, lake: Lake, *, deadline_s: float, memory_mb: int) -> None:
        self._runner = runner
        self._errand = partial(RemoteJob, settings, slips=lake.sidecars_dir, deadline_s=deadline_s, memory_mb=memory_mb)
        self._slips = lake.sidecars
        self._slips.clear(below=lake.next_job(0))
        self._under_way: set[Future] = set()
        self.readers = sum(runner.client.nthreads().values())
        if not self.readers:
            raise ConfigurationError(
                f"the Dask scheduler at {runner.address} has no worker; start some: dask worker {runner.address}"
                " --no-nanny"
            )
        _log.info("reading on %d threads of the Dask cluster at %s", self.readers, runner.address)

    def start(self) -> None:
        """They are there already."""

    async def run(self, job: ChunkJob, receive: Callable[[Part], Awaitable[None]]) -> int:
        """The number of parts the job made; each was handed to `receive`, in order.

        Raises:
            SourceError: A machine does not see files that this one sees.
            RunStopped: The job was lost again and again, with the workers that had it.
        """
        done = await self._carried_out(job)
        hidden = await asyncio.to_thread(_seen_here, done.unseen)
        if hidden:
            raise SourceError(
                f"{done.host} does not see {hidden[0]} (and {len(hidden) - 1} more files of its job), and this machine"
                " does. Every reading machine must have the sources under the same path; mount them there, then run the"
                " same command again"
            )
        for number in done.parts:
            await receive(await asyncio.to_thread(taken, self._slips, job.number, number))
        return len(done.parts)

    async def _carried_out(self, job: ChunkJob) -> Done:
        future = self._runner.submit(_read, {"errand": self._errand(job=job)})
        self._under_way.add(future.wrapped_future)
        try:
            await _ended(future.wrapped_future)
            return await asyncio.to_thread(_outcome, future)
        finally:
            self._under_way.discard(future.wrapped_future)

    def close(self) -> None:
        """Ask for nothing more. What a worker is in the middle of it finishes, and nobody takes it."""
        for future in list(self._under_way):
            future.cancel()


def read_on(cluster: Any, pipeline: Pipeline, settings: Settings) -> None:
    """Let the pipeline read its jobs on the cluster that `dask_cluster` has reached."""

    def open_readers(how: ChunkSettings, _: int) -> DaskReaders:
        documents = settings.documents
        return DaskReaders(
            cluster, how, pipeline.lake, deadline_s=documents.timeout_s, memory_mb=documents.max_memory_mb
        )

    pipeline.open_readers = open_readers


@contextmanager
def dask_cluster(address: str) -> Iterator[Any]:
    """The task runner that hands tasks to the scheduler at `address`.

    Raises:
        ConfigurationError: Nobody answers there.
    """
    try:
        runner = DaskTaskRunner(address=address, client_kwargs={"timeout": _CONNECT_S, "set_as_default": False})
        with runner:
            runner.client.nthreads()
            yield runner
    except OSError as error:
        raise ConfigurationError(
            f"no Dask scheduler answers at {address} ({error}); start it with `dask scheduler`, or correct "
            "documents.dask_scheduler"
        ) from error


def _seen_here(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if Path(path).exists()]


async def _ended(future: Future) -> None:
    """Return when the future is done, well or not, without holding a thread."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    future.add_done_callback(lambda _: loop.call_soon_threadsafe(told.set))
    await told.wait()


def _outcome(future: Any) -> Done:
    """What the errand gave. Raises what it raised."""
    try:
        done = future.result()
    except MillraceError:
        raise
    except Exception as error:  # whatever a worker or Dask raised; it comes here as its own type
        raise RunStopped(
            f"a job was lost on the Dask cluster: {type(error).__name__}: {error}. Look at the workers' logs, then run"
            " the same command again; it goes on from here"
        ) from error
    if not isinstance(done, Done):
        raise RunStopped(
            f"the Dask cluster answered {type(done).__name__} where parts were expected; run the same"
            " version of millrace on all machines"
        )
    return done
