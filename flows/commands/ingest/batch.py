"""The Batch road of a run: before anything is moved, what can wait is embedded at half the price.

The documents that changed are read once to find the texts that have no vector, which become Batch jobs. Their vectors
are in the lake before the pipeline begins, which then reads the documents and finds them. Jobs outlive a run: whatever
run comes next takes up what is open before it does anything else.
"""

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from millrace.configs.deadline import deadline_of
from millrace.configs.settings import Settings
from millrace.flows.commands.ingest.diff import SourceDiff
from millrace.flows.commands.ingest.signals import open_in_thread, run_in_thread_uncancelled
from millrace.flows.commands.ingest.stages import report
from millrace.flows.monitoring.run_state import RunState
from millrace.flows.wiring import components
from millrace.flows.wiring.components import Model, Spending
from millrace.flows.wiring.embedder import open_embedder
from millrace.tasks.embedding import (
    BatchClient,
    Dispatcher,
    LineFormat,
    LoopClock,
    cost_cny,
    endpoint_url,
    least_seconds,
    official_endpoint,
)
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.lake import BatchJob, ChunkParts, Lake, SeenKeys, VectorStore
from millrace.tasks.milvus import Collection
from millrace.tasks.stages.batch.driver import BatchDriver, Deadline
from millrace.tasks.stages.batch.job_writer import MAX_LINES, JobWriter
from millrace.tasks.stages.batch.road import BatchRoad
from millrace.tasks.stages.chunk import ChunkJob
from millrace.tasks.stages.embed import text_at
from millrace.tasks.stages.part_writer import Part

_log = logging.getLogger(__name__)

WORTH_CNY = 0.10
"""Batch takes hours; below this saving nobody waits for it."""

_OFFICIAL_POLL_S = 60.0
_FIRST_JOB_LINES = 5
_ROUNDS = 3
"""What a job did not come to before it expired goes by Batch again, so often."""

_LOADED_PER_S = 1_000.0
_SLACK = 1.05
"""The synchronous road is assumed to take so much longer than its limits say."""


