"""`rebuild`: the collection again from the lake, without one request to the provider; also at another Milvus.

An existing collection is upserted over, and only then loses the rows that no document owns, so that a search finds
every live document throughout. A large new collection is filled by import, where a folder for that is set.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.configs.settings import Settings
from millrace.flows.commands.verify.orphans import remove_orphans
from millrace.flows.commands.verify.verify import require_fitting_spaces
from millrace.flows.monitoring.progress import RowProgress, shown
from millrace.flows.monitoring.result import Result
from millrace.flows.monitoring.run_record import recorded
from millrace.flows.wiring import components, milvus
from millrace.flows.wiring.analyzer import analyzer_for_lake
from millrace.flows.wiring.collection_settings import remember_shape, with_remembered
from millrace.flows.wiring.ownership import claim_collection, refuse_to_drop
from millrace.tasks.errors import CollectionError, ConfigurationError, ExitCode, LakeError
from millrace.tasks.lake import Checkpoint, Lake, new_run_id, no_checkpoint
from millrace.tasks.milvus import CollectionShape, is_lite
from millrace.tasks.reconcile.bulk_import import ImportFolder, ImportWriter, doubled_ids
from millrace.tasks.reconcile.compare import IdInventory
from millrace.tasks.reconcile.expected_rows import ExpectedRows, RowsWithVectors, Vectors, VectorStores, expected_rows
from millrace.tasks.reconcile.repair import prefetch, send_valid


def why_not_import(settings: Settings, rows: int) -> str | None:
    """Why `rows` rows are not brought into a new collection by import: "" where they are.

    None where no import is expected: there are few rows, or this is Milvus Lite and nothing is set.
    """
    milvus = settings.milvus
    if rows < milvus.bulk_rows or (is_lite(milvus.uri) and not milvus.bulk_path):
        return None
    if is_lite(milvus.uri):
        return "Milvus Lite has no import"
    if not milvus.bulk_path:
        return "milvus.bulk_path names no folder that the server reads too"
    if not Path(milvus.bulk_path).is_dir():
        return f"there is no folder {milvus.bulk_path} (milvus.bulk_path)"
    if milvus.hybrid != "none" or milvus.scalar_fields:
        return "the fields of milvus.hybrid and milvus.scalar_fields are not imported"
    return ""


def import_folder(settings: Settings) -> ImportFolder:
    """A folder of this collection's own below `milvus.bulk_path`."""
    milvus = settings.milvus
    name = f"millrace-{milvus.collection}"
    here = Path(milvus.bulk_path).absolute()
    return ImportFolder(here / name, f"{milvus.bulk_server_path.rstrip('/') or here.as_posix()}/{name}")


_NAMED = 20


@dataclass(frozen=True, slots=True)
class RebuildResult(Result):
    """What was brought back, by upserts or by import.

    `lacking` gives, for each row that was not, its document and the reason; `notes` why rows were not imported.
    `index` is the kind of index that their vectors have.
    """

    lake_collection: str
    collection: str
    uri: str
    documents: int = 0
    rows: int = 0
    upserted: int = 0
    imported: int = 0
    deleted: int = 0
    index: str = ""
    missing: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0

    @property
    def brought(self) -> int:
        """Rows that are in now, either way."""
        return self.upserted + self.imported

    @property
    def exit_code(self) -> int:
        """0 when every row is in and no other, 3 when some could not be brought back, 1 when others stay."""
        if self.error:
            return ExitCode.STOPPED
        return ExitCode.REJECTS if self.missing else ExitCode.DONE

    def lines(self) -> list[str]:
        """The result for people; of missing rows, the first."""
        rate = self.brought / self.seconds if self.seconds else 0
        lines = [
            f"collection {self.collection} at {self.uri}: {self.documents:,} documents; "
            f"{self.brought:,} of {self.rows:,} rows {'imported' if self.imported else 'upserted'}, "
            f"{self.deleted:,} deleted; "
            f"{self.seconds:.1f} s, {rate:,.0f} rows/s; nothing was embedded"
        ]
        if self.missing:
            lines.append(f"lacking    {len(self.missing):,}; `millrace verify --repair` brings them back")
            lines += [f"    {one['source']}  {one['item']}: {one['why']}" for one in self.missing[:_NAMED]]
        if len(self.missing) > _NAMED:
            lines.append(f"    and {len(self.missing) - _NAMED:,} more; --json lists all")
        return lines + [f"note       {note}" for note in self.notes]


