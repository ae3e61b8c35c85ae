"""The scan stage: compares the files of the sources with the manifest, and groups the files to read into jobs.

Joins `documents` (the listing) and `lake` (the manifest). An unchanged file costs a stat, not a read; the comparison is
an Arrow join.

It also finds the uncommitted rows, which a run that never finished may have left in the collection: a part is written
before any of its rows is upserted, and a document's manifest row after all of them, so they are exactly the rows of
parts that the manifest does not name.
"""

import fnmatch
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Collection as Group
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.documents import file_hash, list_files
from millrace.tasks.lake import ROW_LOCATION_COLUMNS, Lake, PartName, filter_rows
from millrace.tasks.records import LeftOut, Reject, SourceFile
from millrace.tasks.stages.name_clashes import find_clashes


@dataclass(frozen=True, slots=True)
class UncommittedRows:
    """Rows that may or may not be in the collection.

    `rows`: their ids by source. `parts`: the parts that hold them, each with the sources of those rows.
    """

    rows: Mapping[str, frozenset[str]]
    parts: tuple[tuple[PartName, frozenset[str]], ...]

    def completed_parts(self, completed: Group[str]) -> list[PartName]:
        """The parts of which every source is among `completed`: they are needed no more."""
        return [part for part, sources in self.parts if all(source in completed for source in sources)]


def uncommitted_rows(lake: Lake) -> UncommittedRows:
    """The rows of unfinished runs' parts that no document of the manifest owns; nothing is read when all runs ended."""
    first = lake.first_uncommitted_job()
    unsettled = [part for part in lake.chunks.all() if part.job >= first]
    rows: dict[str, set[str]] = {}
    parts: list[tuple[PartName, frozenset[str]]] = []
    if unsettled:
        for part, unowned in lake.chunks.unowned_rows(unsettled, lake.manifest.read(ROW_LOCATION_COLUMNS)):
            for source, row_id in zip(unowned["source"].to_pylist(), unowned["id"].to_pylist(), strict=True):
                rows.setdefault(source, set()).add(row_id)
            if unowned.num_rows:
                parts.append((part, frozenset(unowned["source"].unique().to_pylist())))
    return UncommittedRows({source: frozenset(ids) for source, ids in rows.items()}, tuple(parts))


_JOB_CHUNKS = 1_500  # as many as a part may have at the end of a job; twice as many make two, and half as many one
_FIRST_JOB_CHUNKS = 100  # so that the first request goes out soon after the start
# As documentation was cut at 512 tokens: 72 PDF files, 1,700 HTML, 2,500 Markdown, reStructuredText and plain text.
_BYTES_PER_CHUNK = {".pdf": 3_000, ".html": 3_300, ".htm": 3_300, ".xhtml": 3_300, ".parquet": 600}
_BYTES_PER_CHUNK_OF_TEXT = 850

_MANY_SOURCES = 16  # below it a pass over all names for each source is the faster way

STAT_COLUMNS = ("size_bytes", "mtime_ns", "ctime_ns", "inode")
"""Columns of the manifest that tell whether a file may have changed; the last two are not known of every file."""


@dataclass(frozen=True, slots=True)
class Scan:
    """The work of a run.

    `jobs`: files to read, in listing order. `previous`: manifest rows of documents in those files. `unchanged`: source,
    status and chunks of documents that are as they were. `touched`: manifest rows of those among them whose file has a
    new time but the same bytes (with the new time filled in). `removed`: manifest rows of documents whose file is gone.
    `rejects`: what the listing could not take. `files`: how many files it found. `known`: how many documents with rows
    the manifest had under these sources. `left_out`: what the listing passed over.
    """

    jobs: tuple[tuple[SourceFile, ...], ...]
    previous: pa.Table
    unchanged: pa.Table
    touched: pa.Table
    removed: pa.Table
    rejects: tuple[Reject, ...]
    files: int
    known: int
    left_out: LeftOut = field(default_factory=LeftOut)


