"""The lake as a folder: its format, its identity, its collections, and who may write to it."""

import json
import os
import re
import shutil
import uuid
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import pyarrow as pa

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake import parsed
from millrace.tasks.lake.bills import FOLDING_FILE, SUMS_FILE, Bills
from millrace.tasks.lake.collection import sidecars
from millrace.tasks.lake.collection.chunk_compaction import (
    MIN_LIGHT_PARTS,
    documents_of,
    gather_light_parts,
    light_parts,
)
from millrace.tasks.lake.collection.chunk_parts import ROW_LOCATION_COLUMNS, ChunkParts, row_ranges
from millrace.tasks.lake.collection.jobs import JobNumbers
from millrace.tasks.lake.collection.manifest import Manifest
from millrace.tasks.lake.collection.rejects import Rejects
from millrace.tasks.lake.history import (
    EVALUATIONS_FOLDER,
    Evaluation,
    RunFiles,
    RunPages,
    RunRecord,
    Timeline,
)
from millrace.tasks.lake.state import CollectionSettings, LearnedLimitsFile, Switches
from millrace.tasks.lake.storage.atomic import (
    Checkpoint,
    Damage,
    fsync_folder,
    make_folder,
    no_checkpoint,
    permissions_of,
    sweep_unfinished,
    translate_os_errors,
    write_bytes_atomically,
)
from millrace.tasks.lake.storage.json_file import read_json, write_json
from millrace.tasks.lake.storage.lease import Lease
from millrace.tasks.lake.storage.location import LakePath, local_folder
from millrace.tasks.lake.storage.object_lease import ObjectLease, lease_at
from millrace.tasks.lake.storage.object_path import ObjectPath, unguarded
from millrace.tasks.lake.vectors.batch_jobs import BatchJobs
from millrace.tasks.lake.vectors.space import SpaceFolder, SpaceSummary, described_in, summarize
from millrace.tasks.lake.vectors.store import VectorStore
from millrace.tasks.records import EmbeddingSpace

_COLLECTION_FILES = ("manifest.parquet", "manifest.d", "rejects", "chunks", "jobs.json", "settings.json")
"""What the folder of a collection holds, the records of its runs aside."""


