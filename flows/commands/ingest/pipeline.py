"""The ingestion itself: scan, then chunk, embed and load, overlapping, with bounded room between them.

`Pipeline` orders the stages and owns what they share; it runs the same under Prefect and without. Stages are addressed
by job and part numbers only, so that a flow can wrap each call as a task.
"""

import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow.compute as pc

from millrace.configs.settings import Settings
from millrace.flows.commands.ingest.deletions import DeletionPlan, is_below, with_rows
from millrace.flows.commands.ingest.diff import Comparison, compare
from millrace.flows.commands.ingest.executor import PartExecutor
from millrace.flows.commands.ingest.signals import opened, run_in_thread_uncancelled
from millrace.flows.monitoring.counters import RunCounts
from millrace.flows.monitoring.observer import NullObserver, RunObserver, SourceDiffSummary
from millrace.flows.monitoring.progress import Progress
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.flows.wiring import components, milvus
from millrace.flows.wiring.analyzer import analyzer_for_files, analyzer_notes
from millrace.flows.wiring.embedder import buying
from millrace.flows.wiring.milvus import outgrown
from millrace.flows.wiring.ownership import claim_collection, refuse_unknown_collection
from millrace.tasks.embedding import Dispatcher
from millrace.tasks.errors import CollectionMissing, RunStopped
from millrace.tasks.lake import ROW_LOCATION_COLUMNS, Checkpoint, Lake, VectorStore, no_checkpoint
from millrace.tasks.milvus import Collection as MilvusCollection
from millrace.tasks.milvus import is_lite
from millrace.tasks.records import SourceFile, reject_table
from millrace.tasks.stages.chunk import ChunkJob, ChunkSettings, Readers
from millrace.tasks.stages.embed import Embedded, EmbedStage
from millrace.tasks.stages.load import Loaded, LoadStage
from millrace.tasks.stages.memory import trim
from millrace.tasks.stages.part_writer import PART_CHUNKS, Part
from millrace.tasks.stages.row_diff import RowDiff
from millrace.tasks.stages.scan import Scan, UncommittedRows

_log = logging.getLogger(__name__)


