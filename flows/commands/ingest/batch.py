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
from pathlib import Path

from millrace.configs.settings import Settings
from millrace.flows.commands.ingest.diff import SourceDiff
from millrace.flows.commands.ingest.signals import open_in_thread, run_in_thread_uncancelled
from millrace.flows.commands.ingest.stages import report
from millrace.flows.monitoring.run_state import RunState
from millrace.flows.wiring import components
from millrace.flows.wiring.batch_road import (
    MARGIN_S,
    account_of_key,
    deadline_in,
    job_words,
    poll_s,
    seconds_at_once,
    why_at_once,
    why_not,
)
from millrace.flows.wiring.components import Model, Spending
from millrace.flows.wiring.embedder import open_embedder
from millrace.tasks.embedding import (
    BatchClient,
    Dispatcher,
    LineFormat,
    LoopClock,
    cost_cny,
    endpoint_url,
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

_FIRST_JOB_LINES = 5
_ROUNDS = 3
"""What a job did not come to before it expired goes by Batch again, so often."""

_LOADED_PER_S = 1_000.0
_READ_AGAIN = 1.2
"""The second reading takes as long as the first did, or a little longer."""


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
        self._due: float | None = None  # by the clock, when every row is to be in
        self._reading_s = 0.0
        self._rows_read = 0

    async def bring_in(self, diff: SourceDiff, *, open_collection: Callable[[], Collection]) -> bool:
        """Whether every job has come to its end; if not, the run ends here, because it was told to detach.

        Raises ConfigurationError for jobs of another account; BudgetReached before a job that could exceed the cap.
        """
        earlier = self._jobs.open()
        wanted = self._settings.embedding.road != "never" and bool(diff.scan.jobs) and self._state.command == "ingest"
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
        moment = deadline_in(self._settings, now := datetime.now().astimezone())
        self._due = self._clock.now() + (moment - now).total_seconds() if moment else None
        async with self.opened(earlier) as (road, store, dispatcher):
            if wanted and not diff.documents_with_rows:
                await run_in_thread_uncancelled(partial(_try, open_collection))  # so that nothing is paid in vain
            for _ in range(_ROUNDS):
                written = await self._write_worthy_jobs(diff, store, earlier) if wanted else []
                driver = self._driver(road, store, dispatcher, [*earlier, *written])
                await self._drive(driver)
                expired = any(self._state.batch[job.name].remote == "expired" for job in written)
                if driver.jobs or not expired or self._due is not None or driver.refusal:
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
            driver = self._driver(road, store, dispatcher, earlier)
            await self._drive(driver)

    # What is to be embedded

    async def _write_worthy_jobs(
        self, diff: SourceDiff, store: VectorStore, earlier: Sequence[BatchJob]
    ) -> list[BatchJob]:
        """The jobs written, none where "auto" says that they do not pay."""
        written = await self._write_jobs(diff, store, earlier)
        deadline = self._deadline()
        why = why_at_once(
            self._settings,
            self._model.spec,
            sum(job.tokens for job in written),
            sum(job.lines for job in written),
            left_s=deadline.at - self._clock.now() if deadline else None,
        )
        if why:
            for job in written:
                self._jobs.discard(job)
            self._note(f"everything new is embedded over the synchronous road: {why}")
        return [] if why else written

    async def _write_jobs(self, diff: SourceDiff, store: VectorStore, earlier: Sequence[BatchJob]) -> list[BatchJob]:
        """Read what changed and write the texts without a vector as jobs; those in open jobs are under way."""
        spec, began = self._model.spec, self._clock.now()
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
                columns = ["source", "content", "metadata", "text_key", "tokens"]
                rows = parts.read(part.job, part.number, part.number, columns=columns)
                self._rows_read += rows.num_rows
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
        self._reading_s = self._clock.now() - began
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
                poll_s=poll_s(settings, model.spec),
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
    ) -> BatchDriver:
        async def buy(job: BatchJob) -> None:
            rows = await asyncio.to_thread(self._jobs.texts, job)
            missing = store.missing(rows["text_key"].to_pylist())
            futures = [await dispatcher.submit(text_at(rows, position, 0)) for position in missing]
            dispatcher.flush()
            await asyncio.gather(*futures)

        return BatchDriver(
            road,
            jobs,
            buy=buy,
            on_change=self._heard,
            poll_s=poll_s(self._settings, self._model.spec),
            clock=self._clock,
            deadline=self._deadline(),
            tell_outage=self._state.heard,
        )

    def _deadline(self) -> Deadline | None:
        """By when every vector must be there: what was just read is read once more after that, and loaded."""
        if self._due is None:
            return None
        spec = self._model.spec
        at = self._due - _READ_AGAIN * self._reading_s - self._rows_read / _LOADED_PER_S

        def seconds_for(tokens: int, requests: int) -> float:
            return seconds_at_once(spec, tokens, requests)

        return Deadline(at, seconds_for, MARGIN_S)

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


def _try(open_collection: Callable[[], Collection]) -> None:
    open_collection().close()