def rebuild(
    settings: Settings,
    *,
    into: str,
    drop: bool,
    quiet: bool,
    copy_collection: bool = False,
    checkpoint: Checkpoint = no_checkpoint,
) -> RebuildResult:
    """Bring every row that the lake knows of its collection into the collection `into`, "" for the same.

    `drop` drops the lake's own collection first, and makes it again in the shape that the settings ask for. With
    `copy_collection` the lake knows `into` as one of its own from then on, if every row is in. `checkpoint` hears of
    each step.

    Raises:
        ConfigurationError: The lake knows no row; `into` and `drop` do not go together; `into` is another
            collection of this lake; or an alias stands for what is to be dropped.
        LakeError: The manifest is damaged; or the collection was to be dropped, and the lake lacks some of its rows.
        CollectionError: Milvus cannot be reached, or `into` holds rows that are not of this lake.
    """
    settings = with_remembered(settings)
    name = into or settings.milvus.collection
    is_own = name == settings.milvus.collection
    if drop and not is_own:
        raise ConfigurationError(
            f"--drop is for the lake's own collection only: drop {name} yourself, or leave --drop out"
        )
    target = settings.with_overrides([f"milvus.collection={name}"])
    components.existing_lake(settings)
    run = new_run_id()
    with (
        Lake.open(components.lake_path(settings), settings.milvus.collection, checkpoint=checkpoint) as lake,
        milvus.lease_collection(target),
    ):
        _require_rows(lake)
        _refuse_other_collection_of_the_lake(settings, name)
        mark = f"{milvus.redacted_uri(target)} {name}"
        if drop:
            _refuse_to_drop_what_searches_use(target)
        if copy_collection:
            _mark_as_new(lake, target, mark)
            checkpoint("rebuild: begun")
        is_own = is_own or lake.switches.is_being_made(mark)
        with recorded(lake, target, "rebuild", run) as outcome:
            rebuilding = _Rebuilding(settings, target, lake, is_own=is_own, checkpoint=checkpoint)
            report = rebuilding.run(drop=drop, quiet=quiet)
            outcome.exit = report.exit_code
            outcome.counts["chunks"] = {"upserted": report.brought, "deleted": report.deleted}
            if name == settings.milvus.collection:
                outcome.counts["rows"] = {"index": report.index}
        if is_own and not report.exit_code and not copy_collection:
            remember_shape(lake, target)
        if copy_collection and not report.exit_code:
            lake.copy_as(name)
            remember_shape(Lake.open(lake.path, name, read_only=True), target)
            with lake.switches.acquire_lease():
                lake.switches.finish(mark)
    return report


def _mark_as_new(lake: Lake, target: Settings, mark: str) -> None:
    """Note of a collection that is not there yet that all its rows will be of this lake, also when we are killed."""
    with lake.switches.acquire_lease(), milvus.open_aliases(target) as aliases:
        if not aliases.exists(target.milvus.collection):
            lake.switches.begin(mark)


def _refuse_to_drop_what_searches_use(target: Settings) -> None:
    name = target.milvus.collection
    if milvus.milvus_is_missing(target):
        return
    with milvus.open_aliases(target) as aliases:
        names = aliases.names(name) if aliases.exists(name) else []
    if names:
        raise ConfigurationError(
            f"the alias {', '.join(names)} stands for {name}, and searches through it would fail while it is dropped: "
            f"make the new shape beside it, `millrace switch --set milvus.alias={names[0]} --set "
            f"milvus.collection={name}_2`"
        )


