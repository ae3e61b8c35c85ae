"""`verify`: sources, lake and collection side by side, by id and content hash. Nothing is changed here."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millrace.configs.settings import Settings
from millrace.flows.commands.verify.ending import ending_recorded
from millrace.flows.commands.verify.report import SHOWN_PER_KIND, Finding, Kind, VerifyReport, VerifyResult
from millrace.flows.monitoring.progress import RowProgress, shown
from millrace.flows.wiring import components, milvus
from millrace.flows.wiring.collection_settings import with_remembered
from millrace.tasks.errors import CollectionMissing, ConfigurationError
from millrace.tasks.lake import Lake
from millrace.tasks.milvus import Collection
from millrace.tasks.reconcile.compare import Compared, Comparison, Fault
from millrace.tasks.reconcile.expected_rows import ExpectedRows, VectorStores, expected_rows
from millrace.tasks.reconcile.repair import prefetch
from millrace.tasks.reconcile.source_changes import source_changes

_KIND_OF_FAULT: dict[Fault, Kind] = {
    "missing": "missing_row",
    "content": "altered_content",
    "metadata": "altered_metadata",
    "vector": "altered_vector",
    "sparse": "altered_sparse",
    "doubled": "doubled_row",
}
_KIND_OF_CHANGE: dict[str, Kind] = {
    "new": "new_file",
    "changed": "changed_file",
    "gone": "gone_file",
    "settings": "other_settings",
}


def verify(settings: Settings, sources: Sequence[Path], *, as_json: bool, reread: str = "") -> VerifyResult:
    """Compare; with `as_json` every finding is listed, else the first few of each kind.

    Without sources, documents are compared with the files that the manifest names. The bytes of files that match the
    glob `reread` are compared, whatever their size and times say.

    Raises:
        ConfigurationError: There is no such lake, or the settings are not those of its documents.
        CollectionError: Milvus cannot be reached.
    """
    report = new_report(settings, as_json=as_json)
    with ending_recorded(settings, report, "verify"):
        settings = with_remembered(settings)
        model = components.load_model(settings)
        began = time.monotonic()
        lake = components.existing_lake(settings)
        progress = RowProgress("compared")
        with shown(progress, quiet=as_json):
            Inspection(settings, model, lake, report, progress, reread=reread).run(sources)
        report.seconds = round(time.monotonic() - began, 3)
    return report.result()


def new_report(settings: Settings, *, as_json: bool) -> VerifyReport:
    """An empty report that keeps as many findings as its reader wants."""
    return VerifyReport(settings.milvus.collection, keep=None if as_json else SHOWN_PER_KIND)


def require_fitting_spaces(stores: VectorStores, model: components.Model) -> None:
    """Raise `ConfigurationError` when the collection of the settings cannot hold what the lake has for it."""
    for store in stores.by_name.values():
        if model.space.sparse and not store.space.sparse:
            raise ConfigurationError(
                f"documents of this collection are in the embedding space {store.space.name}, which has no sparse "
                f"vectors, and the settings name {model.space.name}, which has: set milvus.hybrid and [embedding] as "
                "they were when they were ingested, or ingest into a new collection"
            )
        if store.space.dimensions != model.space.dimensions:
            raise ConfigurationError(
                f"documents of this collection are in the embedding space {store.space.name}, and the settings name "
                f"{model.space.name}: set [embedding] as it was when they were ingested"
            )


class Inspection:
    """One look at everything, filling a report; the lake as it was opened, the collection only read."""

    def __init__(
        self,
        settings: Settings,
        model: components.Model,
        lake: Lake,
        report: VerifyReport,
        progress: RowProgress,
        *,
        reread: str = "",
    ) -> None:
        self._reread = reread
        self._settings = settings
        self._model = model
        self._lake = lake
        self._report = report
        self._progress = progress

    def run(self, sources: Sequence[Path]) -> None:
        """Look at the lake's files, then at the rows, then at the sources."""
        of_manifest, of_rejects = self._lake.manifest.check(), self._lake.rejects.check()
        self._report.files += sum(1 for damaged in (of_manifest, of_rejects) if not damaged)
        for damage in [*of_manifest, *of_rejects]:
            self._report.add(Finding("damaged_file", str(damage.path), detail=damage.message))
        if of_manifest:
            self._report.notes.append("without the manifest it is not known which rows should be there")
            return
        spaces, ranges = self._lake.manifest.spaces(), self._lake.row_ranges()
        self._report.documents = spaces.total()
        self._progress.rows = pc.sum(ranges["chunks"]).as_py() or 0
        self._check_dangling_parts(ranges)
        self._report.notes += [damage.message for damage in self._lake.damaged_records()]
        with VectorStores(self._lake, spaces, self._model.space) as stores:
            self._check_vectors(stores)
            require_fitting_spaces(stores, self._model)
            self._compare_rows(stores)
        self._compare_sources(sources)

    def _check_dangling_parts(self, ranges: pa.Table) -> None:
        """Parts that interrupted runs left: the next run wants to read them."""
        for part in self._lake.chunks.dangling(ranges):
            problem = self._lake.chunks.problem(part)
            if problem:
                self._report.add(Finding("damaged_file", str(self._lake.chunks.path(part)), detail=problem))
            else:
                self._report.files += 1

    def _check_vectors(self, stores: VectorStores) -> None:
        for store in stores.by_name.values():
            damaged = list(store.check())
            for damage in damaged:
                self._report.add(Finding("damaged_file", str(damage.path), detail=damage.message))
            self._report.files += len(store.parts().keys() - {damage.path for damage in damaged})
            found = store.recovered
            if found.vectors:
                self._report.notes.append(
                    f"an interrupted run left {found.vectors:,} vectors in a journal; they count, and the next run "
                    "makes a part of them"
                )
            if found.dropped_bytes or found.dropped_batches:
                self._report.notes.append(
                    f"the last {found.dropped_bytes:,} bytes of that journal are torn, as a crash leaves them"
                    + (f", and {found.dropped_batches:,} batches are damaged" if found.dropped_batches else "")
                )

    def _compare_rows(self, stores: VectorStores) -> None:
        try:
            collection = milvus.open_collection(self._settings, self._model, create=False)
        except CollectionMissing as missing:
            if self._report.documents:
                self._report.add(Finding("missing_collection", self._settings.milvus.collection, detail=str(missing)))
            self._compare_parts(stores, None)
            return
        with collection:
            self._compare_parts(stores, collection)

    def _compare_parts(self, stores: VectorStores, collection: Collection | None) -> None:
        comparison = Comparison(collection, stores) if collection is not None else None
        unknown: set[str] = set()
        missing: set[bytes] = set()
        for expected in prefetch(expected_rows(self._lake)):
            if expected.damage:
                unknown |= expected.sources
                self._report.add(
                    Finding("damaged_file", str(self._lake.chunks.path(expected.part)), detail=expected.damage)
                )
                continue
            self._report.files += 1
            self._report.rows += expected.rows.num_rows
            if comparison is not None:
                self._note_part(comparison.compare(expected), missing)
            else:
                self._note_missing_vectors(expected, ~stores.read(expected).has_vector, missing)
            self._progress.done += expected.rows.num_rows
        if comparison is not None and collection is not None:
            self._report.rows_in_collection = comparison.inventory.rows
            self._note_orphans(comparison, unknown, others=collection.owners() - {self._lake.identity})

    def _note_part(self, compared: Compared, missing: set[bytes]) -> None:
        rows = compared.expected.rows
        for position, fault in compared.faults.items():
            self._report.add(
                Finding(_KIND_OF_FAULT[fault], rows["id"][position].as_py(), rows["source"][position].as_py())
            )
        self._note_missing_vectors(compared.expected, ~compared.lake.has_vector, missing)

    def _note_missing_vectors(self, expected: ExpectedRows, absent: npt.NDArray[np.bool_], missing: set[bytes]) -> None:
        for position in np.flatnonzero(absent).tolist():
            key = expected.rows["text_key"][position].as_py()
            if key not in missing:
                missing.add(key)
                self._report.add(
                    Finding(
                        "lacking_vector", key.hex(), expected.rows["source"][position].as_py(), f"in {expected.space}"
                    )
                )

    def _note_orphans(self, comparison: Comparison, unknown: set[str], *, others: frozenset[str]) -> None:
        """Rows that no document owns; those of documents in damaged parts, and of other lakes, may well be owned."""
        if others:
            self._report.notes.append(
                f"{comparison.inventory.count_orphans():,} rows are not of this lake; they were not compared, since "
                f"the collection is filled by {', '.join(sorted(others))} as well"
            )
            return
        protected = 0
        for batch in comparison.inventory.orphans():
            for orphan in batch:
                if orphan.source in unknown:
                    protected += 1
                else:
                    self._report.add(Finding("unowned_row", orphan.id, orphan.source))
        if protected:
            self._report.notes.append(f"{protected:,} rows of documents in damaged parts could not be compared")

    def _compare_sources(self, sources: Sequence[Path]) -> None:
        changes, self._report.left_out = source_changes(
            sources,
            self._lake.manifest,
            include=components.included(self._settings),
            exclude=self._settings.sources.exclude,
            follow_links=self._settings.sources.follow_links,
            reread=self._reread,
            base=components.sources_base(self._settings),
            fingerprint=components.fingerprint(self._settings, self._model),
        )
        for change in changes:
            self._report.add(Finding(_KIND_OF_CHANGE[change.kind], change.path))
