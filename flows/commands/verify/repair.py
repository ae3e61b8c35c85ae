"""`verify --repair`: the collection and the lake's own files repaired from the lake, and missing vectors embedded.

Each step leaves everything usable, so a repair that is cut short is simply begun again. What has changed in the sources
is left to `ingest`.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from millrace.configs.settings import Settings
from millrace.flows.commands.ingest.pipeline import Pipeline
from millrace.flows.commands.verify.ending import ending_recorded
from millrace.flows.commands.verify.orphans import remove_orphans
from millrace.flows.commands.verify.report import Repairs, VerifyReport, VerifyResult
from millrace.flows.commands.verify.verify import Inspection, new_report, require_fitting_spaces
from millrace.flows.monitoring.progress import RowProgress, RunDisplay, shown
from millrace.flows.monitoring.run_record import recorded
from millrace.flows.monitoring.run_state import RunState
from millrace.flows.wiring import components, milvus
from millrace.flows.wiring.analyzer import analyzer_for_lake
from millrace.flows.wiring.collection_settings import require_same_embedding
from millrace.flows.wiring.embedder import open_embedder
from millrace.flows.wiring.ownership import Ownership, claim_collection
from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Lake, new_run_id
from millrace.tasks.milvus import Collection
from millrace.tasks.reconcile.compare import Comparison
from millrace.tasks.reconcile.expected_rows import VectorStores, expected_rows
from millrace.tasks.reconcile.repair import (
    embed_missing,
    forget_rows,
    missing_texts,
    prefetch,
    set_aside_damaged,
    upsert_valid,
)


def repair(settings: Settings, sources: Sequence[Path], *, as_json: bool, reread: str = "") -> VerifyResult:
    """Repair whatever `verify` would find but changes of the sources; the report is of what was found afterwards.

    Raises:
        ConfigurationError: There is no such lake, the settings are not those of its documents, or a key is needed.
        LeaseHeld: Another process writes to the lake or the collection.
        LakeError: The manifest is damaged, and no sources are named that it could be made again from.
        BudgetReached, RunStopped: What was finished until then stays finished.
    """
    report = new_report(settings, as_json=as_json)
    with ending_recorded(settings, report, "repair"):
        _repair(require_same_embedding(settings), sources, report, as_json=as_json, reread=reread)
    return report.result()


def _repair(settings: Settings, sources: Sequence[Path], report: VerifyReport, *, as_json: bool, reread: str) -> None:
    model = components.load_model(settings)
    began = time.monotonic()
    components.existing_lake(settings)
    run = new_run_id()
    with (
        Lake.open(
            components.lake_path(settings), settings.milvus.collection, readable_by=settings.lake.readable_by
        ) as lake,
        milvus.lease_collection(settings),
        recorded(lake, settings, "repair", run) as outcome,
    ):
        repairing = _Repair(settings, model, lake, run, quiet=as_json)
        repairing.run(sources)
        report.repaired = done = repairing.done
        outcome.counts["chunks"] = {
            "embedded": done.texts_embedded,
            "upserted": done.rows_upserted.total(),
            "deleted": done.rows_deleted,
        }
        outcome.counts["rows"] = {"index": repairing.index}
        outcome.tokens["billed"] = done.tokens
        outcome.cost_cny = done.cost_cny
        progress = RowProgress("compared")
        with shown(progress, quiet=as_json):
            Inspection(settings, model, lake, report, progress, reread=reread).run(sources)
        report.seconds = round(time.monotonic() - began, 3)
        outcome.exit = report.result().exit_code


class _Repair:
    """The steps of one repair, in their order; the caller holds the lake and the collection."""

    def __init__(self, settings: Settings, model: components.Model, lake: Lake, run: str, *, quiet: bool) -> None:
        self.done = Repairs()
        self.index = ""
        self._settings = settings
        self._model = model
        self._lake = lake
        self._run = run
        self._quiet = quiet
        self._unknown: frozenset[str] = frozenset()
        self._ownership = Ownership(is_sole=False)

    def run(self, sources: Sequence[Path]) -> None:
        """Repair the lake's files, read again what they held, embed what is missing, and then repair the rows."""
        with self._open_collection() as collection:
            made_anew = self._repair_manifest(sources)
            self._ownership = claim_collection(self._settings, self._lake, collection)
        again = self._repair_rejects()
        self._repair_vectors()
        self._unknown = unknown = self._repair_chunks()
        if made_anew:
            self._read(sources, again=frozenset(), unknown=frozenset())
        else:
            self._read_again(again, unknown)
        self._embed_missing()
        self._repair_rows(delete=not made_anew)

    def _open_collection(self) -> Collection:
        choose_analyzer = partial(analyzer_for_lake, self._lake)
        return milvus.open_collection(self._settings, self._model, create=True, choose_analyzer=choose_analyzer)

    def _repair_manifest(self, sources: Sequence[Path]) -> bool:
        """Whether the manifest was damaged and has to be made anew, from the sources."""
        damaged = self._lake.manifest.check()
        if not damaged:
            return False
        if not sources:
            raise LakeError(
                f"{damaged[0].message} Or name the sources, `millrace verify --repair SOURCE...`: then they are read "
                "again, and no text is embedded twice."
            )
        self._lake.manifest.quarantine()
        self.done.files_set_aside += [str(damage.path) for damage in damaged]
        return True

    def _repair_rejects(self) -> frozenset[str]:
        """Documents whose rejects are to be found again."""
        damaged = self._lake.rejects.check()
        if not damaged:
            return frozenset()
        self._lake.rejects.quarantine()
        self.done.files_set_aside += [str(damage.path) for damage in damaged]
        with_rejects = self._lake.manifest.read(
            ["source", "rejects", "status"],
            where=lambda rows: pc.or_(pc.greater(rows["rejects"], 0), pc.equal(rows["status"], "rejected")),
        )
        return frozenset(with_rejects["source"].to_pylist())

    def _repair_vectors(self) -> None:
        with VectorStores(self._lake, self._lake.manifest.spaces(), self._model.space) as stores:
            require_fitting_spaces(stores, self._model)
            for store in stores.by_name.values():
                damaged = list(store.check())
                if damaged:
                    self.done.vectors_saved += store.repair()
                    self.done.files_set_aside += [str(damage.path) for damage in damaged]

    def _repair_chunks(self) -> frozenset[str]:
        """Documents whose rows the lake does not know any more."""
        chunks = self._lake.chunks
        self.done.files_set_aside += [str(chunks.path(part)) for part in set_aside_damaged(chunks)]
        expected = expected_rows(self._lake)
        return frozenset(source for some in expected for source in some.sources)

    def _read_again(self, again: frozenset[str], unknown: frozenset[str]) -> None:
        """Put these documents through the pipeline; those whose file is gone keep their rows until the next ingest."""
        if not again and not unknown:
            return
        paths = self._paths(again | unknown)
        there = [path for path in paths if path.exists()]
        if there:
            self._read(there, again=again | unknown, unknown=unknown)
        still_unknown = {source for some in expected_rows(self._lake) for source in some.sources}
        if still_unknown:
            forgotten = forget_rows(self._lake, still_unknown, self._run)
            self.done.notes.append(
                f"the rows of {forgotten:,} documents are lost in the lake and cannot be read again; what the "
                "collection has of them was left alone. Bring the files back, or let `millrace ingest` remove them"
            )

    def _read(self, sources: Sequence[Path], *, again: frozenset[str], unknown: frozenset[str]) -> None:
        # A run of its own: its usage must not be written over by that of the texts embedded later.
        state = RunState(
            run=new_run_id(), collection=self._settings.milvus.collection, model=self._model.spec.name, command="repair"
        )
        pipeline = Pipeline(self._settings, sources, self._lake, state, again=again, unknown=unknown)
        try:
            with shown(RunDisplay(state), quiet=self._quiet):
                asyncio.run(pipeline.run())
        finally:
            report, done = state.summary(), self.done
            documents = report.documents
            done.documents_read_again += documents.added + documents.changed + documents.unchanged
            done.texts_embedded += report.chunks.embedded
            done.requests += report.requests.sent
            done.tokens += report.tokens.billed
            done.cost_cny += report.cost_cny
            if report.chunks.upserted:
                done.rows_upserted["read again"] += report.chunks.upserted
            done.rows_deleted += report.chunks.deleted

    def _paths(self, sources: frozenset[str]) -> list[Path]:
        names = pa.array(sorted(sources), pa.string())
        concerned = self._lake.manifest.read(
            ["source", "path"], where=lambda rows: pc.is_in(rows["source"], value_set=names)
        )
        return sorted({Path(path) for path in concerned["path"].to_pylist()})

    def _embed_missing(self) -> None:
        """Embed the texts of live rows whose vector the lake lacks."""
        with self._lake.vectors(self._model.space) as store:
            missing = missing_texts(expected_rows(self._lake), store)
            if not missing:
                return
            wanted = (expected for expected in expected_rows(self._lake) if expected.part in missing)

            async def buy() -> int:
                async with open_embedder(self._settings, self._model, self._lake, store, run=self._run) as dispatcher:
                    try:
                        embedded = await embed_missing(
                            wanted, store, dispatcher, end_mark=self._model.spec.end_mark_tokens
                        )
                    finally:
                        await dispatcher.close()
                        usage = dispatcher.usage
                        self.done.requests += usage.requests_sent
                        self.done.tokens += usage.tokens_billed
                        self.done.cost_cny += usage.cost_cny
                        self.done.texts_embedded += usage.texts_embedded
                return len(embedded.refused)

            refused = asyncio.run(buy())
            if refused:
                self.done.notes.append(
                    f"{refused:,} texts were refused by the provider; their rows in the collection were left alone. "
                    "`millrace ingest` of their documents, changed or read again, records them as rejects"
                )

    def _repair_rows(self, *, delete: bool) -> None:
        """Upsert what is missing or different; then, once all of that is in, delete what no document owns."""
        progress = RowProgress("compared and repaired", rows=self._lake.manifest.sums("chunks")[0])
        with (
            VectorStores(self._lake, self._lake.manifest.spaces(), self._model.space) as stores,
            self._open_collection() as collection,
            shown(progress, quiet=self._quiet),
        ):
            comparison = Comparison(collection, stores)
            for expected in prefetch(expected_rows(self._lake)):
                compared = comparison.compare(expected)
                invalid = {row_id for row_id, _ in upsert_valid(collection, *compared.rows_to_repair())}
                ids = expected.rows["id"].to_pylist()
                self.done.rows_upserted.update(
                    fault
                    for position, fault in compared.faults.items()
                    if compared.lake.has_vector[position] and ids[position] not in invalid
                )
                progress.done += expected.rows.num_rows
            if delete:
                removal = remove_orphans(
                    self._settings,
                    collection,
                    comparison.inventory,
                    self._ownership,
                    protected=self._protected_sources(),
                )
                self.done.rows_deleted += removal.deleted
                self.done.notes += filter(None, [removal.why_kept])
            elif comparison.inventory.count_orphans():
                self.done.notes.append(
                    "the manifest was made anew from the sources named, so rows that no document owns now were left "
                    "alone; if all sources were named, run the same command again and they go"
                )
            self.index = collection.settle_index()

    def _protected_sources(self) -> frozenset[str]:
        """Documents that may own rows of which the lake knows nothing, now or since an earlier repair."""
        without = self._lake.manifest.read(
            ["source", "chunks", "fingerprint"], where=lambda rows: pc.equal(rows["chunks"], 0)
        )
        forgotten = without.filter(pc.equal(without["fingerprint"], ""))["source"].to_pylist()
        return self._unknown.intersection(without["source"].to_pylist()).union(forgotten)