class _Rebuilding:
    """One rebuild; the caller holds the lake and the collection."""

    def __init__(
        self,
        settings: Settings,
        target: Settings,
        lake: Lake,
        *,
        is_own: bool,
        checkpoint: Checkpoint,
    ) -> None:
        self._target = target
        self._lake = lake
        self._model = components.load_model(settings)
        self._is_own = is_own
        self._checkpoint = checkpoint
        self._rows: int = lake.manifest.sums("chunks")[0]
        self._upserted = self._imported = self._deleted = 0
        self._missing: list[dict[str, str]] = []
        self._notes: list[str] = []
        self._index = ""
        self._error = ""

    def run(self, *, drop: bool, quiet: bool) -> RebuildResult:
        """Bring every row back, then delete what no document owns."""
        began = time.monotonic()
        progress = RowProgress("upserted", rows=self._rows)
        with VectorStores(self._lake, self._lake.manifest.spaces(), self._model.space) as stores:
            require_fitting_spaces(stores, self._model)
            if drop:
                self._require_all(stores)
                refuse_to_drop(self._target, self._lake)
                milvus.drop_collection(self._target)
            with shown(progress, quiet=quiet):
                if not self._import_all(stores, progress):
                    self._upsert_all(stores, progress)
        return RebuildResult(
            self._lake.collection,
            self._target.milvus.collection,
            milvus.redacted_uri(self._target),
            documents=self._lake.manifest.spaces().total(),
            rows=self._rows,
            upserted=self._upserted,
            imported=self._imported,
            deleted=self._deleted,
            index=self._index,
            missing=self._missing,
            notes=self._notes,
            error=self._error,
            seconds=round(time.monotonic() - began, 3),
        )

    def _require_all(self, stores: VectorStores) -> None:
        """Raise `LakeError` when the lake has not all of every row: then the collection may be the last that has."""
        for expected, rows_with_vectors in prefetch(_with_vectors(expected_rows(self._lake), stores)):
            if expected.damage or not rows_with_vectors.has_vector.all():
                raise LakeError(
                    f"the lake lacks some of the rows of {self._lake.collection}, so the collection is not dropped. "
                    "Run `millrace verify --repair` first, or leave --drop out"
                )

    def _refuse_foreign_rows(self, inventory: IdInventory) -> None:
        """A collection that is not the lake's own may hold only what a rebuild brought there before."""
        if not inventory.rows:
            return
        for expected in expected_rows(self._lake):
            inventory.own(expected.rows["id"].to_pylist())
        orphans = inventory.count_orphans()
        if orphans:
            raise CollectionError(
                f"the collection {self._target.milvus.collection} holds {orphans:,} rows that are not of this lake; "
                "nothing was changed. Name a new or empty collection with --into"
            )

    def _import_all(self, stores: VectorStores, progress: RowProgress) -> bool:
        """Fill a new collection by import, if there is much to bring and nothing stands against it."""
        why_not = why_not_import(self._target, self._rows)
        if why_not == "":
            try:
                self._imported = self._import(stores, progress)
            except (CollectionError, LakeError) as error:
                why_not = str(error)
                self._missing.clear()
                progress.done = 0
        if why_not == "":
            with milvus.open_collection(self._target, self._model, create=False) as collection:
                claim_collection(self._target, self._lake, collection)
                self._index = collection.settle_index()
        elif why_not:
            self._notes.append(f"the rows were upserted, not imported: {why_not}")
        return why_not == ""

    def _import(self, stores: VectorStores, progress: RowProgress) -> int:
        def count(rows: int) -> None:
            progress.done += rows

        def all_ids() -> Iterator[list[str]]:
            return (expected.rows["id"].to_pylist() for expected in expected_rows(self._lake))

        progress.doing = "imported"
        with milvus.open_import(self._target, self._model) as importing:
            folder, doubled = import_folder(self._target), doubled_ids(all_ids)
            with ImportWriter(importing, folder, doubled=doubled, on_rows=count) as writer:
                for expected, rows_with_vectors in self._parts(stores, set()):
                    self._send(expected, rows_with_vectors, importing.shape, writer.add)
                return writer.finish()

    def _upsert_all(self, stores: VectorStores, progress: RowProgress) -> None:
        """Upsert every row that the lake has whole, then delete those that no document owns."""
        progress.doing = "upserted"
        unknown: set[str] = set()
        with milvus.open_collection(
            self._target,
            self._model,
            create=True,
            choose_analyzer=partial(analyzer_for_lake, self._lake),
            checkpoint=lambda step: self._checkpoint(f"collection: {step}"),
        ) as collection:
            inventory = IdInventory(collection)
            if not self._is_own:
                self._refuse_foreign_rows(inventory)
            ownership = claim_collection(self._target, self._lake, collection)
            for expected, rows_with_vectors in self._parts(stores, unknown):
                inventory.own(expected.rows["id"].to_pylist())
                self._upserted += self._send(expected, rows_with_vectors, collection.shape, collection.upsert)
                progress.done += expected.rows.num_rows
            if self._is_own:
                removal = remove_orphans(self._target, collection, inventory, ownership, protected=unknown)
                self._deleted = removal.deleted
                if removal.exceeds_share:
                    self._error = f"{removal.why_kept}. Every row of the lake is in"
                else:
                    self._notes += filter(None, [removal.why_kept])
            self._index = collection.settle_index()

    def _parts(self, stores: VectorStores, unknown: set[str]) -> Iterator[tuple[ExpectedRows, RowsWithVectors]]:
        """The parts that can be read; the documents of the others are added to `unknown`, and reported as lacking."""
        for expected, rows_with_vectors in prefetch(_with_vectors(expected_rows(self._lake), stores)):
            if expected.damage:
                unknown |= expected.sources
                self._missing += [_missing(source, "rows", expected.damage) for source in sorted(expected.sources)]
            else:
                yield expected, rows_with_vectors

    def _send(
        self,
        expected: ExpectedRows,
        rows_with_vectors: RowsWithVectors,
        shape: CollectionShape,
        send: Callable[[pa.Table, Vectors], object],
    ) -> int:
        """Have `send` take the rows of a part that the lake has whole, and report the others; how many were sent."""
        missing = self._missing
        without = rows_with_vectors.rows.filter(pa.array(~rows_with_vectors.has_vector))
        for row in without.select(["source", "id"]).to_pylist():
            why = f"its vector is not in the lake, in the space {expected.space}"
            missing.append(_missing(row["source"], f"row {row['id']}", why))
        rows, vectors = rows_with_vectors.taken(np.flatnonzero(rows_with_vectors.has_vector))
        invalid = send_valid(send, shape, rows, vectors)
        for row_id, reason in invalid:
            source = rows.filter(pc.equal(rows["id"], row_id))["source"][0].as_py()
            missing.append(_missing(source, f"row {row_id}", str(reason)))
        return int(rows.num_rows) - len(invalid)


def _with_vectors(
    expected: Iterator[ExpectedRows], stores: VectorStores
) -> Iterator[tuple[ExpectedRows, RowsWithVectors]]:
    """Each part, and what the lake has of its rows."""
    for some in expected:
        yield some, stores.read(some)


def _missing(source: str, item: str, why: str) -> dict[str, str]:
    return {"source": source, "item": item, "why": why}


def _require_rows(lake: Lake) -> None:
    if not lake.manifest.has_rows():
        raise ConfigurationError(
            f"the lake {lake.path} knows no row of collection {lake.collection}; run `millrace ingest` first"
        )


def _refuse_other_collection_of_the_lake(settings: Settings, name: str) -> None:
    if name == settings.milvus.collection:
        return
    other = Lake.open(components.lake_path(settings), name, read_only=True)
    if other.collection_dir.is_dir():
        raise ConfigurationError(
            f"{name} is a collection of this lake itself; name another one with --into, or rebuild it with "
            f"--set milvus.collection={name}"
        )