def scan(
    sources: Sequence[Path],
    manifest: pa.Table,
    *,
    include: Sequence[str],
    exclude: Sequence[str],
    base: Path | None,
    fingerprint: str,
    follow_links: bool = False,
    again: Iterable[str] = (),
    reread: str = "",
    proceed: Callable[[], None] = lambda: None,
) -> Scan:
    """Compare the files of `sources` with the manifest.

    A document made under another `fingerprint`, or whose source is in `again` (an interrupted run may have changed its
    rows), is read again whatever its file looks like; so is one whose rows an interrupted run may have deleted. The
    bytes of files that match the glob `reread` (`*` stands for slashes too) are compared, whatever size and times say.
    `proceed` is called before each file and may raise, to break off. Raises `SourceError` for a source that cannot be
    read.
    """
    listed: list[SourceFile | Reject] = []
    listing = list_files(sources, include=include, exclude=exclude, base=base, follow_links=follow_links)
    for one in listing:
        proceed()
        listed.append(one)
    files = [found for found in listed if isinstance(found, SourceFile)]
    scope = filter_rows(manifest, _under(manifest["path"], _absolute(sources)))
    clashes = find_clashes(files, manifest, scope)
    files = clashes.files
    rejects = (*(found for found in listed if isinstance(found, Reject)), *clashes.rejects)
    read_again = pa.array(sorted(set(again)), pa.string())

    rows = _file_table(files)
    known = _known_files(scope, fingerprint, read_again)
    joined = rows.join(known, "path", join_type="left outer", coalesce_keys=True)
    joined = joined.sort_by("position")
    usable = pc.fill_null(joined["usable"], False)
    as_before = pc.fill_null(pc.and_(usable, _same_stat(joined)), False)
    same_size = pc.fill_null(pc.equal(joined["size_bytes"], joined["known_size_bytes"]), False)
    unrecorded = pc.is_null(joined["known_ctime_ns"])  # by an earlier version, which did not compare it
    matches = re.compile(fnmatch.translate(reread), re.IGNORECASE).match if reread else lambda _: None

    to_read: list[SourceFile] = []
    touched_paths: dict[str, SourceFile] = {}
    columns = (as_before, usable, same_size, unrecorded, joined["file_hash"])
    for position, (is_as_before, is_usable, is_same_size, is_unrecorded, known_hash) in enumerate(
        zip(*(column.to_pylist() for column in columns), strict=True)
    ):
        proceed()
        file = files[position]
        if file.path in clashes.read_again:
            to_read.append(file)
        elif is_as_before and not matches(file.path):
            if is_unrecorded:
                touched_paths[file.path] = file
        elif is_usable and is_same_size and known_hash and _hash_or_none(file) == known_hash:
            touched_paths[file.path] = file
        else:
            to_read.append(file)

    read_paths = pa.array([f.path for f in to_read], pa.string())
    in_read = pc.is_in(scope["path"], value_set=read_paths)
    in_listing = pc.is_in(scope["path"], value_set=rows["path"])
    unreachable = _under(scope["path"], [_path_of(reject.source, base) for reject in rejects])
    # A record may have the name of a file that is gone: whether its rows go is known when the records are read.
    undecided = pc.and_not(
        pc.is_in(scope["path"], value_set=pa.array(sorted(clashes.undecided), pa.string())), unreachable
    )
    removed = scope.filter(pc.and_not(pc.and_not(pc.invert(in_listing), unreachable), undecided))
    stays = pc.or_(pc.and_not(in_listing, in_read), pc.and_not(unreachable, in_listing))
    touched = pc.and_(stays, pc.is_in(scope["path"], value_set=pa.array(list(touched_paths), pa.string())))
    return Scan(
        jobs=tuple(_jobs(to_read)),
        previous=filter_rows(scope, pc.or_(in_read, undecided)),
        unchanged=filter_rows(scope.select(["source", "status", "chunks"]), stays),
        touched=_with_new_stat(scope.filter(touched), touched_paths),
        removed=removed,
        rejects=rejects,
        files=len(files),
        known=pc.sum(pc.greater(scope["chunks"], 0)).as_py() or 0,
        left_out=listing.left_out,
    )