class BatchRun:
    """The part of one run that has to do with Batch; the caller holds the lake open for writing."""

    def __init__(self, settings: Settings, model: Model, lake: Lake, state: RunState, spending: Spending) -> None:
        self._settings = settings
        self._model = model
        self._lake = lake
        self._state = state
        self._spending = spending
        self._jobs = lake.batch_jobs(model.space)
        self._clock = LoopClock()
        self._written = 0

    async def bring_in(self, diff: SourceDiff, *, open_collection: Callable[[], Collection]) -> bool:
        """Whether every job has come to its end; if not, the run ends here, because it was told to detach.

        Raises ConfigurationError for jobs of another account; BudgetReached before a job that could exceed the cap.
        """
        earlier = self._jobs.open()
        wanted = self._settings.embedding.batch != "never" and bool(diff.scan.jobs) and self._state.command == "ingest"
        if not earlier and not wanted:
            return True
        if self._state.command != "ingest":
            raise ConfigurationError(
                f"{len(earlier):,} Batch jobs are open, and what they will bring would be bought again: first run "
                "`millrace ingest` or `millrace jobs wait`, after `millrace jobs cancel` if they are not wanted"
            )
        if wanted and (lack := why_not(self._settings, self._model)):
            self._note(f"everything is embedded over the synchronous road, at the full price: {lack}")
            wanted = False
        deadline = self._deadline()
        async with self.opened(earlier) as (road, store, dispatcher):
            if wanted and not diff.documents_with_rows:
                await run_in_thread_uncancelled(partial(_try, open_collection))  # so that nothing is paid in vain
            for _ in range(_ROUNDS):
                written = await self._write_worthy_jobs(diff, store, earlier, deadline) if wanted else []
                driver = self._driver(road, store, dispatcher, [*earlier, *written], deadline)
                await self._drive(driver)
                expired = any(self._state.batch[job.name].remote == "expired" for job in written)
                if driver.jobs or not expired or deadline is not None or driver.refusal:
                    break
                earlier = []
            return not driver.jobs

    async def _drive(self, driver: BatchDriver) -> None:
        for job in driver.jobs:
            self._heard(job)
        await (driver.settle() if self._settings.embedding.detach else driver.finish_all())
        if driver.refusal:
            self._note(f"Batch is not to be had, so the full price is paid for the rest: {driver.refusal}")

    async def finish_open(self) -> None:
        """Wait for the open jobs, and take in what they bring. Raises ConfigurationError as `bring_in`."""
        earlier = self._jobs.open()
        if not earlier:
            return
        async with self.opened(earlier) as (road, store, dispatcher):
            driver = self._driver(road, store, dispatcher, earlier, deadline=None)
            await self._drive(driver)

    # What is to be embedded

    async def _write_worthy_jobs(
        self, diff: SourceDiff, store: VectorStore, earlier: Sequence[BatchJob], deadline: Deadline | None
    ) -> list[BatchJob]:
        """The jobs written, none where "auto" says that they do not pay."""
        written = await self._write_jobs(diff, store, earlier)
        why = self._why_at_once(written, deadline)
        if why:
            for job in written:
                self._jobs.discard(job)
            self._note(f"everything new is embedded over the synchronous road: {why}")
        return [] if why else written

    async def _write_jobs(self, diff: SourceDiff, store: VectorStore, earlier: Sequence[BatchJob]) -> list[BatchJob]:
        """Read what changed and write the texts without a vector as jobs; those in open jobs are under way."""
        spec = self._model.spec
        proven = any(job.answered for job in self._jobs.all())
        writer = JobWriter(
            self._jobs,
            self._new_job,
            texts_per_line=spec.texts_per_request,
            tokens_per_line=spec.tokens_per_request,
            first_lines=MAX_LINES if proven else _FIRST_JOB_LINES,
        )
        under_way = SeenKeys()
        for job in earlier:
            under_way.first_seen(self._jobs.texts(job, ["text_key"])["text_key"].to_pylist())
        with tempfile.TemporaryDirectory(prefix="millrace-batch-") as folder:
            parts = ChunkParts(Path(folder))
            options = components.chunk_stage_options(self._settings, self._model, Path(folder), run=self._state.run)
            readers = components.open_readers(self._settings, options, len(diff.scan.jobs))

            async def receive(part: Part) -> None:
                await asyncio.to_thread(take, part)

            def take(part: Part) -> None:
                columns = ["source", "content", "text_key", "tokens"]
                rows = parts.read(part.job, part.number, part.number, columns=columns)
                keys = rows["text_key"].to_pylist()
                missing = store.missing(keys)
                new = [missing[at] for at in under_way.first_seen([keys[position] for position in missing])]
                texts = [text_at(rows, position, spec.end_mark_tokens) for position in new]
                writer.add([text for text in texts if text.text.strip()])
                parts.remove([part.name])

            jobs = iter([ChunkJob(number, files) for number, files in enumerate(diff.scan.jobs)])
            turn = asyncio.Lock()

            async def in_turn(part: Part) -> None:
                async with turn:
                    await receive(part)

            async def read() -> None:
                for job in jobs:
                    await readers.run(job, in_turn)

            try:
                await asyncio.gather(*(read() for _ in range(readers.readers)))
            finally:
                readers.close()
        writer.close()
        return writer.written

    def _new_job(self, texts: int, lines: int, tokens: int) -> BatchJob:
        self._written += 1
        return BatchJob(
            name=f"{self._state.run}-{self._written:05}",
            run=self._state.run,
            collection=self._settings.milvus.collection,
            state="written",
            endpoint=self._endpoint,
            account=self._account,
            texts=texts,
            lines=lines,
            tokens=tokens,
            reserved_cny=cost_cny(tokens, self._model.spec.batch_price_cny_per_1k_tokens),
            created=datetime.now().astimezone().isoformat(timespec="seconds"),
            deadline=self._settings.embedding.deadline,
        )

    def _why_at_once(self, jobs: list[BatchJob], deadline: Deadline | None) -> str:
        """Why these are not worth a job, by "auto"; "" when they are."""
        if self._settings.embedding.batch == "always":
            return ""
        spec, tokens = self._model.spec, sum(job.tokens for job in jobs)
        saved = cost_cny(tokens, spec.price_cny_per_1k_tokens) - cost_cny(tokens, spec.batch_price_cny_per_1k_tokens)
        if saved < WORTH_CNY:
            return f"Batch would save ¥{saved:.4f}, less than ¥{WORTH_CNY:.2f}" if tokens else ""
        if deadline is not None:
            seconds = deadline.seconds_for(tokens, sum(job.lines for job in jobs))
            if self._clock.now() + seconds + deadline.margin_s >= deadline.at:
                return "a Batch job leaves no way back before the deadline"
        return ""

    # What is open meanwhile

    @contextlib.asynccontextmanager
    async def opened(self, earlier: Sequence[BatchJob]) -> AsyncIterator[tuple[BatchRoad, VectorStore, Dispatcher]]:
        """What is needed to go on with `earlier` jobs. Raises ConfigurationError for one of another account."""
        settings, model, state = self._settings, self._model, self._state
        async with contextlib.AsyncExitStack() as stack:
            api_key = components.require_api_key(settings, model)
            self._endpoint = endpoint_url(model.spec, settings.embedding.base_url)
            self._account = account_of_key(api_key)
            self._refuse_other_accounts(earlier)
            store = await open_in_thread(stack, partial(self._lake.vectors, model.space))
            client = BatchClient(model.spec.provider, base_url=self._endpoint, api_key=api_key)
            stack.push_async_callback(client.close)
            dispatcher = await stack.enter_async_context(
                open_embedder(
                    settings,
                    model,
                    self._lake,
                    store,
                    run=state.run,
                    on_event=partial(report, state),
                    spending=self._spending,
                )
            )
            line_format = LineFormat(
                model.spec, dimensions=model.space.dimensions, ask_dimensions=settings.embedding.ask_dimensions
            )
            road = BatchRoad(
                self._jobs,
                client,
                store,
                line_format,
                usage=self._spending.usage,
                budget=self._spending.budget,
                window=settings.embedding.batch_window,
                poll_s=self._poll_s,
                tell=self._note,
            )
            for job in earlier:
                if job.state not in {"written", "uploaded"}:
                    road.reserve(job, owed=True)
            yield road, store, dispatcher

    def _driver(
        self,
        road: BatchRoad,
        store: VectorStore,
        dispatcher: Dispatcher,
        jobs: list[BatchJob],
        deadline: Deadline | None,
    ) -> BatchDriver:
        async def buy(job: BatchJob) -> None:
            rows = await asyncio.to_thread(self._jobs.texts, job)
            missing = store.missing(rows["text_key"].to_pylist())
            futures = [await dispatcher.submit(text_at(rows, position, 0)) for position in missing]
            dispatcher.flush()
            await asyncio.gather(*futures)

        return BatchDriver(
            road, jobs, buy=buy, on_change=self._heard, poll_s=self._poll_s, clock=self._clock, deadline=deadline
        )

    @property
    def _poll_s(self) -> float:
        embedding = self._settings.embedding
        official = official_endpoint(embedding.base_url, self._model.spec.provider)
        return max(embedding.batch_poll_s, _OFFICIAL_POLL_S if official else 0.0)

    def _deadline(self) -> Deadline | None:
        text = self._settings.embedding.deadline
        if not text:
            return None
        now = datetime.now().astimezone()
        try:
            moment = deadline_of(text, now)
        except ValueError as error:
            raise ConfigurationError(f"embedding.deadline = {text!r}: {error}") from None
        spec = self._model.spec

        def seconds_for(tokens: int, requests: int) -> float:
            at_once = least_seconds(spec, requests, tokens) or 0.0
            return _SLACK * at_once + requests * spec.texts_per_request / _LOADED_PER_S

        return Deadline(self._clock.now() + (moment - now).total_seconds(), seconds_for)

    def _refuse_other_accounts(self, earlier: Sequence[BatchJob]) -> None:
        for job in earlier:
            if (job.endpoint, job.account) != (self._endpoint, self._account) and job.state != "written":
                raise ConfigurationError(
                    f"the Batch job {job.name} was submitted to {job.endpoint} with another key (its fingerprint is "
                    f"{job.account}, that of this key is {self._account}), and nobody else can see it. Go on with that "
                    f"key and embedding.base_url; or give the job up, with `millrace jobs cancel --forget {job.name}`: "
                    "what it has finished by then is paid for, and its texts are embedded again"
                )

    def _heard(self, job: BatchJob) -> None:
        before = self._state.batch.get(job.name)
        self._state.batch[job.name] = job
        self._state.batch_asked += 1
        if before is None or (before.state, before.remote) != (job.state, job.remote):
            _log.info("Batch job %s: %s", job.name, job_words(job), extra={"fields": {"event": "batch"}})

    def _note(self, message: str) -> None:
        _log.warning("%s", message)
        self._state.notes.append(message)


