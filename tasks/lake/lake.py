"""The lake as a folder: its format, its collections, and who may write to it.

The ledger of one collection for another one as well: the same documents in the same parts, from now on its own.
"""

import json
import os
import re
import shutil
import uuid
from functools import cached_property
from pathlib import Path
from typing import Self

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake import history
from millrace.tasks.lake.collection import sidecars
from millrace.tasks.lake.collection.chunk_compaction import LEAST, gathered, light_parts
from millrace.tasks.lake.collection.chunk_parts import ROW_LOCATION_COLUMNS, ChunkParts
from millrace.tasks.lake.collection.jobs import JobNumbers
from millrace.tasks.lake.collection.manifest import Manifest
from millrace.tasks.lake.collection.rejects import Rejects
from millrace.tasks.lake.history import Bills, Evaluations, Reports, Runs, Timelines
from millrace.tasks.lake.state import Limits, Switches
from millrace.tasks.lake.storage.atomic import (
    Checkpoint,
    fsync_folder,
    make_folder,
    no_checkpoint,
    sweep_unfinished,
    translate_os_errors,
    write_bytes_atomically,
)
from millrace.tasks.lake.storage.json_file import read_json, write_json
from millrace.tasks.lake.storage.lease import Lease
from millrace.tasks.lake.storage.location import LakePath, local_folder
from millrace.tasks.lake.storage.object_lease import ObjectLease, lease_at
from millrace.tasks.lake.storage.object_path import ObjectPath, unguarded
from millrace.tasks.lake.vectors.space import SpaceFolder, SpaceSummary, described_in, summarize
from millrace.tasks.lake.vectors.store import VectorStore
from millrace.tasks.records import EmbeddingSpace

_LEDGER = ("manifest.parquet", "manifest.d", "rejects", "chunks", "jobs.json")
"""All of a collection's folder but the records of its runs."""


def copy_collection(source: LakePath, target: LakePath) -> None:
    """Make `target` the folder of a collection with the ledger of that in `source`, at one stroke.

    No file of a ledger is ever changed in its place, so the two share their files as hard links, where the disk has
    such.

    Raises:
        LakeError: `target` is there already, the two are in a bucket, or the disk refuses.
    """
    if not isinstance(source, Path) or not isinstance(target, Path):
        raise LakeError(f"{target} is in a bucket, where nothing can be made at one stroke; ingest into it instead")
    if target.exists():
        raise LakeError(f"{target} is there already; remove it if nothing in it is wanted, or name another collection")
    making = target.with_name(f".{target.name}.tmp")
    with translate_os_errors(making, "Writing"):
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        for name in _LEDGER:
            if (source / name).is_dir():
                shutil.copytree(source / name, making / name, copy_function=_link)
            elif (source / name).exists():
                _link(source / name, making / name)
    for folder in (making, *(path for path in making.rglob("*") if path.is_dir())):
        fsync_folder(folder)
    with translate_os_errors(target, "Writing"):
        making.rename(target)
    fsync_folder(target.parent)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


FORMAT = 1
_COLLECTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_TAKEN = frozenset(
    {"vectors", "bills", "limits.json", "switches.json", "switches.lease", "format.json", "lake.json", "lease"}
)