def copy_collection(source: LakePath, target: LakePath) -> None:
    """Make `target` the folder of a collection with the same documents in the same parts as `source`, at one stroke.

    None of these files is ever changed in place, so the two folders share them as hard links, where the disk has those.

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
        making.mkdir(mode=permissions_of(source))
        for name in _COLLECTION_FILES:
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


Audience = Literal["owner", "group", "everyone"]
_FOLDER_MODES: dict[Audience, int] = {"owner": 0o700, "group": 0o750, "everyone": 0o755}

FORMAT = 1
_COLLECTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_RESERVED_NAMES = frozenset(
    {
        *("vectors", "bills", SUMS_FILE, FOLDING_FILE, "limits.json"),
        *("switches.json", "switches.lease", "format.json", "lake.json", "lease", parsed.FOLDER),
    }
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
        self.chunks = ChunkParts(
            self.chunks_dir, current_manifest=self.manifest.read, checkpoint=_named("chunks", checkpoint)
        )
        self._jobs = JobNumbers(
            self.collection_dir / "jobs.json",
            first_after_parts=self._job_after_parts,
            checkpoint=_named("jobs", checkpoint),
        )
        self.parsed = parsed.ParsedFolder(path / parsed.FOLDER, read_only=lease is None)
        self.rejects = Rejects(self.collection_dir, checkpoint=_named("rejects", checkpoint))
        self.runs = RunFiles(self.collection_dir / "runs", RunRecord)
        self.timelines = RunFiles(self.collection_dir / "timelines", Timeline, indent=None)
        self.evaluations = RunFiles(self.collection_dir / EVALUATIONS_FOLDER, Evaluation)
        self.usage = Bills(path)
        self.reports = RunPages(self.collection_dir / "reports")
        self.sidecars = sidecars.Sidecars(self.sidecars_dir)
        self.settings = CollectionSettings(
            self.collection_dir / "settings.json", checkpoint=_named("settings", checkpoint)
        )
        self.limits = LearnedLimitsFile(path / "limits.json")
        self.switches = Switches(path / "switches.json")

    @classmethod
    def open(
        cls,
        path: LakePath,
        collection: str,
        *,
        read_only: bool = False,
        readable_by: Audience = "owner",
        checkpoint: Checkpoint = no_checkpoint,
    ) -> Self:
        """The lake at `path`, opened for `collection`; made when it is not there, unless `read_only`.

        `readable_by`: who may read the folders of a new lake and a new collection, and so what is written in them;
        those that are there keep their permissions. `checkpoint` is called with each step that became durable
        ("manifest: renamed"); see `tasks.lake.storage.atomic`.

        Raises:
            LeaseHeld: Another living process writes to this lake.
            LakeError: The name cannot be a folder, a file is in the way, the folder cannot be written, or the lake was
                made by a newer version.
        """
        if not _COLLECTION.fullmatch(collection) or collection in _RESERVED_NAMES:
            raise LakeError(
                f"The collection name {collection!r} cannot be a folder of the lake: expected 1 to 200 letters, digits,"
                f" '_', '-' or '.', not beginning with '.' or '-', and none of {', '.join(sorted(_RESERVED_NAMES))}."
            )
        path = path.absolute()
        if path.exists() and not path.is_dir():
            raise LakeError(f"The lake {path} is a file, not a folder. Set lake.path to a folder of its own.")
        _check_format(path / "format.json")
        if read_only:
            return cls(path, collection, None, checkpoint)
        make_folder(path, mode=_FOLDER_MODES[readable_by])
        lease = lease_at(path / "lease", f"The lake {path}")
        if isinstance(path, ObjectPath) and isinstance(lease, ObjectLease):
            path.store.guard = lease.require
        try:
            lake = cls(path, collection, lease, checkpoint)
            lake._prepare(_FOLDER_MODES[readable_by])
        except LakeError:
            lease.release()
            raise
        return lake

    def lease(self) -> Lease | ObjectLease:
        """The right to write to this lake, for one who only wants nobody else to.

        Raises:
            LeaseHeld: Another living process writes to this lake.
            LakeError: The lease cannot be written.
        """
        return lease_at(self.path / "lease", f"The lake {self.path}")

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
    def sidecars_dir(self) -> LakePath:
        """The folder of the sidecars of parts that are made on other machines."""
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

    def batch_jobs(self, space: EmbeddingSpace) -> BatchJobs:
        """The Batch jobs whose vectors are for `space`."""
        return BatchJobs(self.vectors_dir / space.name / "batch", checkpoint=_named("batch", self._checkpoint))

    def seal_leftovers(self, space: EmbeddingSpace) -> None:
        """Make parts of what a killed run has journalled in `space`; where there is no journal nothing is opened.

        Raises:
            LakeError: The lake was opened read-only, or the disk refuses.
        """
        if SpaceFolder(self.vectors_dir, space, None).has_journals():
            self.vectors(space).close()

    def spaces(self) -> list[SpaceSummary]:
        """A summary of each vector store, sorted by name; reads no vector and no key."""
        names = sorted(folder.name for folder in self.vectors_dir.iterdir()) if self.vectors_dir.is_dir() else []
        return [found for name in names if (found := summarize(self.vectors_dir / name)) is not None]

    def space_named(self, name: str) -> EmbeddingSpace | None:
        """The embedding space called `name`; None when the lake has no readable description of it.

        For messages: the name shows model and dimensions only, this also endpoint, text type and instruct.
        """
        space = described_in(self.vectors_dir / name)
        return space if space is not None and space.name == name else None

    def next_job(self, count: int = 1) -> int:
        """The first of `count` job numbers in a row that no run has had, not even a killed one.

        Numbers are reserved on disk before they are given out: a worker that outlives its killed run may still be
        writing the parts of its job.

        Raises:
            LakeError: The lake was opened read-only, or the disk refuses.
        """
        return self._own_jobs().reserve(count)

    def first_uncommitted_job(self) -> int:
        """The first job whose rows may be uncommitted: earlier jobs belong to runs that came to their end.

        Of the parts of later jobs, `chunks.unowned_rows` are what an interrupted run may have left in the collection.
        """
        return self._jobs.first_uncommitted()

    def mark_jobs_committed(self) -> None:
        """Record that no job so far left an uncommitted row: the collection has no row that the manifest does not own.

        Raises:
            LakeError: The lake was opened read-only, or the disk refuses.
        """
        self._own_jobs().mark_committed()

    def copy_as(self, collection: str) -> None:
        """Make `collection` a second collection of the lake, with the documents and parts that this one has now.

        Raises:
            LakeError: The lake was opened read-only, knows `collection`, or the disk refuses.
        """
        if self._lease is None:
            raise LakeError(f"The lake {self.path} was opened for reading; collections are copied by the writer.")
        copy_collection(self.collection_dir, self.path / collection)
        self._checkpoint("lake: adopted")

    def row_ranges(self) -> pa.Table:
        """Where the documents of the manifest have their rows; see `tasks.lake.collection.chunk_parts.row_ranges`.

        Raises:
            LakeError: A file of the manifest is damaged.
        """
        return row_ranges(self.manifest.batches(ROW_LOCATION_COLUMNS))

    def compact_chunks(self, *, part_rows: int, min_parts: int = MIN_LIGHT_PARTS) -> int:
        """Merge chunk parts with few live rows into new parts; returns how many. Fewer than `min_parts` are left alone.

        For the end of a run, when no row is uncommitted and the deltas of the manifest are folded. The old parts are
        dangling afterwards.

        Args:
            part_rows: The largest number of rows of a part; "few" is less than half of it.
            min_parts: The smallest number of such parts that is worth a rewrite.

        Raises:
            LakeError: The lake was opened read-only, or the disk refuses.
        """
        light = light_parts(self.row_ranges(), part_rows=part_rows)
        if len(light) < min_parts:
            return 0
        job = self.next_job()
        # Rows of the new parts are in the collection already, and owned where they were: they are never uncommitted.
        self.mark_jobs_committed()
        parts = documents_of(light, self.manifest.batches())
        moved = gather_light_parts(self.chunks, parts, job=job, part_rows=part_rows)
        self.manifest.commit(moved, f"job-{job}")
        self.manifest.fold()
        return len(light)

    def damaged_records(self, newest: int | None = None) -> list[Damage]:
        """The small files of runs, jobs, settings, limits and aliases that are damaged, and what follows from each.

        No document and no vector depends on them. With `newest` only so many of each kind of a run's are looked at.
        """
        of_runs, others = (
            (self.runs, self.usage, self.evaluations),
            (self._jobs, self.settings, self.limits, self.switches),
        )
        found = [damage for one in of_runs for damage in one.damaged(newest)]
        found += [damage for one in others for damage in one.damaged()]
        return found + [damage for space in self.spaces() for damage in self.batch_jobs(space.space).damaged()]

    def require_lease(self) -> None:
        """Check that this process is still the writer: among objects a lease can be lost.

        To be called before changes outside the lake that rely on it; writes to the lake itself check on their own.

        Raises:
            LakeError: The lease was lost.
        """
        if isinstance(self._lease, ObjectLease):
            self._lease.require()

    def close(self) -> None:
        """Release the lease, and the job numbers that were reserved and not used."""
        if self._lease is None:
            return
        lease, self._lease = self._lease, None
        try:
            self._jobs.release()
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
            raise LakeError(f"The lake {self.path} was opened for reading; job numbers are given to the writer.")
        return self._jobs

    def _job_after_parts(self) -> int:
        parts = self.chunks.all()
        return parts[-1].job + 1 if parts else 1

    def _prepare(self, folder_mode: int) -> None:
        if not (self.path / "format.json").exists():
            write_bytes_atomically(json.dumps({"format": FORMAT}).encode(), self.path / "format.json")
        if not (self.path / "lake.json").exists():
            write_json(self.path / "lake.json", {"identity": str(uuid.uuid4())})
        make_folder(self.collection_dir, mode=folder_mode)
        make_folder(self.chunks_dir)
        make_folder(self.vectors_dir)
        sweep_unfinished(local_folder(self.chunks_dir))
        sweep_unfinished(self.path, spared=self.path.glob(f"*/{EVALUATIONS_FOLDER}"))


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
