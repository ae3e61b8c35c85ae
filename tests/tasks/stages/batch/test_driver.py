"""The driver in virtual time, beside jobs that are slow, stuck, late, expired, and answers that are lost."""

from __future__ import annotations

import asyncio
import random
import statistics
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from millrace.tasks.embedding import LoopClock, Unreachable
from millrace.tasks.embedding.rate_limit.virtual_time import now, run
from millrace.tasks.errors import BudgetReached, ProviderStopped, ProviderUnavailable
from millrace.tasks.lake import BatchJob
from millrace.tasks.outages import Outage
from millrace.tasks.stages.batch.driver import BatchDriver, Deadline

TOKENS_PER_S = 20_000.0
LINES = 2_000


def job(number: int, *, tokens: int = 4_000_000, state: str = "written") -> BatchJob:
    return BatchJob(
        name=f"job-{number:03}",
        run="run",
        collection="documents",
        state=state,  # type: ignore[arg-type]
        endpoint="http://127.0.0.1/v1",
        account="abc",
        texts=LINES * 10,
        lines=LINES,
        tokens=tokens,
        created="2026-12-01T00:00:00+00:00",
    )


@dataclass
class Fate:
    """What becomes of one job at the provider, in seconds from its creation."""

    queue_s: float = 0.0
    runs_s: float = 600.0
    window_s: float = 24 * 3600.0
    published_after_s: float = 0.0
    cancel_s: float = 30.0
    uncancellable: bool = False
    lost_answers: int = 0

    def done(self, since_s: float) -> float:
        """The share that is done so long after the creation."""
        return min(max((since_s - self.queue_s) / self.runs_s, 0.0), 1.0) if since_s < self.window_s else 0.0

    @property
    def ends_after_s(self) -> float:
        return min(self.queue_s + self.runs_s, self.window_s)


@dataclass
class FakeRoad:
    """Plays the road and the provider behind it; money in tokens at the full price."""

    fates: dict[str, Fate]
    refuses: str = ""
    refuses_lines: bool = False
    created_at: dict[str, float] = field(default_factory=dict)
    cancelled_at: dict[str, float] = field(default_factory=dict)
    saved: dict[str, BatchJob] = field(default_factory=dict)
    rest: dict[str, int] = field(default_factory=dict)
    spent: float = 0.0
    asked: list[float] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)

    async def submit(self, one: BatchJob) -> BatchJob:
        await asyncio.sleep(1.0)
        if self.refuses:
            raise ProviderStopped(self.refuses)
        if self.lost.setdefault(one.name, self.fates[one.name].lost_answers):
            self.lost[one.name] -= 1
            self._save(replace(one, state="creating"))
            raise ProviderUnavailable("the answer was lost", retry_after_s=45.0)
        self.created_at[one.name] = now()
        return self._save(replace(one, state="open", remote="validating"))

    async def ask(self, one: BatchJob) -> BatchJob:
        self.asked.append(now())
        fate, since = self.fates[one.name], now() - self.created_at[one.name]
        cancelled = self.cancelled_at.get(one.name)
        if cancelled is not None and not fate.uncancellable and now() >= cancelled + fate.cancel_s:
            return self._save(replace(one, state="over", remote="cancelled"))
        if since >= fate.ends_after_s + fate.published_after_s:
            return self._save(replace(one, state="over", remote="completed" if fate.done(since) == 1 else "expired"))
        return one

    async def cancel(self, one: BatchJob) -> BatchJob:
        self.cancelled_at[one.name] = now()
        return self._save(replace(one, cancelling=True))

    async def take_in(self, one: BatchJob) -> BatchJob:
        fate = self.fates[one.name]
        until = min(now(), self.cancelled_at.get(one.name, now())) - self.created_at[one.name]
        share = 0.0 if self.refuses_lines else fate.done(min(until, fate.window_s - 1e-6))
        self.spent += share * one.tokens / 2
        answered = round(share * one.texts)
        self.rest[one.name] = round((1 - share) * one.tokens)
        refused = one.texts - answered if self.refuses_lines else 0
        return self._save(
            replace(one, state="journalled", answered=answered, refused=refused, not_run=one.texts - answered - refused)
        )

    async def clear(self, one: BatchJob) -> BatchJob:
        return self._save(replace(one, state="settled"))

    def drop(self, one: BatchJob, why: str) -> BatchJob:
        self.dropped.append(one.name)
        self.rest.setdefault(one.name, one.tokens)
        return replace(one, state="dropped", problem=why)

    def end(self, one: BatchJob) -> None:
        self.ended.append(one.name)

    def as_saved(self, one: BatchJob) -> BatchJob:
        return self.saved.get(one.name, one)

    def _save(self, one: BatchJob) -> BatchJob:
        self.saved[one.name] = one
        return one


