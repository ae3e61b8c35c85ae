"""Brings all open jobs of a run to their end, and buys at once what would come too late.

With a deadline a job is let go on as long as what no job has answered can still be bought over the synchronous road in
time. From then on jobs are cancelled one after the other, the last begun first; what they had finished is taken in and
the rest is bought at once, while the other jobs go on.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from millrace.tasks.embedding import Clock, Unreachable
from millrace.tasks.errors import ConfigurationError, ProviderStopped, Rejected, Throttled, Transient
from millrace.tasks.lake import BatchJob
from millrace.tasks.outages import Availability, Tell, no_listener
from millrace.tasks.stages.batch.road import OutputForeign

FIRST_ASKED_AFTER_S = (2.0, 4.0, 8.0)
"""A file that is not valid is refused within seconds."""

_CANCEL_ASKED_EVERY_S = 10.0
_BACKOFF_S = (2.0, 5.0, 15.0, 30.0, 60.0)
_GIVE_UP_FAILURES = 4
_LAST_MOMENT_S = 30.0
_NEVER = math.inf


@dataclass(slots=True)
class _Turn:
    """When a job is to be brought on, and how often that failed or was tried in a row."""

    due: float
    asked: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment `at` of the clock by which every vector must be there.

    `seconds_for` says how long so many tokens in so many requests take over the synchronous road. `margin_s` is kept
    for the end of jobs that are cancelled.
    """

    at: float
    seconds_for: Callable[[int, int], float]
    margin_s: float = 300.0


class Road(Protocol):
    """The steps of a job, as `BatchRoad` takes them."""

    async def submit(self, job: BatchJob) -> BatchJob:
        """One step towards an open job."""
        ...

    async def ask(self, job: BatchJob) -> BatchJob:
        """Whether an open job has ended."""
        ...

    async def cancel(self, job: BatchJob) -> BatchJob:
        """Ask for its end."""
        ...

    async def take_in(self, job: BatchJob) -> BatchJob:
        """Its vectors into the store."""
        ...

    async def clear(self, job: BatchJob) -> BatchJob:
        """Its files away from the provider."""
        ...

    def drop(self, job: BatchJob, why: str) -> BatchJob:
        """Give it up."""
        ...

    def end(self, job: BatchJob) -> None:
        """Let its texts go."""
        ...

    def as_saved(self, job: BatchJob) -> BatchJob:
        """As its record has it."""
        ...


