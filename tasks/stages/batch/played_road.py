"""The road of a rehearsal: jobs of a provider that is played."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from millrace.tasks.embedding import Usage
from millrace.tasks.lake import BatchJob


class PlayedRoad:
    """Jobs that all take equally long, and of which nothing is done when they are cancelled before."""

    def __init__(self, usage: Usage, *, lasts_s: float, now: Callable[[], float]) -> None:
        self._usage = usage
        self._lasts_s = lasts_s
        self._now = now
        self._until: dict[str, float] = {}
        self._saved: dict[str, BatchJob] = {}
        self.answered: dict[str, bool] = {}

    async def submit(self, job: BatchJob) -> BatchJob:
        """Open after a second."""
        await asyncio.sleep(1.0)
        self._until[job.name] = self._now() + self._lasts_s
        return self._save(replace(job, state="open"))

    async def ask(self, job: BatchJob) -> BatchJob:
        """Over when its time has come."""
        if job.cancelling:
            return self._save(replace(job, state="over", remote="cancelled"))
        done = self._now() >= self._until[job.name]
        return self._save(replace(job, state="over", remote="completed")) if done else job

    async def cancel(self, job: BatchJob) -> BatchJob:
        """Over when it is asked after next."""
        return self._save(replace(job, cancelling=True))

    async def take_in(self, job: BatchJob) -> BatchJob:
        """All of it, or nothing of one that was cancelled."""
        if job.remote == "cancelled":
            return self._save(replace(job, state="journalled", not_run=job.texts))
        self._usage.record_batch(texts=job.texts, counted=job.tokens, billed=job.tokens, billed_for_vectors=job.tokens)
        self.answered[job.name] = True
        return self._save(replace(job, state="journalled", answered=job.texts))

    async def clear(self, job: BatchJob) -> BatchJob:
        """Nothing is to be deleted."""
        return self._save(replace(job, state="settled"))

    def drop(self, job: BatchJob, why: str) -> BatchJob:
        """Nothing was begun."""
        return replace(job, state="dropped", problem=why)

    def end(self, job: BatchJob) -> None:
        """Nothing is kept."""

    def as_saved(self, job: BatchJob) -> BatchJob:
        """As it was last."""
        return self._saved.get(job.name, job)

    def _save(self, job: BatchJob) -> BatchJob:
        self._saved[job.name] = job
        return job
