"""The scan stage: what lies in the sources against what the manifest says; what is to be done, grouped into jobs.

Joins `documents` (the listing) and `lake` (the manifest). An unchanged file costs a stat, not a read; the comparison is
an Arrow join. Law 7 is judged here, before anything else happens.

What a run that never finished may have left in the collection.

A part is written before any of its rows is upserted, and a document's manifest row after all of them, so the rows of
parts that the manifest does not name are exactly the rows in doubt. Knows the lake alone.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Collection as Group
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.documents import file_hash, list_files
from millrace.tasks.lake import ROW_LOCATION_COLUMNS, Lake, PartName, filter_rows
from millrace.tasks.records import LeftOut, Reject, SourceFile


@dataclass(frozen=True, slots=True)
class UncommittedRows:
    """Rows that may or may not be in the collection.

    `rows`: their ids by source. `parts`: the parts that say so, each with the sources it speaks of.
    """

    rows: Mapping[str, frozenset[str]]
    parts: tuple[tuple[PartName, frozenset[str]], ...]

    def settled_parts(self, settled: Group[str]) -> list[PartName]:
        """The parts of which every source is among `settled`: they have said what they had to say."""
        return [part for part, sources in self.parts if all(source in settled for source in sources)]


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

_FILE_SCHEMA = pa.schema(
    [("path", pa.string()), ("name", pa.string()), ("size_bytes", pa.int64()), ("mtime_ns", pa.int64())]
)


@dataclass(frozen=True, slots=True)
class Scan:
    """What a run has to do.

    `jobs`: files to read, in listing order. `previous`: manifest rows of documents in those files. `kept`: of documents
    that are as they were source, status and chunks, `touched` the manifest rows of those whose file has a new time but
    the same bytes (with the new time filled in). `removed`: manifest rows of documents whose file is gone. `rejects`:
    what the listing could not take. `known`: how many documents with rows the manifest had under these sources.
    `left_out`: what the listing passed over.
    """

    jobs: tuple[tuple[SourceFile, ...], ...]
    previous: pa.Table
    kept: pa.Table
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
    in_doubt: Iterable[str] = (),
    proceed: Callable[[], None] = lambda: None,
) -> Scan:
    """Compare the files of `sources` with the manifest.

    A document made under another `fingerprint`, or whose source is `in_doubt` (an interrupted run may have changed its
    rows), is read again whatever its file looks like; so is one whose rows an interrupted run may have deleted.
    `proceed` is called before each file and may raise, to break off. Raises `SourceError` for a source that cannot be
    read.
    """
    listed: list[SourceFile | Reject] = []
    listing = list_files(sources, include=include, exclude=exclude, base=base, follow_links=follow_links)
    for one in listing:
        proceed()
        listed.append(one)
    rejects = tuple(found for found in listed if isinstance(found, Reject))
    files = [found for found in listed if isinstance(found, SourceFile)]
    scope = filter_rows(manifest, _under(manifest["path"], _absolute(sources)))
    doubted = pa.array(sorted(set(in_doubt)), pa.string())

    rows = _file_table(files)
    known = _known_files(scope, fingerprint, doubted)
    joined = rows.join(known, "path", join_type="left outer", coalesce_keys=True)
    joined = joined.sort_by("position")
    same_stat = pc.and_(
        pc.equal(joined["size_bytes"], joined["known_size_bytes"]),
        pc.equal(joined["mtime_ns"], joined["known_mtime_ns"]),
    )
    usable = pc.fill_null(joined["usable"], False)
    unchanged = pc.fill_null(pc.and_(usable, same_stat), False)
    same_size = pc.fill_null(pc.equal(joined["size_bytes"], joined["known_size_bytes"]), False)

    to_read: list[SourceFile] = []
    touched_paths: dict[str, SourceFile] = {}
    for position, (is_unchanged, is_usable, is_same_size, known_hash) in enumerate(
        zip(
            unchanged.to_pylist(),
            usable.to_pylist(),
            same_size.to_pylist(),
            joined["file_hash"].to_pylist(),
            strict=True,
        )
    ):
        proceed()
        file = files[position]
        if is_unchanged:
            continue
        if is_usable and is_same_size and known_hash and _hash_or_none(file) == known_hash:
            touched_paths[file.path] = file
        else:
            to_read.append(file)

    read_paths = pa.array([f.path for f in to_read], pa.string())
    listed_paths = rows["path"]
    in_read = pc.is_in(scope["path"], value_set=read_paths)
    in_listing = pc.is_in(scope["path"], value_set=listed_paths)
    unreachable = _under(scope["source"], [r.source for r in rejects])
    gone = scope.filter(pc.and_not(pc.invert(in_listing), unreachable))
    stays = pc.or_(pc.and_not(in_listing, in_read), pc.and_not(unreachable, in_listing))
    touched = pc.and_(stays, pc.is_in(scope["path"], value_set=pa.array(list(touched_paths), pa.string())))
    return Scan(
        jobs=tuple(_jobs(to_read)),
        previous=filter_rows(scope, in_read),
        kept=filter_rows(scope.select(["source", "status", "chunks"]), stays),
        touched=_with_new_times(scope.filter(touched), touched_paths),
        removed=gone,
        rejects=rejects,
        files=len(files),
        known=pc.sum(pc.greater(scope["chunks"], 0)).as_py() or 0,
        left_out=listing.left_out,
    )


def fingerprint_of(*parts: object) -> str:
    """A short name for settings that shape a document's rows; equal parts give equal names."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _file_table(files: list[SourceFile]) -> pa.Table:
    return pa.table(
        {
            "path": pa.array([f.path for f in files], pa.string()),
            "size_bytes": pa.array([f.size_bytes for f in files], pa.int64()),
            "mtime_ns": pa.array([f.mtime_ns for f in files], pa.int64()),
            "position": pa.array(range(len(files)), pa.int64()),
        }
    )


