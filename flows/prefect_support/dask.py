"""Reading on several machines: jobs as Prefect tasks on a Dask cluster, through prefect-dask.

Only this module names Dask, and it is imported only where `documents.dask_scheduler` is set. Only
names cross between machines: of the files of a job, and of the parts that they became.
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
from millrace.tasks.errors import ConfigurationError, MillraceError, RunStopped, SourceError
from millrace.tasks.lake import Lake
from millrace.tasks.stages.chunk import ChunkJob, ChunkSettings
from millrace.tasks.stages.part_writer import Part
from millrace.tasks.stages.remote_chunk import RemoteJob, RemoteResult, part_from_sidecar, run_remote_job

_log = logging.getLogger(__name__)

_CONNECT_S = 30

_as_task: Any = task(name="chunk", task_run_name="chunk job {remote_job.job.number}", cache_policy=NO_CACHE)
_read: Any = _as_task(run_remote_job)


class DaskReaders:
    """A chunk stage whose jobs are read by the workers of a Dask cluster, as many at once as those have threads."""

    def __init__(self, runner: Any, settings: ChunkSettings, lake: Lake, *, deadline_s: float, memory_mb: int) -> None:
        self._runner = runner
        self._remote_job = partial(
            RemoteJob, settings, sidecars_dir=lake.sidecars_dir, deadline_s=deadline_s, memory_mb=memory_mb
        )
        self._sidecars = lake.sidecars
        self._sidecars.clear(below=lake.next_job(0))
        self._submitted: set[Future] = set()
        self.readers = sum(runner.client.nthreads().values())
        if not self.readers:
            raise ConfigurationError(
                f"the Dask scheduler at {runner.address} has no worker; start some: dask worker {runner.address}"
                " --no-nanny"
            )
        _log.info("reading on %d threads of the Dask cluster at %s", self.readers, runner.address)

    def start(self) -> None:
        """Nothing: the workers are running already."""

    async def run(self, job: ChunkJob, receive: Callable[[Part], Awaitable[None]]) -> int:
        """The number of parts the job made; each was handed to `receive`, in order.

        Raises:
            SourceError: A machine does not see files that this one sees.
            RunStopped: The job was lost again and again, with the workers that had it.
        """
        done = await self._run_on_cluster(job)
        hidden = await asyncio.to_thread(_seen_here, done.missing_files)
        if hidden:
            raise SourceError(
                f"{done.host} does not see {hidden[0]} (and {len(hidden) - 1} more files of its job), and this machine"
                " does. Every reading machine must have the sources under the same path; mount them there, then run the"
                " same command again"
            )
        for number in done.parts:
            await receive(await asyncio.to_thread(part_from_sidecar, self._sidecars, job.number, number))
        return len(done.parts)

    async def _run_on_cluster(self, job: ChunkJob) -> RemoteResult:
        future = self._runner.submit(_read, {"remote_job": self._remote_job(job=job)})
        self._submitted.add(future.wrapped_future)
        try:
            await _ended(future.wrapped_future)
            return await asyncio.to_thread(_outcome, future)
        finally:
            self._submitted.discard(future.wrapped_future)

    def close(self) -> None:
        """Cancel the jobs that wait. A worker finishes the one it has begun, and its parts are ignored."""
        for future in list(self._submitted):
            future.cancel()


def open_dask_readers(cluster: Any, settings: Settings, options: ChunkSettings, lake: Lake, jobs: int) -> DaskReaders:
    """Readers of the cluster that `dask_cluster` has reached."""
    del jobs
    documents = settings.documents
    return DaskReaders(cluster, options, lake, deadline_s=documents.timeout_s, memory_mb=documents.max_memory_mb)


@contextmanager
def dask_cluster(address: str) -> Iterator[Any]:
    """The task runner that hands tasks to the scheduler at `address`.

    Raises:
        ConfigurationError: No scheduler answers there.
    """
    runner = DaskTaskRunner(address=address, client_kwargs={"timeout": _CONNECT_S, "set_as_default": False})
    with runner:
        try:
            runner.client.nthreads()
        except OSError as error:
            raise ConfigurationError(
                f"no Dask scheduler answers at {address} ({error}); start it with `dask scheduler`, or correct "
                "documents.dask_scheduler"
            ) from error
        yield runner


def _seen_here(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if Path(path).exists()]


async def _ended(future: Future) -> None:
    """Return when the future is done, well or not, without holding a thread."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    future.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set))
    await done.wait()


def _outcome(future: Any) -> RemoteResult:
    """The result of the job. Raises what the job raised."""
    try:
        done = future.result()
    except MillraceError:
        raise
    except Exception as error:  # whatever a worker or Dask raised; it comes here as its own type
        raise RunStopped(
            f"a job was lost on the Dask cluster: {type(error).__name__}: {error}. Look at the workers' logs, then run"
            " the same command again; it goes on from here"
        ) from error
    if not isinstance(done, RemoteResult):
        raise RunStopped(
            f"the Dask cluster answered {type(done).__name__} where parts were expected; run the same"
            " version of millrace on all machines"
        )
    return done
