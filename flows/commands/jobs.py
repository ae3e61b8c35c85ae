"""`jobs`: the Batch jobs of a lake; listed, waited for, or given up."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from millrace.configs.settings import Settings
from millrace.flows.commands.ingest.batch import BatchRun
from millrace.flows.commands.ingest.signals import interruptible
from millrace.flows.monitoring.result import Result
from millrace.flows.monitoring.run_state import RunState
from millrace.flows.wiring import components
from millrace.flows.wiring.batch_road import job_words
from millrace.flows.wiring.collection_settings import with_remembered
from millrace.flows.wiring.embedding_model import Model
from millrace.tasks.errors import ConfigurationError, MillraceError, RunStopped
from millrace.tasks.lake import BatchJob, Lake, new_run_id


@dataclass(frozen=True, slots=True)
class JobList(Result):
    """Batch jobs, the oldest first; `reserved_cny` is what those still open will cost at the most, by today's price."""

    jobs: tuple[BatchJob, ...]
    open: int
    reserved_cny: float
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """A line a job."""
        lines = [self._line(job) for job in self.jobs] or ["no Batch jobs"]
        if self.open:
            lines.append(
                f"{self.open:,} open, ¥{self.reserved_cny:.4f} at the most; `millrace jobs wait` takes them in"
            )
        return lines + [f"note       {note}" for note in self.notes]

    @staticmethod
    def _line(job: BatchJob) -> str:
        since = f" since {job.changed}" if job.changed else ""
        deadline = f"; due by {job.deadline}" if job.deadline and job.open else ""
        return f"{job.name}  {job.texts:,} texts, {job.tokens:,} tokens  {job_words(job)}{since}{deadline}"


def list_jobs(settings: Settings, *, all_of_them: bool = False) -> JobList:
    """The open jobs of every embedding space of the lake, or all jobs that it knows. Reads the lake alone."""
    lake = Lake.open(components.lake_path(settings), settings.milvus.collection, read_only=True)
    jobs = [job for space in lake.spaces() for job in lake.batch_jobs(space.space).all()]
    return _list(sorted((job for job in jobs if job.open or all_of_them), key=lambda job: job.name))


def wait_for_jobs(settings: Settings) -> JobList:
    """Wait for the open jobs of the collection's embedding space, and take in what they bring.

    Raises ConfigurationError for jobs of another account, RunStopped when interrupted.
    """
    settings, model = _with_model(settings)
    with _writable(settings) as lake, interruptible() as handler:
        state = RunState(new_run_id(), settings.milvus.collection, model.spec.name, command="jobs")
        spending = components.Spending.of(settings, model)
        state.usage = spending.usage

        async def wait() -> None:
            handler.attach()
            await BatchRun(settings, model, lake, state, spending).finish_open()

        try:
            asyncio.run(wait())
        except asyncio.CancelledError:
            raise RunStopped("interrupted; the jobs go on at the provider, and any later run takes them in") from None
        known = {job.name for job in state.batch.values()}
        jobs = [job for job in lake.batch_jobs(model.space).all() if job.name in known]
        return _list(jobs, state.notes)


def cancel_jobs(settings: Settings, names: Sequence[str], *, forget: bool = False) -> JobList:
    """Give up open jobs, all or those named; what they have finished is taken in by the next run.

    With `forget` the provider is not asked, and nothing of them is taken in.

    Raises ConfigurationError for a name that no open job has, or a job of another account.
    """
    settings, model = _with_model(settings)
    with _writable(settings) as lake:
        jobs = lake.batch_jobs(model.space)
        chosen = [job for job in jobs.open() if not names or job.name in names]
        if unknown := set(names) - {job.name for job in chosen}:
            raise ConfigurationError(f"no open Batch job is called {', '.join(sorted(unknown))}; see `millrace jobs`")
        notes = asyncio.run(_cancel(settings, model, lake, chosen, forget=forget))
        left = [jobs.read(job.name) for job in chosen]
        return _list(left, notes)


async def _cancel(
    settings: Settings, model: Model, lake: Lake, chosen: Sequence[BatchJob], *, forget: bool
) -> list[str]:
    notes: list[str] = []
    state = RunState(new_run_id(), settings.milvus.collection, model.spec.name, command="jobs")
    run = BatchRun(settings, model, lake, state, components.Spending.of(settings, model))
    async with run.opened([] if forget else chosen) as (road, _, _):
        for job in chosen:
            if forget or job.state == "written":
                road.drop(job, "given up")
            elif job.state == "open":
                try:
                    await road.cancel(job)
                except MillraceError as error:
                    notes.append(f"{job.name} is not cancelled: {error}")
            else:
                notes.append(f"{job.name} is {job.state}: the next ingest or `millrace jobs wait` goes on with it")
    return notes


def _list(jobs: Sequence[BatchJob], notes: Sequence[str] = ()) -> JobList:
    still_open = [job for job in jobs if job.open]
    reserved = sum(job.reserved_cny for job in still_open)
    return JobList(tuple(jobs), open=len(still_open), reserved_cny=round(reserved, 6), notes=tuple(notes))


def _with_model(settings: Settings) -> tuple[Settings, Model]:
    settings = with_remembered(settings)
    return settings, components.load_model(settings)


def _writable(settings: Settings) -> Lake:
    return Lake.open(components.lake_path(settings), settings.milvus.collection, readable_by=settings.lake.readable_by)