@dataclass
class End:
    at_s: float
    spent: float
    road: FakeRoad
    driver: BatchDriver


def drive(fates: list[Fate], *, deadline_s: float | None = None, road: FakeRoad | None = None, **options: Any) -> End:
    """All jobs brought to their end, and what they did not answer bought at once afterwards."""
    jobs = [job(number) for number in range(len(fates))]
    road = road or FakeRoad({})
    road.fates = {one.name: fate for one, fate in zip(jobs, fates, strict=True)}
    bought: dict[str, int] = {}

    async def buy(one: BatchJob) -> None:
        left = road.rest.get(one.name, one.tokens)
        await asyncio.sleep(left / TOKENS_PER_S)
        bought[one.name] = left

    async def story() -> End:
        deadline = None
        if deadline_s is not None:
            deadline = Deadline(deadline_s, lambda tokens, requests: tokens / TOKENS_PER_S)
        driver = BatchDriver(
            road,
            jobs,
            buy=buy,
            on_change=lambda one: None,
            poll_s=60.0,
            clock=LoopClock(),
            deadline=deadline,
            **options,
        )
        await driver.finish_all()
        for one in jobs:
            if one.name not in bought and road.rest.get(one.name):
                await buy(one)
        return End(now(), road.spent + sum(bought.values()), road, driver)

    return run(story())


def test_without_a_deadline_every_job_is_waited_for_and_costs_half() -> None:
    end = drive([Fate(queue_s=3_600, runs_s=7_200), Fate(runs_s=600), Fate(published_after_s=900)])
    assert end.spent == 3 * 4_000_000 / 2
    assert sorted(end.road.ended) == ["job-000", "job-001", "job-002"]
    assert 10_800 <= end.at_s < 10_900


def test_a_job_is_asked_after_at_2_4_and_8_seconds_and_then_once_a_minute() -> None:
    end = drive([Fate(queue_s=300, runs_s=300)])
    waits = [round(after - before) for before, after in zip(end.road.asked, end.road.asked[1:], strict=False)]
    assert waits[:2] == [4, 8]
    assert set(waits[2:]) == {60}


def test_a_job_that_stays_in_the_queue_is_cancelled_in_time_and_bought_at_once() -> None:
    end = drive([Fate(queue_s=10**9)] * 3, deadline_s=3_600)
    assert 2_400 < end.at_s <= 3_600
    assert end.spent == 3 * 4_000_000


def test_only_what_has_to_be_is_cancelled() -> None:
    """Two jobs end in time; the third never would, and takes 200 s at once."""
    end = drive([Fate(runs_s=1_800), Fate(runs_s=2_400), Fate(queue_s=10**9)], deadline_s=7_200)
    assert end.road.cancelled_at.keys() == {"job-002"}
    assert end.at_s <= 7_200
    assert end.spent == 4_000_000 * (0.5 + 0.5 + 1)


def test_what_a_cancelled_job_had_finished_is_not_bought_again() -> None:
    end = drive([Fate(runs_s=20_000)], deadline_s=7_200)
    share = (end.road.cancelled_at["job-000"] - 1) / 20_000
    assert end.spent == pytest.approx(4_000_000 * (share / 2 + 1 - share), rel=1e-3)
    assert end.at_s <= 7_200


def test_a_job_that_cannot_be_cancelled_is_left_open_and_bought_at_the_last_moment() -> None:
    end = drive([Fate(queue_s=10**9, uncancellable=True)], deadline_s=3_600)
    assert end.at_s <= 3_600
    assert end.road.saved["job-000"].open


def test_a_lost_answer_is_asked_after_and_nothing_is_begun_twice() -> None:
    end = drive([Fate(lost_answers=1), Fate()])
    assert end.spent == 4_000_000
    assert 45 < end.road.created_at["job-000"] < 60


def test_an_account_without_batch_is_told_once_and_everything_is_left_to_the_other_road() -> None:
    end = drive([Fate()] * 3, road=FakeRoad({}, refuses="no right to Batch"))
    assert end.driver.refusal == "no right to Batch"
    assert sorted(end.road.dropped) == ["job-000", "job-001", "job-002"]
    assert end.spent == 3 * 4_000_000