def why_not(settings: Settings, model: Model) -> str:
    """Why the texts of these settings cannot go by Batch; "" when they can, as far as the catalogue knows."""
    spec, embedding = model.spec, settings.embedding
    if not spec.batch_price_cny_per_1k_tokens:
        where = f" in {spec.region}" if spec.region else ""
        return f"there is no Batch for {spec.name} of provider {spec.provider}{where}"
    if embedding.api != "compatible":
        return 'Batch is of the compatible API only, and embedding.api is "native"'
    if model.space.text_type or model.space.instruct or model.space.sparse:
        return "Batch takes neither embedding.text_type nor instructions, and gives no sparse vectors"
    return ""


def account_of_key(api_key: str) -> str:
    """What tells one key from another without being one."""
    return sha256(api_key.encode()).hexdigest()[:12]


def job_words(job: BatchJob) -> str:
    """Where a job is, for people."""
    if job.state == "open":
        done = f", {job.lines_done:,} of {job.lines:,} lines done" if job.lines_done else ""
        return f"{job.remote}{done}"
    if job.state == "settled":
        return f"settled: {job.answered:,} of {job.texts:,} texts, ¥{job.cost_cny:.4f}"
    return f"{job.state}: {job.problem}" if job.problem else job.state


def _try(open_collection: Callable[[], Collection]) -> None:
    open_collection().close()