class BatchDriver:
    """Drives `jobs`, of which none is at its end.

    `buy` embeds what a job has not answered over the synchronous road. `on_change` is called with each job after each
    step. `poll_s` is the time between two questions about one job.
    """

    def __init__(
        self,
        road: Road,
        jobs: Sequence[BatchJob],
        *,
        buy: Callable[[BatchJob], Awaitable[None]],
        on_change: Callable[[BatchJob], None],
        poll_s: float,
        clock: Clock,
        deadline: Deadline | None = None,
        tell_outage: Tell = no_listener,
    ) -> None:
        self._road = road
        self._buy = buy
        self._on_change = on_change
        self._poll_s = poll_s
        self._clock = clock
        self._deadline = deadline
        self._availability = Availability("provider", tell_outage, clock=clock.now)
        self._reached = False
        self._all_in_vain = False  # what refused every line of one job will refuse those that are open too
        self._jobs = {job.name: job for job in jobs}
        self._turns = {job.name: _Turn(clock.now()) for job in jobs}
        self._rescued: list[BatchJob] = []  # cancelled ones whose rest is to be bought now
        self._buying: asyncio.Task[None] | None = None
        self._bought_now: BatchJob | None = None
        self._proven = False
        self._too_late: set[str] = set()  # jobs that do not end, whose texts were bought at the last moment
        self.refusal = ""
        """Why Batch is not to be had here; "" while nothing says so."""

    @property
    def jobs(self) -> list[BatchJob]:
        """The jobs that are not at their end, and are still waited for."""
        return [job for name, job in self._jobs.items() if name not in self._too_late]

    async def settle(self) -> None:
        """Return when every job that had ended is at its end, and every other one was asked after."""
        await self._drive(lambda: any(job.state != "open" or not self._turns[job.name].asked for job in self.jobs))

    async def finish_all(self) -> None:
        """Return when every job is at its end, and all its vectors are in the store."""
        try:
            await self._drive(lambda: bool(self.jobs or self._rescued or self._buying))
        finally:
            if self._buying is not None:
                self._buying.cancel()
                await asyncio.gather(self._buying, return_exceptions=True)

    async def _drive(self, goes_on: Callable[[], bool]) -> None:
        while goes_on():
            for job in self.jobs:
                if job.name in self._jobs and self._turns[job.name].due <= self._clock.now():
                    await self._bring_on(job)
            await self._rescue()
            for job in self.jobs if self._all_in_vain else ():
                if job.state == "open" and not job.cancelling:
                    await self._cancel(job)
            if goes_on():
                await self._sleep()

    async def _sleep(self) -> None:
        due = min((self._turns[job.name].due for job in self.jobs), default=_NEVER)
        wait_s = max(min(due, self._rescue_at()) - self._clock.now(), 0.01)
        sleeping = asyncio.ensure_future(self._clock.sleep(min(wait_s, 3600.0)))
        try:
            await asyncio.wait({sleeping, *filter(None, [self._buying])}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()

    async def _bring_on(self, job: BatchJob) -> None:
        """One step of one job; what fails for now is tried again later."""
        turn = self._turns[job.name]
        try:
            after = await self._step(job)
        except OutputForeign:
            raise
        except Transient as failure:
            self._note_failure(failure, turn)
            wait_s = failure.retry_after_s or _BACKOFF_S[min(turn.failures, len(_BACKOFF_S) - 1)]
            turn.failures += 1
            turn.due = self._clock.now() + wait_s
            self._refresh(job)
            return
        except (ConfigurationError, ProviderStopped, Rejected) as refusal:
            if job.state not in _BEFORE_OPEN or job.state in {"uploading", "creating"}:
                raise
            self._give_up_batch(str(refusal))
            return
        self._reached = True
        self._availability.answered()
        turn.failures = 0
        turn.asked = turn.asked + 1 if after.state == job.state == "open" else 0
        turn.due = self._clock.now() + self._wait_s(after, turn)
        self._jobs[job.name] = after
        self._on_change(after)
        if after.state == "settled":
            self._leave(after)

    def _note_failure(self, failure: Transient, turn: _Turn) -> None:
        """Raises ProviderStopped where nothing has ever answered, and nothing does for a minute."""
        if isinstance(failure, Throttled):
            return
        self._availability.failed(f"{failure}; it is waited for")
        if isinstance(failure, Unreachable) and not self._reached and turn.failures >= _GIVE_UP_FAILURES:
            raise ProviderStopped(f"{failure}. It has never answered; the Batch jobs stay as they are") from failure

    async def _step(self, job: BatchJob) -> BatchJob:
        match job.state:
            case "open":
                return await self._road.ask(job)
            case "over":
                return await self._road.take_in(job)
            case "journalled":
                return await self._road.clear(job)
            case _:
                return await self._road.submit(job)

    def _wait_s(self, job: BatchJob, turn: _Turn) -> float:
        if job.state != "open":
            return 0.0
        if job.cancelling:
            return min(_CANCEL_ASKED_EVERY_S, self._poll_s)
        if turn.asked < len(FIRST_ASKED_AFTER_S):
            return min(FIRST_ASKED_AFTER_S[turn.asked], self._poll_s)
        return self._poll_s

    def _refresh(self, job: BatchJob) -> None:
        """A step that failed may have got further on disk than its answer."""
        self._jobs[job.name] = self._road.as_saved(job)

    def _leave(self, job: BatchJob) -> None:
        """A job is at its end; its texts go, unless some are to be bought at once."""
        del self._jobs[job.name]
        self._proven |= job.answered > 0
        nothing_came = not job.answered and not job.cancelling
        if nothing_came and not self._proven and job.remote in {"completed", "failed"}:
            self._all_in_vain = True
            self._give_up_batch(job.problem or "the first job was refused line by line")
        if job.not_run + job.refused and self._jobs and self._deadline is not None:
            self._rescued.append(job)
        else:
            self._road.end(job)

    def _give_up_batch(self, why: str) -> None:
        """Batch is not to be had: what is not open yet is left to the synchronous road."""
        self.refusal = self.refusal or why
        for job in self.jobs:
            if job.state in {"written", "uploaded"}:
                del self._jobs[job.name]
                self._on_change(self._road.drop(job, why))

    # The way back

    def _left(self) -> tuple[int, int]:
        """Tokens and lines that no job has answered yet, and that are not bought yet."""
        waiting = [*self.jobs, *self._rescued, *filter(None, [self._bought_now])]
        return sum(job.tokens for job in waiting), sum(job.lines for job in waiting)

    def _rescue_at(self) -> float:
        """When the next job has to be cancelled; never without a deadline, or with nothing left to cancel."""
        if self._deadline is None or self._next_to_rescue() is None:
            return _NEVER
        if self._ahead_s() >= self._deadline.margin_s:
            return _NEVER
        return self._deadline.at - self._deadline.seconds_for(*self._left()) - self._deadline.margin_s

    def _ahead_s(self) -> float:
        """How long the synchronous road is busy with what jobs that were cancelled have left."""
        assert self._deadline is not None
        given = [*self._rescued, *filter(None, [self._bought_now]), *(job for job in self.jobs if job.cancelling)]
        return self._deadline.seconds_for(sum(job.tokens for job in given), sum(job.lines for job in given))

    def _next_to_rescue(self) -> BatchJob | None:
        left = [job for job in self.jobs if not job.cancelling and job.state in _CANCELLABLE]
        return left[-1] if left else None

    async def _rescue(self) -> None:
        while self._rescue_at() <= self._clock.now():
            job = self._next_to_rescue()
            assert job is not None
            if job.state != "open":
                del self._jobs[job.name]
                self._rescued.append(job)
                continue
            if not await self._cancel(job):
                break
        if self._deadline is not None:
            self._give_up_waiting()
        if self._buying is not None and self._buying.done():
            self._buying.result()
            self._buying = self._bought_now = None
        if self._buying is None and self._rescued:
            self._bought_now = self._rescued.pop(0)
            self._buying = asyncio.create_task(self._buy_rest(self._bought_now))

    async def _cancel(self, job: BatchJob) -> bool:
        """Whether the provider was asked to end the job; if not it is asked again soon."""
        soon = self._clock.now() + min(_CANCEL_ASKED_EVERY_S, self._poll_s)
        self._turns[job.name] = _Turn(soon)
        try:
            self._jobs[job.name] = await self._road.cancel(job)
        except Transient:
            return False
        self._on_change(self._jobs[job.name])
        return True

    def _give_up_waiting(self) -> None:
        """What a job that does not end has left is bought at the last moment; that money may be spent twice."""
        assert self._deadline is not None
        last_moment = self._deadline.at - self._deadline.seconds_for(*self._left()) - _LAST_MOMENT_S
        late = self._clock.now() >= last_moment
        stuck = [job for job in self.jobs if job.cancelling]
        if late and stuck and not self._rescued and self._buying is None:
            self._too_late.add(stuck[-1].name)
            self._rescued.append(stuck[-1])

    async def _buy_rest(self, job: BatchJob) -> None:
        await self._buy(job)
        if job.state in {"written", "uploaded"}:
            self._on_change(self._road.drop(job, "bought at once, to be in time"))
        elif job.state == "settled":
            self._road.end(job)


_BEFORE_OPEN = frozenset({"written", "uploading", "uploaded", "creating"})
_CANCELLABLE = frozenset({"written", "uploaded", "open"})