def test_a_file_that_is_refused_leaves_the_jobs_that_are_open_to_their_end() -> None:
    class Full(FakeRoad):
        async def submit(self, one: BatchJob) -> BatchJob:
            if len(self.created_at) == 2:
                raise ProviderStopped("no room for files")
            return await super().submit(one)

    end = drive([Fate()] * 4, road=Full({}))
    assert end.driver.refusal == "no room for files"
    assert end.road.cancelled_at == {}
    assert end.spent == 4_000_000 * (0.5 + 0.5 + 1 + 1)


def test_a_first_job_that_is_refused_line_by_line_says_the_same() -> None:
    fates = [Fate(runs_s=60), Fate(queue_s=10**6, runs_s=10)]
    end = drive(fates, road=FakeRoad({}, refuses_lines=True))
    assert end.driver.refusal
    assert end.road.cancelled_at.keys() == {"job-001"}
    assert end.at_s < 3_600


def test_a_provider_that_never_answers_stops_the_run_and_one_that_did_is_waited_for() -> None:
    class Away(FakeRoad):
        async def submit(self, one: BatchJob) -> BatchJob:
            self.require()
            return await super().submit(one)

        async def ask(self, one: BatchJob) -> BatchJob:
            self.require()
            return await super().ask(one)

        def require(self) -> None:
            if self.refuses or 2.5 < now() < 1_000:
                raise Unreachable("no connection")

    with pytest.raises(ProviderStopped, match="never answered"):
        drive([Fate()], road=Away({}, refuses="always"))
    heard: list[Outage] = []
    end = drive([Fate(), Fate(), Fate(), Fate()], road=Away({}), tell_outage=heard.append)
    assert end.spent == 4 * 4_000_000 / 2
    assert [outage.away_s is None for outage in heard] == [True, False]


def test_the_cap_stops_the_run_and_leaves_what_is_open() -> None:
    class Capped(FakeRoad):
        async def submit(self, one: BatchJob) -> BatchJob:
            if self.created_at:
                raise BudgetReached("the cap")
            return await super().submit(one)

    road = Capped({})
    with pytest.raises(BudgetReached):
        drive([Fate(), Fate()], road=road)
    assert road.saved["job-000"].open


def random_fate(draw: random.Random) -> Fate:
    kind = draw.choice(["quick", "slow", "stuck", "late", "expired", "lost"])
    fate = Fate(queue_s=draw.uniform(0, 7_200), runs_s=draw.uniform(300, 10_000), cancel_s=draw.uniform(1, 120))
    match kind:
        case "quick":
            return replace(fate, queue_s=draw.uniform(0, 300), runs_s=draw.uniform(60, 900))
        case "stuck":
            return replace(fate, queue_s=10**9, uncancellable=draw.random() < 0.2)
        case "late":
            return replace(fate, published_after_s=draw.uniform(0, 1_800))
        case "expired":
            return replace(fate, window_s=fate.queue_s + fate.runs_s * draw.uniform(0.1, 0.9))
        case "lost":
            return replace(fate, lost_answers=draw.randint(1, 2))
    return fate


def least_possible(fates: list[Fate], deadline_s: float) -> float:
    """No road is cheaper, even for who knows it all: half for what jobs have finished by the deadline."""
    tokens = 4_000_000
    by_batch = sum(max(fate.done(min(deadline_s, fate.ends_after_s - 1e-6)), 0.0) for fate in fates)
    return tokens * (by_batch / 2 + len(fates) - by_batch)


@pytest.mark.parametrize("schedules", [50, pytest.param(1_000, marks=pytest.mark.thorough)])
def test_schedules_drawn_at_random_meet_their_deadline_near_the_least_price(schedules: int) -> None:
    draw = random.Random(20261201)
    ratios, missed = [], []
    for number in range(schedules):
        fates = [random_fate(draw) for _ in range(draw.randint(1, 6))]
        at_once_s = len(fates) * 4_000_000 / TOKENS_PER_S
        deadline_s = at_once_s + 400 + draw.uniform(0, 20_000)  # reachable when the run begins
        end = drive(fates, deadline_s=deadline_s)
        if end.at_s > deadline_s:  # a schedule is named whole, so that it can be told again
            missed.append((number, end.at_s - deadline_s, fates))
        ratios.append(end.spent / least_possible(fates, deadline_s))
    assert missed == []
    assert statistics.median(ratios) <= 1.05