class Lake:
    """One collection's view of the lake at `path`.

    Opened for writing it holds the lake's lease until `close`: vectors are shared by all collections, so there is one
    writer a lake, not one a collection. Opened read-only it touches nothing, and a lake that is not there is empty.
    """

    def __init__(
        self, path: LakePath, collection: str, lease: Lease | ObjectLease | None, checkpoint: Checkpoint = no_checkpoint
    ) -> None:
        self.path = path
        self.collection = collection
        self._lease = lease
        self._checkpoint = checkpoint
        self.manifest = Manifest(self.collection_dir, checkpoint=_named("manifest", checkpoint))
        self.chunks = ChunkParts(self.chunks_dir, places=self.manifest.read, checkpoint=_named("chunks", checkpoint))
        self._jobs = JobNumbers(
            self.collection_dir / "jobs.json", least=self._job_after_parts, checkpoint=_named("jobs", checkpoint)
        )
        self.rejects = Rejects(self.collection_dir, checkpoint=_named("rejects", checkpoint))
        self.runs = Runs(self.collection_dir)
        self.timelines = Timelines(self.collection_dir)
        self.reports = Reports(self.collection_dir)
        self.slips = sidecars.Sidecars(self.slips_dir)
        self.evaluations = Evaluations(self.collection_dir)
        self.bills = Bills(path / "bills")
        self.limits = Limits(path / "limits.json")
        self.switches = Switches(path / "switches.json")

    @classmethod
    def open(
        cls, path: LakePath, collection: str, *, read_only: bool = False, checkpoint: Checkpoint = no_checkpoint
    ) -> Self:
        """The lake at `path` as `collection` sees it; made when it is not there, unless `read_only`.

        `checkpoint` is told each step that became durable ("manifest: renamed"); see `tasks.lake.storage.atomic`.

        Raises:
            LeaseHeld: Another living process writes to this lake.
            LakeError: The name does not do, something else is in the way, the folder cannot be written, or the lake
                was made by a newer version.
        """
        if not _COLLECTION.fullmatch(collection) or collection in _TAKEN:
            raise LakeError(
                f"The collection name {collection!r} cannot be a folder of the lake: expected 1 to 200 letters, digits,"
                f" '_', '-' or '.', not beginning with '.' or '-', and none of {', '.join(sorted(_TAKEN))}."
            )
        path = path.absolute()
        if path.exists() and not path.is_dir():
            raise LakeError(f"The lake {path} is a file, not a folder. Set lake.path to a folder of its own.")
        _check_format(path / "format.json")
        if read_only:
            return cls(path, collection, None, checkpoint)
        make_folder(path)
        lease = lease_at(path / "lease", f"The lake {path}")
        if isinstance(path, ObjectPath) and isinstance(lease, ObjectLease):
            path.store.guard = lease.require
        try:
            lake = cls(path, collection, lease, checkpoint)
            lake._prepare()
        except LakeError:
            lease.release()
            raise
        return lake

    @cached_property
    def identity(self) -> str:
        """What tells this lake from every other, wherever it is moved: a UUID, written once to `lake.json`.

        "" for a lake that is not there yet, and for one of an earlier version until something is written to it.

        Raises:
            LakeError: The file that holds it is damaged.
        """
        path = self.path / "lake.json"
        try:
            return str(uuid.UUID(read_json(path)["identity"]))
        except FileNotFoundError:
            return ""
        except LakeUnreachable:
            raise
        except (LakeError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise LakeError(
                f"{path} is damaged: it should hold the identity of the lake. Restore it from a copy, or delete it: the"
                " lake then gets a new identity, and no longer counts as the owner of its collections."
            ) from error

    @property
    def collection_dir(self) -> LakePath:
        """The folder of this collection."""
        return self.path / self.collection

    @property
    def chunks_dir(self) -> LakePath:
        """The folder of this collection's chunk parts."""
        return self.collection_dir / "chunks"

    @property
    def slips_dir(self) -> LakePath:
        """The folder of what is said of parts that are made on other machines."""
        return self.collection_dir / sidecars.FOLDER

    @property
    def vectors_dir(self) -> LakePath:
        """The folder of the vector stores, one a space, shared by all collections."""
        return self.path / "vectors"

    def vectors(self, space: EmbeddingSpace, *, journal_dir: Path | None = None) -> VectorStore:
        """The vector store of `space`, for writing when the lake is. See `VectorStore.open`."""
        return VectorStore.open(
            self.vectors_dir,
            space,
            journal_dir=journal_dir,
            read_only=self._lease is None,
            checkpoint=_named("vectors", self._checkpoint),
        )

    def seal_leftovers(self, space: EmbeddingSpace) -> None:
        """Make parts of what a killed run has journalled in `space`; where there is no journal nothing is opened.

        Raises:
            LakeError: The lake was opened read-only, or the disk refuses.
        """
        if SpaceFolder(self.vectors_dir, space, None).has_journals():
            self.vectors(space).close()

    def spaces(self) -> list[SpaceSummary]:
        """What each vector store holds, by name; reads no vector and no key."""
        names = sorted(folder.name for folder in self.vectors_dir.iterdir()) if self.vectors_dir.is_dir() else []
        return [found for name in names if (found := summarize(self.vectors_dir / name)) is not None]

    def space_named(self, name: str) -> EmbeddingSpace | None:
        """What the vectors of the space called `name` are of; None when the lake cannot say.

        For messages: a space's name tells its model and dimensions, this its endpoint, text type and instruct as well.
        """
        space = described_in(self.vectors_dir / name)
        return space if space is not None and space.name == name else None

    def next_job(self, count: int = 1) -> int:
        """The first of `count` job numbers in a row that no run has had, not even a killed one.

        Numbers are claimed on disk before they are given out: a worker that outlives its killed run may still be
        writing the parts of its job.

        Raises:
            LakeError: The lake was opened read-only, or the disk refuses.
        """
        return self._own_jobs().take(count)

    def unsettled_job(self) -> int:
        """The first job whose rows may be in doubt: jobs before it belong to runs that came to their end.

        Of the parts of later jobs, `chunks.unowned_rows` are what an interrupted run may have left in the collection.
        """
        return self._jobs.unsettled()

    def settle_jobs(self) -> None:
        """Record that no row of any job so far is in doubt: what the manifest does not own is not in the collection.

        Raises:
            LakeError: The lake was opened read-only, or the disk refuses.
        """
        self._own_jobs().settle()

    def adopt_as(self, collection: str) -> None:
        """Let the lake know the rows of this collection as those of `collection` too, which it has not known so far.

        Raises:
            LakeError: The lake was opened read-only, knows `collection`, or the disk refuses.
        """
        if self._lease is None:
            raise LakeError(f"The lake {self.path} was opened for reading; a collection is for the one who writes.")
        copy_collection(self.collection_dir, self.path / collection)
        self._checkpoint("lake: adopted")

    def compact_chunks(self, *, part_rows: int, least: int = LEAST) -> int:
        """How many chunk parts with few live rows were brought together in new ones; fewer than `least` are left.

        For the end of a run, when no row of any job is in doubt and the deltas of the manifest are folded. The old
        parts are then dangling.

        Args:
            part_rows: So many rows a part may have; few are less than half of that.
            least: So many such parts are worth the writing.

        Raises:
            LakeError: The lake was opened read-only, or the disk refuses.
        """
        if len(light_parts(self.manifest.read(ROW_LOCATION_COLUMNS), part_rows=part_rows)) < least:
            return 0
        light = light_parts(self.manifest.read(), part_rows=part_rows)
        job = self.next_job()
        # Rows of the new parts are in the collection, and owned where they were, so they are never in doubt.
        self.settle_jobs()
        moved = gathered(self.chunks, light, job=job, part_rows=part_rows)
        self.manifest.commit(moved, f"job-{job}")
        self.manifest.fold()
        return len(light)

    def require_lease(self) -> None:
        """Return while this process is sure to be the one who writes; among objects a lease can be lost.

        Asked before what is done elsewhere on the lake's word: the lake's own files ask by themselves.

        Raises:
            LakeError: It was lost.
        """
        if isinstance(self._lease, ObjectLease):
            self._lease.require()

    def close(self) -> None:
        """Give the lease back, and the job numbers that were claimed and not used."""
        if self._lease is None:
            return
        lease, self._lease = self._lease, None
        try:
            self._jobs.give_back()
        finally:
            lease.release()
            if isinstance(self.path, ObjectPath):
                self.path.store.guard = unguarded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _own_jobs(self) -> JobNumbers:
        if self._lease is None:
            raise LakeError(f"The lake {self.path} was opened for reading; jobs are for the one who writes.")
        return self._jobs

    def _job_after_parts(self) -> int:
        parts = self.chunks.all()
        return parts[-1].job + 1 if parts else 1

    def _prepare(self) -> None:
        if not (self.path / "format.json").exists():
            write_bytes_atomically(json.dumps({"format": FORMAT}).encode(), self.path / "format.json")
        if not (self.path / "lake.json").exists():
            write_json(self.path / "lake.json", {"identity": str(uuid.uuid4())})
        make_folder(self.chunks_dir)
        make_folder(self.vectors_dir)
        sweep_unfinished(local_folder(self.chunks_dir))
        sweep_unfinished(self.path, spared=self.path.glob(f"*/{history.EVALUATIONS_FOLDER}"))


def _named(part: str, checkpoint: Checkpoint) -> Checkpoint:
    return lambda step: checkpoint(f"{part}: {step}")


def _check_format(path: LakePath) -> None:
    try:
        with translate_os_errors(path, "Reading"):
            found = json.loads(path.read_bytes()) if path.exists() else {"format": FORMAT}
    except ValueError as error:
        raise LakeError(f'{path} is damaged: expected {{"format": {FORMAT}}}. Restore it from a copy.') from error
    number = found.get("format") if isinstance(found, dict) else None
    if not isinstance(number, int):
        raise LakeError(f'{path} is damaged: expected {{"format": {FORMAT}}}. Restore it from a copy.')
    if number > FORMAT:
        raise LakeError(
            f"{path} says that the lake was made by a newer version (format {number}; this one knows up to {FORMAT})."
            " Use that version, or set lake.path to another folder."
        )
