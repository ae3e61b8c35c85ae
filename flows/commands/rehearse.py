"""`rehearse`: the run that would follow, played in virtual time: when it ends, what it costs, which limit binds when.

Dispatcher, rate limiter and the driver of Batch jobs are the real ones; the provider is played. It answers as it did in
earlier runs of this lake, or as is assumed and said; nothing is sent, and nothing is written.
"""

import asyncio
import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from millrace.configs.settings import Settings
from millrace.flows.commands.plan import around_s, count_texts
from millrace.flows.commands.report.formatting import BOTTLENECK_WORDS
from millrace.flows.monitoring.result import Result
from millrace.flows.wiring import components
from millrace.flows.wiring.batch_road import (
    MARGIN_S,
    Experience,
    deadline_in,
    poll_s,
    seconds_at_once,
    why_at_once,
    why_not,
)
from millrace.flows.wiring.collection_settings import with_remembered
from millrace.flows.wiring.embedder import account_of
from millrace.flows.wiring.embedding_model import Model
from millrace.tasks.embedding import (
    Dispatcher,
    EmbeddingResponse,
    LearnedLimits,
    LoopClock,
    Text,
    pack_requests,
)
from millrace.tasks.embedding.rate_limit import virtual_time
from millrace.tasks.errors import BudgetReached, ConfigurationError, ExitCode, ProviderUnavailable
from millrace.tasks.lake import BatchJob, Lake
from millrace.tasks.stages.batch.driver import BatchDriver, Deadline
from millrace.tasks.stages.batch.job_writer import MAX_LINES
from millrace.tasks.stages.batch.played_road import PlayedRoad