def _known_files(scope: pa.Table, fingerprint: str, doubted: pa.Array) -> pa.Table:
    """One row a file of the manifest: its stat and hash, and whether all of its documents can be kept as they are."""
    same_settings = pc.and_not(
        pc.equal(scope["fingerprint"], fingerprint), pc.is_in(scope["source"], value_set=doubted)
    )
    sound = pc.and_(same_settings, pc.not_equal(scope["file_hash"], ""))  # no hash: it could not even be opened
    sound = pc.and_not(sound, pc.equal(scope["status"], "leaving"))
    per_document = pa.table(
        {
            "path": scope["path"],
            "known_size_bytes": scope["size_bytes"],
            "known_mtime_ns": scope["mtime_ns"],
            "file_hash": scope["file_hash"],
            "usable": sound,
        }
    )
    grouped = per_document.group_by("path").aggregate(
        [
            ("known_size_bytes", "max"),
            ("known_mtime_ns", "max"),
            ("file_hash", "min"),
            ("file_hash", "max"),
            ("usable", "min"),
        ]
    )
    one_version = pc.equal(grouped["file_hash_min"], grouped["file_hash_max"])
    return pa.table(
        {
            "path": grouped["path"],
            "known_size_bytes": grouped["known_size_bytes_max"],
            "known_mtime_ns": grouped["known_mtime_ns_max"],
            "file_hash": grouped["file_hash_max"],
            "usable": pc.and_(grouped["usable_min"], one_version),
        }
    )


def _under(paths: pa.ChunkedArray, folders: Sequence[str]) -> pa.ChunkedArray:
    """Which of `paths`, or of the names of records in them, are one of `folders` or lie below it."""
    if len(folders) > _MANY_SOURCES:
        names = {folder.rstrip("/") or "/" for folder in folders}
        return pa.chunked_array(
            [pa.array([not names.isdisjoint(_and_above(p)) for p in paths.to_pylist()], pa.bool_())]
        )
    found = pa.chunked_array([pa.nulls(len(paths), pa.bool_()).fill_null(False)])
    for folder in folders:
        below = pc.starts_with(paths, pattern=folder.rstrip("/") + "/")
        record = pc.starts_with(paths, pattern=folder + "#")
        found = pc.or_(found, pc.or_(pc.or_(below, record), pc.equal(paths, folder)))
    return found


def _and_above(path: str) -> Iterator[str]:
    """The path, and everything that it may lie in: folders, and the file of a record.

    >>> list(_and_above("/a/b.jsonl#7"))
    ['/a/b.jsonl#7', '/a/b.jsonl', '/a', '/']
    """
    yield path
    for end in range(len(path) - 1, 0, -1):
        if path[end] in "/#":
            yield path[:end]
    yield "/"


def _absolute(sources: Sequence[Path]) -> list[str]:
    """As the listing names them; not resolved, which would follow links."""
    return [os.path.abspath(source) for source in sources]  # noqa: PTH100


def _hash_or_none(file: SourceFile) -> str | None:
    try:
        return file_hash(file)
    except OSError:  # the reader will say why
        return None


def _with_new_times(rows: pa.Table, touched: dict[str, SourceFile]) -> pa.Table:
    times = pa.array([touched[path].mtime_ns for path in rows["path"].to_pylist()], pa.int64())
    return rows.set_column(rows.schema.get_field_index("mtime_ns"), rows.schema.field("mtime_ns"), times)


def _jobs(files: Iterable[SourceFile]) -> Iterator[tuple[SourceFile, ...]]:
    """Files in order, grouped so that a job makes about a part; the first one is small."""
    job: list[SourceFile] = []
    chunks = 0.0
    target = _FIRST_JOB_CHUNKS
    for file in files:
        job.append(file)
        suffix = PurePosixPath(file.path).suffix.lower()
        chunks += max(1.0, file.size_bytes / _BYTES_PER_CHUNK.get(suffix, _BYTES_PER_CHUNK_OF_TEXT))
        if chunks >= target:
            yield tuple(job)
            job, chunks, target = [], 0.0, _JOB_CHUNKS
    if job:
        yield tuple(job)