class Pipeline:
    """One run of `ingest` over one lake and collection; the caller holds the lake open for writing."""

    def __init__(
        self,
        settings: Settings,
        sources: Sequence[Path],
        lake: Lake,
        report: RunSummary,
        progress: Progress,
        *,
        again: Collection[str] = (),
        unknown: Collection[str] = (),
        checkpoint: Checkpoint = no_checkpoint,
        watcher: RunObserver | None = None,
    ) -> None:
        """Prepare a run over `sources`.

        Documents in `again` are read whatever their files look like. Of those in `unknown`, the rows of the earlier
        version are not known any more; `verify --repair` deletes those that prove to be nobody's.
        """
        self._again = frozenset(again)
        self._unknown = frozenset(unknown)
        self._documents_with_rows = 0
        self._settings = settings
        self._sources = sources
        self._lake = lake
        self._report = report
        self._progress = progress
        self._counts = RunCounts(report, progress)
        self._checkpoint = checkpoint
        self._watcher = watcher or NullObserver()
        self._model = components.load_model(settings)
        self._jobs: Iterator[ChunkJob] = iter(())
        self._files: Sequence[SourceFile] = ()
        self._parts: dict[str, Part] = {}
        self._broken_off = threading.Event()
        self.part_chunks = PART_CHUNKS
        self.open_readers: Callable[[ChunkSettings, int], Readers] = partial(components.open_readers, settings)
        # A flow may wrap these two; they take a number or a name and return a count, nothing else.
        self.chunk: Callable[[int], Awaitable[int]] = self._chunk
        self.bring_in: Callable[[str], Awaitable[int]] = self._bring_in

    @property
    def lake(self) -> Lake:
        """The lake that it fills."""
        return self._lake

    async def run(self) -> None:
        """Bring the collection to the state of the sources, filling the report on the way."""
        compared = await run_in_thread_uncancelled(self._compare, if_cancelled=self._broken_off.set)
        found, doubt, self._documents_with_rows = compared.found, compared.doubt, compared.documents_with_rows
        if self._documents_with_rows and milvus.collection_is_gone(self._settings):
            raise milvus.collection_missing(self._settings, self._documents_with_rows)
        self._files = [file for job in found.jobs for file in job]
        self._counts.compared(found)
        self._departures = DeletionPlan(self._settings, self._sources, found, doubt)
        self._departures.refuse_before_reading()
        lost = self._departures.lost(set())
        settled: set[str] = set()
        await self._watcher.compared(SourceDiffSummary.of(self._sources, found))
        try:
            if found.jobs or found.removed.num_rows or lost:
                async with self._stages(found, doubt) as load_stage:
                    if found.jobs:
                        await self._ingest()
                    lost = self._departures.lost(self._versions.cleared)
                    await run_in_thread_uncancelled(partial(self._remove, doubt, lost, load_stage))
                    settled = self._versions.cleared | lost
            elif self._documents_with_rows and not is_lite(self._settings.milvus.uri):
                await run_in_thread_uncancelled(
                    lambda: self._open_collection().close()
                )  # that nothing is to be done is to be true
            settled |= doubt.rows.keys() & set(found.removed["source"].to_pylist()) if doubt.rows else set()
            await run_in_thread_uncancelled(partial(self._settle, found, doubt, settled))
        finally:
            self._counts.left()
            self._report.rejects = self._lake.rejects.outstanding().num_rows

    def _compare(self) -> Comparison:
        self._lake.rejects.outstanding()  # should they be damaged, it is told before anything is bought
        return compare(
            self._settings,
            self._model,
            self._lake,
            self._sources,
            again=self._again,
            unknown=self._unknown,
            proceed=self._proceed,
        )

    def _proceed(self) -> None:
        if self._broken_off.is_set():
            raise RunStopped("the comparison with the manifest was broken off; nothing was changed")

    @contextlib.asynccontextmanager
    async def _stages(self, found: Scan, doubt: UncommittedRows) -> AsyncIterator[LoadStage]:
        """Everything that must be open while rows move: the collection first, so that nothing is bought in vain."""
        model, lake = self._model, self._lake
        async with contextlib.AsyncExitStack() as stack:
            self._chunk_stage = self._open_chunk_stage(found)
            stack.callback(self._chunk_stage.close)
            self._chunk_stage.start()  # they read nothing yet, but starting takes as long as opening the collection
            if not self._documents_with_rows:
                await run_in_thread_uncancelled(partial(refuse_unknown_collection, self._settings, lake))
                await components.try_provider(self._settings, model)
            self._collection = collection = await opened(stack, self._open_collection)
            store = await opened(stack, partial(lake.vectors, model.space))
            _tell_of_damage(store)
            dispatcher = await stack.enter_async_context(self._buying(store))
            self._dispatcher = dispatcher
            self._progress.tally, self._progress.spec = dispatcher.usage, model.spec
            self._progress.activity = lambda: dispatcher.activity
            self._progress.ceilings = lambda: dispatcher.current_rates
            self._progress.readers = self._chunk_stage.readers
            stack.callback(self._counts.billed, dispatcher.usage)
            stack.push_async_callback(dispatcher.close)
            self._embed_stage = EmbedStage(lake.chunks, store, dispatcher, end_mark_tokens=model.spec.end_mark_tokens)
            self._versions = RowDiff(lake.chunks, found.previous, doubt.rows, space=model.space.name)
            self._load_stage = LoadStage(
                lake=lake,
                store=store,
                collection=collection,
                versions=self._versions,
                run=self._report.run,
                checkpoint=self._named("load"),
            )
            yield self._load_stage
            await run_in_thread_uncancelled(store.compact)

    def _open_collection(self) -> MilvusCollection:
        """The collection, made when it is new; one that is gone or emptied is not filled with a part of its rows."""
        documents = self._documents_with_rows
        choose_analyzer = partial(analyzer_for_files, self._settings, self._model, self._files)
        try:
            collection = milvus.open_collection(
                self._settings,
                self._model,
                create=not documents,
                choose_analyzer=choose_analyzer,
                checkpoint=self._named("collection"),
            )
        except CollectionMissing as missing:
            raise milvus.collection_missing(self._settings, documents) from missing
        with contextlib.ExitStack() as closing:
            closing.callback(collection.close)
            if documents and not self._again and not collection.count():
                raise milvus.collection_missing(self._settings, documents, emptied=True)
            claim_collection(self._settings, self._lake, collection)
            self._report.notes += analyzer_notes(self._settings, self._lake, collection, choose_analyzer)
            closing.pop_all()
        return collection

    def _buying(self, store: VectorStore) -> contextlib.AbstractAsyncContextManager[Dispatcher]:
        return buying(
            self._settings,
            self._model,
            self._lake,
            store,
            run=self._report.run,
            on_event=lambda event: _log.info("%s: %s", event.kind, event.message),
        )

    def _open_chunk_stage(self, found: Scan) -> Readers:
        settings = self._settings
        first = self._lake.next_job(len(found.jobs)) if found.jobs else 0
        self._jobs = (ChunkJob(number, files) for number, files in enumerate(found.jobs, start=first))
        how = components.chunk_stage_options(
            settings, self._model, self._lake.chunks_dir, run=self._report.run, part_chunks=self.part_chunks
        )
        return self.open_readers(how, len(found.jobs))

    async def _ingest(self) -> None:
        self._conveyor = PartExecutor(
            chunk=self.chunk,
            bring_in=self.bring_in,
            no_more=self._dispatcher.flush,
            stop_reading=self._chunk_stage.close,
        )
        await self._conveyor.run(readers=self._chunk_stage.readers)

    async def _chunk(self, reader: int) -> int:
        """Be reader number `reader`: read and cut the next job and the next, until none is left; how many they were."""
        jobs = 0
        for job in self._jobs:  # one iterator, shared: each job is taken once
            await self._chunk_job(job)
            jobs += 1
        return jobs

    async def _chunk_job(self, job: ChunkJob) -> None:
        progress, files_done, began = self._progress, 0, time.monotonic()

        async def receive(part: Part) -> None:
            nonlocal files_done, began
            progress.observations.read(part, time.monotonic() - began)
            name = f"{part.job}-{part.number}"
            self._parts[name] = part
            progress.chunks_cut += part.chunks
            progress.files_cut += part.files_done - files_done
            files_done = part.files_done
            progress.readers_waiting += 1
            try:
                await self._conveyor.put(name)
            finally:
                progress.readers_waiting -= 1
            self._checkpoint("part: cut")
            began = time.monotonic()  # the worker has waited

        await self._chunk_stage.run(job, receive)

    async def _bring_in(self, name: str) -> int:
        """Embed one part and, when its turn has come, load it; how many rows were upserted."""
        part = self._parts.pop(name)
        embedded = await self._embed_stage.run(part)
        self._progress.chunks_reused += embedded.reused
        async with self._conveyor.in_turn(name):
            return await self._load(part, embedded)

    async def _load(self, part: Part, embedded: Embedded) -> int:
        """Bring an embedded part into the collection; how many rows were upserted."""
        began = time.monotonic()

        def load() -> Loaded:
            loaded = self._load_stage.run(part, embedded.refused)
            self._counts.loaded(part, embedded, loaded)
            trim()
            return loaded

        loaded = await run_in_thread_uncancelled(load, if_cancelled=self._collection.stop_waiting)
        self._progress.observations.loaded(part, time.monotonic() - began)
        self._departures.note_half_read(part)
        await self._watcher.moved(self._progress)
        return loaded.upserted

    def _named(self, part: str) -> Checkpoint:
        return lambda step: self._checkpoint(f"{part}: {step}")

    def _remove(self, doubt: UncommittedRows, lost: set[str], stage: LoadStage) -> None:
        """Delete the rows of documents that are gone: whole files, records of a file, and what nobody owns."""
        unfinished = self._versions.unfinished()
        gone = self._departures.gone(unfinished)
        self._departures.refuse(gone, lost)
        self._report.documents.removed = with_rows(gone)
        self._report.chunks.deleted += stage.remove(gone, {source: doubt.rows[source] for source in lost})
        kept = self._departures.kept(unfinished)
        if kept.num_rows:
            self._lake.manifest.commit(kept, f"{self._report.run}-kept")
            self._report.notes += self._departures.notes(kept)

    def _settle(self, found: Scan, doubt: UncommittedRows, settled: set[str]) -> None:
        """What comes after the last row: new times of untouched files, rejects of the listing, and tidying up."""
        lake, run = self._lake, self._report.run
        lake.seal_leftovers(self._model.space)
        if found.touched.num_rows:
            lake.manifest.commit(found.touched, run)
        scope = self._departures.scope
        outstanding = lake.rejects.outstanding()
        before = outstanding.filter(pc.equal(outstanding["stage"], "scan"))["source"].to_pylist()
        now = reject_table(list(found.rejects))
        listed = {*now["source"].to_pylist(), *(source for source in before if is_below(source, scope))}
        lake.rejects.replace(listed, now, run=run, name=run)
        lake.manifest.fold()
        lake.rejects.fold()
        unsettled = {part for part, _ in doubt.parts}.difference(doubt.settled_parts(settled))
        if not unsettled and (found.jobs or doubt.parts):
            lake.mark_jobs_committed()
        if not unsettled and (found.jobs or found.removed.num_rows):
            lake.compact_chunks(part_rows=self.part_chunks)
        manifest = lake.manifest.read(ROW_LOCATION_COLUMNS)
        lake.chunks.remove(sorted(set(lake.chunks.dangling(manifest)) - unsettled))
        self._report.notes += outgrown(self._settings, pc.sum(manifest["chunks"]).as_py() or 0)


def _tell_of_damage(store: VectorStore) -> None:
    for damage in store.damaged:
        _log.warning("%s", damage.message)
    if store.recovered.dropped_batches:
        _log.warning(
            "the journal of an earlier run was damaged: %d answers that had been on disk are lost",
            store.recovered.dropped_batches,
        )