_ASSUMED_LATENCY_S = 0.5
_RUNS_CONSIDERED = 20
_LOOK_EVERY_S = 1.0
_WINDOW_UNITS_S = {"h": 3_600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `begin_s` on the run waits for `waits_for`, until the next stretch."""

    begin_s: float
    waits_for: str


@dataclass(frozen=True, slots=True)
class Rehearsal(Result):
    """How the run would go. `seconds` are until every row is in, `tokens` and `cost_cny` what it is billed.

    `waits_s` has the seconds that it waits, by what for; `stretches` say when. `assumed` names what is not known from
    earlier runs. `met` says whether a deadline is kept, None without one.
    """

    texts: int
    tokens: int
    cost_cny: float
    requests: int
    batch_jobs: int
    batch_tokens: int
    seconds: float
    ends: str
    waits_s: dict[str, float] = field(default_factory=dict)
    stretches: tuple[Stretch, ...] = ()
    assumed: tuple[str, ...] = ()
    deadline: str = ""
    met: bool | None = None
    stopped: str = ""

    @property
    def error(self) -> str:
        """Why the run would stop before its end."""
        return self.stopped

    @property
    def exit_code(self) -> int:
        """That of the run, where it would stop at its budget."""
        return ExitCode.BUDGET if self.stopped else ExitCode.DONE

    def lines(self) -> list[str]:
        """The rehearsal for people."""
        lines = [
            f"texts      {self.texts:,}; {self.tokens:,} tokens; ¥{self.cost_cny:.4f}",
            f"requests   {self.requests:,} at once"
            + (f"; {self.batch_jobs:,} Batch jobs with {self.batch_tokens:,} tokens" if self.batch_jobs else ""),
            f"ends       {self.ends}, after {_clock(self.seconds)}" + _verdict(self),
        ]
        total = sum(self.waits_s.values())
        for name, seconds in sorted(self.waits_s.items(), key=lambda item: -item[1]):
            if seconds >= 0.005 * total:
                words = BOTTLENECK_WORDS.get(name, name)
                lines.append(f"waits      {seconds / total:.0%} of the time for {words}")
        lines += [f"from {_clock(one.begin_s):>9} {_words(one.waits_for)}" for one in self.stretches[:_STRETCHES_SHOWN]]
        if len(self.stretches) > _STRETCHES_SHOWN:
            lines.append(f"           and {len(self.stretches) - _STRETCHES_SHOWN:,} more changes; see --json")
        return lines + [f"assumed    {one}" for one in self.assumed]


_STRETCHES_SHOWN = 12


def rehearse(
    settings: Settings, sources: Sequence[Path], *, chunks: int = 0, tokens_per_chunk: int = 400, seed: int = 0
) -> Rehearsal:
    """Play the run over `sources`, or over so many `chunks` of that many tokens each.

    Raises ConfigurationError for wrong settings; as `make_plan` for the sources.
    """
    settings = with_remembered(settings)
    model = components.load_model(settings)
    if chunks:
        tokens = array("I", [tokens_per_chunk + model.spec.end_mark_tokens]) * chunks
    elif sources:
        tokens = count_texts(settings, sources)
    else:
        raise ConfigurationError("there is nothing to rehearse: name a source, or --chunks")
    lake = Lake.open(components.lake_path(settings), settings.milvus.collection, read_only=True)
    return virtual_time.run(_Stage(settings, model, lake, tokens, random.Random(seed)).play())  # noqa: S311 - no secret hangs on it


class _Stage:
    """Where the run is played."""

    def __init__(self, settings: Settings, model: Model, lake: Lake, tokens: "array[int]", draw: random.Random) -> None:
        self._settings, self._model, self._lake, self._tokens = settings, model, lake, tokens
        self._draw = draw
        self._spending = components.Spending.of(settings, model)
        self._assumed: list[str] = []
        self._latency_s, self._failing = self._answers()
        self._waits: dict[str, float] = {}
        self._stretches: list[Stretch] = []

    async def play(self) -> Rehearsal:
        """The run from its beginning to its end."""
        settings, spec, total = self._settings, self._model.spec, sum(self._tokens)
        began = datetime.now().astimezone()
        moment = deadline_in(settings, began)
        loading_s = around_s(settings, len(self._tokens))
        left_s = (moment - began).total_seconds() - loading_s if moment else None
        lines = pack_requests(
            list(self._tokens), texts_per_request=spec.texts_per_request, tokens_per_request=spec.tokens_per_request
        )
        learned = LearnedLimits.from_values(self._lake.limits.read(account_of(settings, self._model)))
        limiter = components.open_rate_limiter(self._model, learned)
        dispatcher = components.open_dispatcher(
            settings, self._model, self, self, limiter=limiter, spending=self._spending
        )
        by_batch = settings.embedding.road != "never" and not why_not(settings, self._model)
        by_batch = by_batch and not why_at_once(settings, spec, total, len(lines), left_s=left_s)
        self._by_batch_first = by_batch
        watching = asyncio.create_task(self._watch(dispatcher))
        stopped, jobs = "", 0
        try:
            if by_batch:
                jobs = await self._by_batch(dispatcher, lines, left_s)
            else:
                await self._at_once(dispatcher, range(len(self._tokens)))
            await dispatcher.drain()
        except BudgetReached as reached:
            stopped = str(reached)
        finally:
            watching.cancel()
            await dispatcher.close()
        usage, seconds = self._spending.usage, virtual_time.now() + loading_s
        ends = began + timedelta(seconds=seconds)
        return Rehearsal(
            texts=len(self._tokens),
            tokens=usage.tokens_billed,
            cost_cny=usage.cost_cny,
            requests=usage.requests_sent,
            batch_jobs=jobs,
            batch_tokens=usage.batch_tokens_billed,
            seconds=round(seconds, 1),
            ends=ends.isoformat(timespec="seconds"),
            waits_s={name: round(waited, 1) for name, waited in self._waits.items()},
            stretches=tuple(self._stretches),
            assumed=tuple(self._assumed),
            deadline=moment.isoformat(timespec="minutes") if moment else "",
            met=None if moment is None else ends <= moment,
            stopped=stopped,
        )

    async def _at_once(self, dispatcher: Dispatcher, positions: range) -> None:
        for position in positions:
            tokens = self._tokens[position]
            await dispatcher.submit(Text(position.to_bytes(8, "big"), str(tokens), tokens, ""))

    async def _by_batch(self, dispatcher: Dispatcher, lines: Sequence[range], left_s: float | None) -> int:
        spec = self._model.spec
        texts_of = {f"{first:09}": lines[first : first + MAX_LINES] for first in range(0, len(lines), MAX_LINES)}
        jobs = [self._job(name, part) for name, part in texts_of.items()]
        road = PlayedRoad(self._spending.usage, lasts_s=self._lasts_s(), now=virtual_time.now)
        deadline = None
        if left_s is not None:
            deadline = Deadline(left_s, lambda tokens, requests: seconds_at_once(spec, tokens, requests), MARGIN_S)

        async def buy(job: BatchJob) -> None:
            if not road.answered.get(job.name):
                part = texts_of[job.name]
                await self._at_once(dispatcher, range(part[0].start, part[-1].stop))
                await dispatcher.drain()
                road.answered[job.name] = True

        driver = BatchDriver(
            road,
            jobs,
            buy=buy,
            on_change=lambda job: None,
            poll_s=poll_s(self._settings, spec),
            clock=LoopClock(),
            deadline=deadline,
        )
        await driver.finish_all()
        for job in jobs:
            await buy(job)
        return len(jobs)

    def _job(self, name: str, lines: Sequence[range]) -> BatchJob:
        start, stop = lines[0].start, lines[-1].stop
        return BatchJob(
            name=name,
            run="",
            collection="",
            state="written",
            endpoint="",
            account="",
            texts=stop - start,
            lines=len(lines),
            tokens=sum(self._tokens[start:stop]),
            created="",
        )

    def _lasts_s(self) -> float:
        known = Experience.of(self._lake.batch_jobs(self._model.space).all())
        if known is not None:
            return known.median_s
        window = self._settings.embedding.batch_window
        self._assumed.append(f"each Batch job takes its whole window, {window}: no job of this lake has shown better")
        return float(window[:-1]) * _WINDOW_UNITS_S[window[-1]]

    def _answers(self) -> tuple[float, float]:
        """How long an answer takes on average, and the share of requests that fail, in the last runs of the lake."""
        answers = failed = 0
        seconds = 0.0
        for timeline in self._lake.timelines.newest(_RUNS_CONSIDERED):
            facts: Mapping[str, Any] = timeline.facts
            if facts.get("provider") != self._model.spec.provider:
                continue
            try:
                answers += sum(facts["latency"]["counts"])
                seconds += facts["latency"]["total_s"]
                failed += facts["unavailable"]
            except (KeyError, TypeError):  # written by another version
                continue
        if not answers:
            self._assumed.append(f"an answer takes {_ASSUMED_LATENCY_S} s, and none fails: no earlier run has shown it")
            return _ASSUMED_LATENCY_S, 0.0
        return seconds / answers, failed / (answers + failed)

    async def _watch(self, dispatcher: Dispatcher) -> None:
        """Note what the run waits for, every second."""
        while True:
            activity = dispatcher.activity
            busy = activity.requests_in_flight or activity.requests_backing_off
            name = activity.waiting_for or ("answers" if busy or not self._by_batch_first else "batch")
            self._waits[name] = self._waits.get(name, 0.0) + _LOOK_EVERY_S
            if not self._stretches or self._stretches[-1].waits_for != name:
                self._stretches.append(Stretch(round(virtual_time.now(), 1), name))
            await asyncio.sleep(_LOOK_EVERY_S)

    # The provider and the store, as the dispatcher sees them.

    async def embed(self, texts: Sequence[str]) -> EmbeddingResponse:
        """An answer, after a while; the texts are their own numbers of tokens."""
        await asyncio.sleep(self._latency_s)
        if self._failing and self._draw.random() < self._failing:
            raise ProviderUnavailable("played")
        return EmbeddingResponse(_NO_VECTORS[: len(texts)], sum(map(int, texts)), "")

    async def append(self, *_: object) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing was opened."""


_NO_VECTORS = np.empty((4_096, 0), np.float32)
"""Of answers whose vectors nobody looks at."""


def _verdict(rehearsal: Rehearsal) -> str:
    if rehearsal.met is None:
        return ""
    return f"; in time for {rehearsal.deadline}" if rehearsal.met else f"; TOO LATE for {rehearsal.deadline}"


def _words(name: str) -> str:
    return f"waits for {BOTTLENECK_WORDS.get(name, name)}"


def _clock(seconds: float) -> str:
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole:02}"
