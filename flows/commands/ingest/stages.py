"""The stages of one run, opened together: readers, embedding and loading, with what they share."""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

from millrace.configs.settings import Settings
from millrace.flows.commands.ingest.diff import SourceDiff
from millrace.flows.commands.ingest.signals import open_in_thread, run_in_thread_uncancelled
from millrace.flows.monitoring.run_state import RunState
from millrace.flows.wiring import components, milvus
from millrace.flows.wiring.alias_notes import alias_notes
from millrace.flows.wiring.analyzer import analyzer_for_files, analyzer_notes
from millrace.flows.wiring.components import Model, Spending
from millrace.flows.wiring.embedder import open_embedder
from millrace.flows.wiring.ownership import claim_collection, refuse_unknown_collection
from millrace.tasks.embedding import Dispatcher, Event
from millrace.tasks.errors import CollectionMissing
from millrace.tasks.lake import Checkpoint, Lake, VectorStore
from millrace.tasks.milvus import Collection, Waiting
from millrace.tasks.stages.chunk import Readers
from millrace.tasks.stages.embed import EmbedStage
from millrace.tasks.stages.load import LoadStage
from millrace.tasks.stages.row_diff import RowDiff

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stages:
    """What must be open while documents move."""

    readers: Readers
    dispatcher: Dispatcher
    collection: Collection
    row_diff: RowDiff
    embed: EmbedStage
    load: LoadStage


@contextlib.asynccontextmanager
async def open_stages(
    settings: Settings,
    model: Model,
    lake: Lake,
    diff: SourceDiff,
    state: RunState,
    *,
    readers: Readers,
    open_collection: Callable[[], Collection],
    checkpoint: Checkpoint,
    waiting: Waiting,
    spending: Spending,
) -> AsyncIterator[Stages]:
    """Open the stages for the work of `diff`: the collection before the provider, so that nothing is paid in vain."""
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(readers.close)
        readers.start()  # they read nothing yet, but starting takes as long as opening the collection
        if not diff.documents_with_rows:
            await run_in_thread_uncancelled(
                partial(refuse_unknown_collection, settings, lake, waiting), if_cancelled=waiting.stop.set
            )
            await components.try_provider(settings, model)
        collection = await open_in_thread(stack, open_collection, if_cancelled=waiting.stop.set)
        store = await open_in_thread(stack, partial(lake.vectors, model.space))
        _warn_of_damage(store)
        embedder = open_embedder(
            settings,
            model,
            lake,
            store,
            run=state.run,
            on_event=partial(report, state),
            spending=spending,
        )
        dispatcher = await stack.enter_async_context(embedder)
        stack.push_async_callback(dispatcher.close)
        state.stages_opened(dispatcher, model.spec, readers=readers.readers)
        row_diff = RowDiff(lake.chunks, diff.scan.previous, diff.uncommitted.rows, space=model.space.name)
        yield Stages(
            readers=readers,
            dispatcher=dispatcher,
            collection=collection,
            row_diff=row_diff,
            embed=EmbedStage(lake.chunks, store, dispatcher, end_mark_tokens=model.spec.end_mark_tokens),
            load=LoadStage(
                lake=lake,
                store=store,
                collection=collection,
                row_diff=row_diff,
                run=state.run,
                checkpoint=checkpoint,
            ),
        )
        await run_in_thread_uncancelled(store.compact)


def open_collection(
    settings: Settings,
    model: Model,
    lake: Lake,
    state: RunState,
    diff: SourceDiff,
    *,
    reads_again: bool,
    checkpoint: Checkpoint,
    waiting: Waiting,
) -> Collection:
    """The collection, made when no document has rows yet, and claimed for this lake.

    Raises:
        CollectionMissing: Documents of the lake have rows and the collection is gone, or empty although their files are
            not to be read again: this run would fill it with a part of its rows.
        ConfigurationError: Another lake fills the collection.
    """
    documents = diff.documents_with_rows
    choose_analyzer = partial(analyzer_for_files, settings, model, diff.scan.jobs)
    try:
        collection = milvus.open_collection(
            settings,
            model,
            create=not documents,
            choose_analyzer=choose_analyzer,
            checkpoint=checkpoint,
            waiting=waiting,
        )
    except CollectionMissing as missing:
        raise milvus.collection_missing(settings, documents) from missing
    with contextlib.ExitStack() as closing:
        closing.callback(collection.close)
        if documents and not reads_again and not collection.count():
            raise milvus.collection_missing(settings, documents, emptied=True)
        claim_collection(settings, lake, collection)
        state.notes += alias_notes(settings, lake)
        state.notes += analyzer_notes(settings, lake, collection, choose_analyzer)
        closing.pop_all()
    return collection


def report(state: RunState, event: Event) -> None:
    """Log what the dispatcher reports, and note what the user must hear of."""
    if event.outage is not None:
        state.heard(event.outage)
        return
    _log.info("%s: %s", event.kind, event.message)
    if event.kind == "usage":  # what is billed is not known: the user must hear of it
        state.notes.append(event.message)


def _warn_of_damage(store: VectorStore) -> None:
    for damage in store.damaged:
        _log.warning("%s", damage.message)
    if store.recovered.dropped_batches:
        _log.warning(
            "the journal of an earlier run was damaged: %d answers that had been on disk are lost",
            store.recovered.dropped_batches,
        )
