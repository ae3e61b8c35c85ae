"""The ingestion itself: scan, then chunk, embed and load, overlapping, with bounded room between them.

`Pipeline` orders the stages; it runs the same under Prefect and without: a flow passes a `StepRunner` that makes each
step a task.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.compute as pc

from millrace.configs.settings import Settings
from millrace.flows.commands.ingest.batch import BatchRun
from millrace.flows.commands.ingest.deletions import DeletionPlan, with_rows
from millrace.flows.commands.ingest.diff import SourceDiff, diff_sources
from millrace.flows.commands.ingest.executor import PartExecutor, StepRunner, run_directly
from millrace.flows.commands.ingest.rejected_files import rejected_files
from millrace.flows.commands.ingest.signals import run_in_thread_uncancelled
from millrace.flows.commands.ingest.stages import Stages, open_collection, open_stages
from millrace.flows.monitoring.new_rejects import new_rejects
from millrace.flows.monitoring.run_state import RunState
from millrace.flows.monitoring.run_summary import RowCounts
from millrace.flows.wiring import components, milvus
from millrace.flows.wiring.milvus import outgrown
from millrace.tasks.errors import LakeError, RunStopped
from millrace.tasks.lake import Checkpoint, Lake, no_checkpoint
from millrace.tasks.milvus import Collection as MilvusCollection
from millrace.tasks.milvus import Waiting
from millrace.tasks.outages import Availability
from millrace.tasks.records import FileCounts, reject_table
from millrace.tasks.stages.chunk import ChunkJob, ChunkSettings, Readers
from millrace.tasks.stages.embed import Embedded
from millrace.tasks.stages.load import Loaded
from millrace.tasks.stages.memory import release_free_memory
from millrace.tasks.stages.part_writer import PART_CHUNKS, Part

OpenReaders = Callable[[Settings, ChunkSettings, Lake, int], Readers]


def _readers_here(settings: Settings, options: ChunkSettings, lake: Lake, jobs: int) -> Readers:
    del lake
    return components.open_readers(settings, options, jobs)


@dataclass(frozen=True, slots=True)
class Execution:
    """How the steps of a run are carried out; as plain calls and by processes of this machine, if not said otherwise.

    `checkpoint` is called after each step that became durable; crash tests end the process in it.
    """

    run_step: StepRunner = run_directly
    open_readers: OpenReaders = _readers_here
    part_chunks: int = PART_CHUNKS
    checkpoint: Checkpoint = no_checkpoint

    def checkpoint_of(self, stage: str) -> Checkpoint:
        """`checkpoint`, with the stage before the name of each step."""
        return lambda step: self.checkpoint(f"{stage}: {step}")


class Pipeline:
    """One run of `ingest` over one lake and collection; the caller holds the lake open for writing."""

    def __init__(
        self,
        settings: Settings,
        sources: Sequence[Path],
        lake: Lake,
        state: RunState,
        *,
        again: Collection[str] = (),
        unknown: Collection[str] = (),
        reread: str = "",
        execution: Execution = Execution(),
    ) -> None:
        """Prepare a run over `sources`.

        Documents in `again` are read whatever their files look like; the bytes of files that match the glob `reread`
        are compared, whatever their size and times say. Of those in `unknown`, the rows of the earlier
        version are not known any more; `verify --repair` deletes those that prove to be orphans.
        """
        self._settings = settings
        self._sources = sources
        self._lake = lake
        self._state = state
        self._again = frozenset(again)
        self._unknown = frozenset(unknown)
        self._reread = reread
        self._execution = execution
        self._model = components.load_model(settings)
        self._spending = components.Spending.of(settings, self._model)
        state.usage = self._spending.usage
        self._break_off = threading.Event()
        self._waiting = Waiting(Availability("milvus", state.heard))

    async def run(self) -> None:
        """Bring the collection to the state of the sources, counting in the run's state on the way."""
        diff = await run_in_thread_uncancelled(self._diff_sources, if_cancelled=self._break_off.set)
        found = diff.scan
        if diff.documents_with_rows and milvus.collection_is_gone(self._settings):
            raise milvus.collection_missing(self._settings, diff.documents_with_rows)
        self._state.sources_compared(self._sources, found)
        deletions = DeletionPlan(self._settings, self._sources, found, diff.uncommitted)
        deletions.refuse_before_reading()
        completed: set[str] = set()
        try:
            batch = BatchRun(self._settings, self._model, self._lake, self._state, self._spending)
            if not await batch.bring_in(diff, open_collection=partial(self._open_collection, diff)):
                self._state.detached = True  # the rest is for the run that takes in what the jobs bring
                return
            if found.jobs or found.removed.num_rows or deletions.orphaned(set()):
                async with self._open_stages(diff) as stages:
                    if found.jobs:
                        await self._move_documents(diff, stages, deletions)
                    completed = await run_in_thread_uncancelled(partial(self._remove, stages, deletions))
                    await run_in_thread_uncancelled(
                        partial(self._count_rows, stages.collection, diff, completed),
                        if_cancelled=stages.collection.stop_waiting,
                    )
            elif diff.documents_with_rows:
                # Count the rows before reporting that nothing changed.
                await run_in_thread_uncancelled(
                    partial(self._open_and_count_rows, diff), if_cancelled=self._waiting.stop.set
                )
            completed |= diff.uncommitted.rows.keys() & set(found.removed["source"].to_pylist())
            await run_in_thread_uncancelled(partial(self._finish, diff, deletions, completed))
        finally:
            rejects = self._lake.rejects.outstanding()
            self._state.rejects = rejects.num_rows
            self._state.rejects_new = new_rejects(rejects, self._lake, self._state.run).num_rows
            if self._state.listed:
                names = rejected_files(self._settings, rejects, self._sources or None)
                self._state.file_counts = FileCounts.of(self._state.listed, names, self._state.file_counts.ignored)

    def _diff_sources(self) -> SourceDiff:
        self._lake.rejects.outstanding()  # fail before spending money if the rejects are damaged
        diff = diff_sources(
            self._settings,
            self._model,
            self._lake,
            self._sources,
            again=self._again,
            unknown=self._unknown,
            reread=self._reread,
            proceed=self._proceed,
        )
        if diff.scan.jobs and (damaged := self._lake.manifest.check()):  # in columns that are not compared
            raise LakeError(damaged[0].message)
        return diff

    def _proceed(self) -> None:
        if self._break_off.is_set():
            raise RunStopped("the comparison with the manifest was broken off; nothing was changed")

    def _open_collection(self, diff: SourceDiff) -> MilvusCollection:
        return open_collection(
            self._settings,
            self._model,
            self._lake,
            self._state,
            diff,
            reads_again=bool(self._again),
            checkpoint=self._execution.checkpoint_of("collection"),
            waiting=self._waiting,
        )

    def _open_stages(self, diff: SourceDiff) -> AbstractAsyncContextManager[Stages]:
        options = components.chunk_stage_options(
            self._settings,
            self._model,
            self._lake.chunks_dir,
            run=self._state.run,
            part_chunks=self._execution.part_chunks,
        )
        return open_stages(
            self._settings,
            self._model,
            self._lake,
            diff,
            self._state,
            readers=self._execution.open_readers(self._settings, options, self._lake, len(diff.scan.jobs)),
            open_collection=partial(self._open_collection, diff),
            checkpoint=self._execution.checkpoint_of("load"),
            waiting=self._waiting,
            spending=self._spending,
        )

    async def _move_documents(self, diff: SourceDiff, stages: Stages, deletions: DeletionPlan) -> None:
        """Read, chunk, embed and load everything that is new or changed."""
        first = self._lake.next_job(len(diff.scan.jobs))
        jobs = (ChunkJob(number, files) for number, files in enumerate(diff.scan.jobs, start=first))

        async def read(reader: int) -> int:
            del reader
            return await self._read_jobs(jobs, stages.readers, executor)

        async def embed(part: Part) -> Embedded:
            embedded = await stages.embed.run(part)
            self._state.part_embedded(embedded)
            return embedded

        async def load(part: Part, embedded: Embedded) -> int:
            loaded = await run_in_thread_uncancelled(
                partial(self._load, stages, part, embedded), if_cancelled=stages.collection.stop_waiting
            )
            deletions.note_partially_read(part)
            return loaded.upserted

        executor = PartExecutor(
            read=read,
            embed=embed,
            load=load,
            on_last_part=stages.dispatcher.flush,
            stop_reading=stages.readers.close,
            run_step=self._execution.run_step,
        )
        await executor.run(readers=stages.readers.readers)

    async def _read_jobs(self, jobs: Iterator[ChunkJob], readers: Readers, executor: PartExecutor[Embedded]) -> int:
        """Read and cut the next job and the next, until none is left; how many they were."""
        done = 0
        for job in jobs:  # one iterator, shared by all readers: each job is taken once
            await self._read_job(job, readers, executor)
            done += 1
        return done

    async def _read_job(self, job: ChunkJob, readers: Readers, executor: PartExecutor[Embedded]) -> None:
        state, files_done, began = self._state, 0, time.monotonic()

        async def receive(part: Part) -> None:
            nonlocal files_done, began
            state.part_cut(part, time.monotonic() - began, files=job.files[files_done : part.files_done])
            files_done = part.files_done
            state.readers_waiting += 1
            try:
                await executor.submit(part)
            finally:
                state.readers_waiting -= 1
            self._execution.checkpoint("part: cut")
            began = time.monotonic()  # the worker has waited

        await readers.run(job, receive)

    def _load(self, stages: Stages, part: Part, embedded: Embedded) -> Loaded:
        began = time.monotonic()
        loaded = stages.load.run(part, embedded.refused)
        self._state.part_loaded(part, embedded, loaded, time.monotonic() - began)
        release_free_memory()
        return loaded

    def _remove(self, stages: Stages, deletions: DeletionPlan) -> set[str]:
        """Delete the rows of removed documents, whole files and records, and orphans.

        Returns the sources whose uncommitted rows are dealt with.
        """
        completed = stages.row_diff.completed
        orphaned = deletions.orphaned(completed)
        unfinished = stages.row_diff.unfinished()
        removed = deletions.removed(unfinished)
        deletions.refuse_mass_deletion(removed, orphaned)
        rows = stages.load.remove(removed, deletions.rows_of(orphaned))
        self._state.documents_removed(with_rows(removed), rows=rows)
        retained = deletions.retained(unfinished)
        if retained.num_rows:
            self._lake.manifest.commit(retained, f"{self._state.run}-kept")
            self._state.notes += deletions.notes(retained)
        return completed | orphaned

    def _open_and_count_rows(self, diff: SourceDiff) -> None:
        with self._open_collection(diff) as collection:
            self._count_rows(collection, diff, set())

    def _count_rows(self, collection: MilvusCollection, diff: SourceDiff, completed: set[str]) -> None:
        """Count the rows of the collection, beside those that the manifest says it has; they get their index.

        Rows of an interrupted run over other sources may be there or not, and in a collection that other lakes fill
        too, theirs.
        """
        [expected] = self._lake.manifest.sums("chunks")
        counted = collection.count()
        uncommitted = sum(len(ids) for source, ids in diff.uncommitted.rows.items() if source not in completed)
        others_may_fill_it = collection.owners() != {self._lake.identity}
        if counted > expected and (others_may_fill_it or counted <= expected + uncommitted):
            counted = expected
        self._state.rows = RowCounts(expected=expected, counted=counted, index=collection.settle_index())

    def _finish(self, diff: SourceDiff, deletions: DeletionPlan, completed: set[str]) -> None:
        """After the last row: commit new times of untouched files and rejects of the listing, then tidy up."""
        lake, run, found = self._lake, self._state.run, diff.scan
        lake.seal_leftovers(self._model.space)
        if found.touched.num_rows:
            lake.manifest.commit(found.touched, run)
        outstanding = lake.rejects.outstanding()
        before = outstanding.filter(pc.equal(outstanding["stage"], "scan"))["source"].to_pylist()
        now = reject_table(list(found.rejects))
        listed = {*now["source"].to_pylist(), *(source for source in before if deletions.in_scope(source))}
        lake.rejects.replace(listed, now, run=run, name=run)
        lake.manifest.fold()
        lake.rejects.fold()
        parts = diff.uncommitted.parts
        open_parts = {part for part, _ in parts}.difference(diff.uncommitted.completed_parts(completed))
        if not open_parts and (found.jobs or parts):
            lake.mark_jobs_committed()
        if not open_parts and (found.jobs or found.removed.num_rows):
            lake.compact_chunks(part_rows=self._execution.part_chunks)
        ranges = lake.row_ranges()
        lake.chunks.remove(sorted(set(lake.chunks.dangling(ranges)) - open_parts))
        self._state.notes += outgrown(self._settings, pc.sum(ranges["chunks"]).as_py() or 0)