def fingerprint_of(*parts: object) -> str:
    """A short name for settings that shape a document's rows; equal parts give equal names."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _file_table(files: list[SourceFile]) -> pa.Table:
    stat = {name: pa.array([getattr(file, name) for file in files], pa.int64()) for name in STAT_COLUMNS}
    paths = pa.array([file.path for file in files], pa.string())
    return pa.table({"path": paths, **stat, "position": pa.array(range(len(files)), pa.int64())})


def _known_files(scope: pa.Table, fingerprint: str, read_again: pa.Array) -> pa.Table:
    """One row a file of the manifest: its stat and hash, and whether all of its documents can be kept as they are."""
    same_settings = pc.and_not(
        pc.equal(scope["fingerprint"], fingerprint), pc.is_in(scope["source"], value_set=read_again)
    )
    sound = pc.and_(same_settings, pc.not_equal(scope["file_hash"], ""))  # no hash: it could not even be opened
    sound = pc.and_not(sound, pc.equal(scope["status"], "leaving"))
    stat = {f"known_{name}": scope[name] for name in STAT_COLUMNS}
    per_document = pa.table({"path": scope["path"], **stat, "file_hash": scope["file_hash"], "usable": sound})
    grouped = per_document.group_by("path").aggregate(
        [*((name, "max") for name in stat), ("file_hash", "min"), ("file_hash", "max"), ("usable", "min")]
    )
    one_version = pc.equal(grouped["file_hash_min"], grouped["file_hash_max"])
    return pa.table(
        {
            "path": grouped["path"],
            **{name: grouped[f"{name}_max"] for name in stat},
            "file_hash": grouped["file_hash_max"],
            "usable": pc.and_(grouped["usable_min"], one_version),
        }
    )


def _same_stat(files: pa.Table) -> pa.ChunkedArray:
    """Which files have the stat that the manifest knows, as far as it knows it and the file system has it."""
    same = pc.and_(
        pc.equal(files["size_bytes"], files["known_size_bytes"]), pc.equal(files["mtime_ns"], files["known_mtime_ns"])
    )
    for name in ("ctime_ns", "inode"):
        now, known = files[name], pc.fill_null(files[f"known_{name}"], 0)
        unknown = pc.or_(pc.equal(now, 0), pc.equal(known, 0))
        same = pc.and_(same, pc.or_(unknown, pc.equal(now, known)))
    return same


def _under(paths: pa.ChunkedArray, folders: Sequence[str]) -> pa.ChunkedArray:
    """Which of `paths`, all of files, are one of `folders` or lie below it."""
    if len(folders) > _MANY_SOURCES:
        names = {folder.rstrip("/") or "/" for folder in folders}
        return pa.chunked_array(
            [pa.array([not names.isdisjoint(_and_above(p)) for p in paths.to_pylist()], pa.bool_())]
        )
    found = pa.chunked_array([pa.nulls(len(paths), pa.bool_()).fill_null(False)])
    for folder in folders:
        below = pc.starts_with(paths, pattern=folder.rstrip("/") + "/")
        found = pc.or_(found, pc.or_(below, pc.equal(paths, folder)))
    return found


def _and_above(path: str) -> Iterator[str]:
    """The path, and every folder that it lies in.

    >>> list(_and_above("/a/b#/c.txt"))
    ['/a/b#/c.txt', '/a/b#', '/a', '/']
    """
    yield path
    for end in range(len(path) - 1, 0, -1):
        if path[end] == "/":
            yield path[:end]
    yield "/"


def _path_of(name: str, base: Path | None) -> str:
    """The path of the file or folder that the listing calls `name`."""
    return name if base is None else os.path.join(os.path.abspath(base), name)  # noqa: PTH100, PTH118 - as the listing


def _absolute(sources: Sequence[Path]) -> list[str]:
    """As the listing names them; not resolved, which would follow links."""
    return [os.path.abspath(source) for source in sources]  # noqa: PTH100


def _hash_or_none(file: SourceFile) -> str | None:
    try:
        return file_hash(file)
    except OSError:  # reading it will say why
        return None


def _with_new_stat(rows: pa.Table, touched: dict[str, SourceFile]) -> pa.Table:
    files = [touched[path] for path in rows["path"].to_pylist()]
    for name in STAT_COLUMNS:
        values = pa.array([getattr(file, name) for file in files], pa.int64())
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
    return rows


def expected_chunks(file: SourceFile) -> float:
    """About how many chunks the file makes, by its size and format; at least 1."""
    suffix = PurePosixPath(file.path).suffix.lower()
    return max(1.0, file.size_bytes / _BYTES_PER_CHUNK.get(suffix, _BYTES_PER_CHUNK_OF_TEXT))


def _jobs(files: Iterable[SourceFile]) -> Iterator[tuple[SourceFile, ...]]:
    """Files in order, grouped so that a job makes about a part; the first one is small."""
    job: list[SourceFile] = []
    chunks = 0.0
    target = _FIRST_JOB_CHUNKS
    for file in files:
        job.append(file)
        chunks += expected_chunks(file)
        if chunks >= target:
            yield tuple(job)
            job, chunks, target = [], 0.0, _JOB_CHUNKS
    if job:
        yield tuple(job)
