"""The scan stage: compares the files of the sources with the manifest, and groups the files to read into jobs.

Joins `documents` (the listing) and `lake` (the manifest). Both come in the order of the paths' bytes, so they are
merged some thousand files at a time, and only what differs becomes an object or stays in memory. An unchanged file
costs a stat, not a read.
"""

import fnmatch
import hashlib
import heapq
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.documents import Listing, file_hash, list_files, list_known_files
from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Manifest
from millrace.tasks.records import MANIFEST_SCHEMA, LeftOut, Reject, SourceFile
from millrace.tasks.stages.job_files import JobFiles
from millrace.tasks.stages.known_files import STAT_COLUMNS, DocumentSums, KnownFiles, is_under
from millrace.tasks.stages.name_clashes import Clashes, ClashSearch

_FILES_AT_A_TIME = 1 << 12
_path = attrgetter("path")


@dataclass(frozen=True, slots=True)
class Scan:
    """The work of a run.

    `jobs`: files to read, in listing order; `changed` of them the manifest knows. `previous`: manifest rows of
    documents in those files. `unchanged`: sums over the documents that are as they were; `unchanged_again`: source,
    status and chunks of those among them that were to be read again and cannot be reached. `touched`: manifest rows of
    unchanged documents whose file has a new time but the same bytes (with the new time filled in). `removed`: manifest
    rows of documents whose file is gone. `rejects`: what the listing could not take. `files`: how many files it found.
    `known`: how many documents with rows the manifest had under these sources; `staying_with_rows`: how many of all
    its documents have rows that no run was deleting. `left_out`: what the listing passed over. `listed`: how many files
    and rejects it found, by suffix.
    """

    jobs: JobFiles
    changed: int
    previous: pa.Table
    unchanged: DocumentSums
    unchanged_again: pa.Table
    touched: pa.Table
    removed: pa.Table
    rejects: tuple[Reject, ...]
    files: int
    known: int
    staying_with_rows: int
    left_out: LeftOut = field(default_factory=LeftOut)
    listed: Mapping[str, int] = field(default_factory=dict)


def scan(
    sources: Sequence[Path] | None,
    manifest: Manifest,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    base: Path | None = None,
    fingerprint: str,
    follow_links: bool = False,
    reject_unknown: bool = False,
    again: Iterable[str] = (),
    reread: str = "",
    proceed: Callable[[], None] = lambda: None,
) -> Scan:
    """Compare the files of `sources` with the manifest; with None those that it names, and no others.

    A document made under another `fingerprint`, or whose source is in `again` (an interrupted run may have changed its
    rows), is read again whatever its file looks like; so is one whose rows an interrupted run may have deleted. The
    bytes of files that match the glob `reread` (`*` stands for slashes too) are compared, whatever size and times say.
    `proceed` is called before each file and may raise, to break off. Raises `SourceError` for a source that cannot be
    read.
    """
    if sources is None:
        listing = list_known_files(_paths_of(manifest), include=include)
    else:
        listing = list_files(
            sources,
            include=include,
            exclude=exclude,
            base=base,
            follow_links=follow_links,
            reject_unknown=reject_unknown,
        )
    known = KnownFiles(
        manifest,
        folders=None if sources is None else [os.path.abspath(source) for source in sources],  # noqa: PTH100 - as listed
        fingerprint=fingerprint,
        again=pa.array(sorted(set(again)), pa.string()),
    )
    rejects: list[Reject] = []
    found = _Differences(re.compile(fnmatch.translate(reread), re.IGNORECASE) if reread else None, proceed)
    search = ClashSearch()
    for files, known_files in _aligned(_batches(listing, rejects, proceed), iter(known), known.nothing):
        paths = pa.array(map(_path, files), pa.string())
        search.look(files, paths, known_files)
        found.compare(files, paths, known_files)
    clashes = search.clashes(manifest)
    found.settle(clashes)
    rejects += clashes.rejects.values()
    unreachable = [_path_of(reject.source, base) for reject in rejects]
    previous, touched, removed = found.documents(manifest, clashes.undecided, unreachable)
    read_or_gone = pa.concat_tables([previous, removed])["source"]
    return Scan(
        jobs=found.jobs,
        changed=len(set(previous["path"].unique().to_pylist()) - clashes.undecided),
        previous=previous,
        unchanged=known.under - DocumentSums.of(previous) - DocumentSums.of(removed),
        unchanged_again=known.again.filter(pc.invert(pc.is_in(known.again["source"], value_set=read_or_gone))),
        touched=touched,
        removed=removed,
        rejects=tuple(rejects),
        files=found.files - len(clashes.rejects),
        known=known.under.with_rows,
        staying_with_rows=known.staying_with_rows,
        left_out=listing.left_out,
        listed=listing.listed,
    )


def fingerprint_of(*parts: object) -> str:
    """A short name for settings that shape a document's rows; equal parts give equal names."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _paths_of(manifest: Manifest) -> Iterator[str]:
    """The path of each file that the manifest names, in order."""
    rows = (path for batch in manifest.batches(["path"]) for path in batch["path"].to_pylist())
    return (path for path, _ in groupby(rows))


def _batches(listing: Listing, rejects: list[Reject], proceed: Callable[[], None]) -> Iterator[list[SourceFile]]:
    """The files of the listing, some thousand at a time; what is a reject goes to `rejects`."""

    def files() -> Iterator[SourceFile]:
        for one in listing:
            proceed()
            if isinstance(one, SourceFile):
                yield one
            else:
                rejects.append(one)

    rest = files()
    while some := list(islice(rest, _FILES_AT_A_TIME)):
        yield some


def _aligned(
    listed: Iterator[list[SourceFile]], known: Iterator[pa.Table], nothing: pa.Table
) -> Iterator[tuple[list[SourceFile], pa.Table]]:
    """Both sides, range by range of paths: each is in order and has a path once; `nothing` is an empty table."""
    files, rows, before = next(listed, []), next(known, nothing), ""
    while files or rows.num_rows:
        ends = [files[-1].path] if files else []
        ends += [rows["path"][-1].as_py()] if rows.num_rows else []
        end = min(ends)
        assert before < end, f"{end} after {before}: files would be taken for gone"
        before = end
        count = bisect_right(files, end, key=_path)
        known_count = pc.sum(pc.less_equal(rows["path"], end)).as_py() or 0
        yield files[:count], rows.slice(0, known_count)
        files = files[count:] or next(listed, [])
        rows = rows.slice(known_count) if known_count < rows.num_rows else next(known, nothing)


class _Differences:
    """What the comparison has found so far; in memory is what differs, and of the files to read one job."""

    def __init__(self, reread: re.Pattern[str] | None, proceed: Callable[[], None]) -> None:
        self.jobs = JobFiles()
        self.files = 0
        self.changed: set[str] = set()
        self._touched: dict[str, SourceFile] = {}
        self._read_again: frozenset[str] = frozenset()
        self._gone: set[str] = set()
        self._reread = reread
        self._proceed = proceed

    def compare(self, files: list[SourceFile], paths: pa.Array, known: pa.Table) -> None:
        """Compare these files, whose paths are `paths`, with all that is known of paths in their range."""
        self.files += len(files)
        gone = pc.and_not(known["under"], pc.is_in(known["path"], value_set=paths))
        self._gone.update(known["path"].filter(gone).to_pylist())
        if not files:
            return
        now = {name: pa.array(map(attrgetter(name), files), pa.int64()) for name in STAT_COLUMNS}
        before = known.take(pc.index_in(paths, value_set=known["path"].combine_chunks()))
        usable = pc.and_(before["usable"], pc.equal(before["lowest_hash"], before["highest_hash"]))
        as_before = _mask(pc.and_(usable, _same_stat(now, before)))
        comparable = _mask(pc.and_(usable, pc.equal(now["size_bytes"], before["size_bytes"])))
        unrecorded = _mask(pc.is_null(before["ctime_ns"]))  # by an earlier version, which did not compare it
        matching = np.fromiter((self._matches(file) for file in files), np.bool_) if self._reread else False
        for position in np.flatnonzero(~as_before | unrecorded | matching).tolist():
            self._proceed()
            file, known_hash = files[position], before["lowest_hash"][position].as_py()
            looks_the_same = as_before[position] and not self._matches(file)
            if looks_the_same or (comparable[position] and _hash_or_none(file) == known_hash):
                self._touched[file.path] = file
            else:
                self.jobs.add(file)
                if known_hash is not None:
                    self.changed.add(file.path)

    def _matches(self, file: SourceFile) -> bool:
        return self._reread is not None and self._reread.match(file.path) is not None

    def settle(self, clashes: Clashes) -> None:
        """Do with the files what their names require."""
        if clashes.rejects or clashes.reserved or clashes.read_again:
            self.jobs = JobFiles(_without_clashes(self.jobs.each_file(), clashes))
        for path in (*clashes.rejects, *clashes.read_again):
            self._touched.pop(path, None)
        self.changed -= clashes.rejects.keys()
        self._read_again = frozenset(clashes.read_again)

    def documents(
        self, manifest: Manifest, undecided: frozenset[str], unreachable: Sequence[str]
    ) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Manifest rows of the documents in files to read, in touched files, and in files that are gone.

        Those below what is `unreachable` are not gone. Of a file whose name a record may have it is known whether its
        rows go when the records are read: it is `undecided`, and counts as to be read.
        """
        gone = pa.chunked_array([sorted(self._gone)], pa.string())
        reachable = set(gone.filter(pc.invert(is_under(gone, unreachable))).to_pylist())
        known = self.changed.union(reachable, self._touched)
        concerned = known | self._read_again
        some = manifest.batches(paths=concerned) if concerned else ()
        rows = pa.concat_tables([MANIFEST_SCHEMA.empty_table(), *some])
        if lost := known.difference(rows["path"].unique().to_pylist()):
            raise LakeError(
                f"the manifest had {len(lost):,} files when it was compared, {min(lost)} for one, and not now: "
                "another process is writing it, or it is damaged. Try again, or run `millrace verify`."
            )
        to_read = self.changed.union(undecided & reachable, self._read_again)
        previous, touched, removed = (
            rows.filter(pc.is_in(rows["path"], value_set=pa.array(sorted(paths), pa.string())))
            for paths in (to_read, self._touched, reachable - to_read)
        )
        return previous, _with_new_stat(touched, self._touched), removed


def _mask(values: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(values, False), np.bool_)


def _without_clashes(files: Iterator[SourceFile], clashes: Clashes) -> Iterator[SourceFile]:
    read_again = sorted(clashes.read_again.values(), key=_path)
    for path, [file, *_] in groupby(heapq.merge(files, read_again, key=_path), key=_path):
        if path not in clashes.rejects:
            yield file._replace(reserved=clashes.reserved.get(path, ()))


def _same_stat(now: Mapping[str, pa.Array], before: pa.Table) -> pa.ChunkedArray:
    """Which files have the stat that the manifest knows, as far as it knows it and the file system has it."""
    same = pc.and_(*(pc.equal(before[name], now[name]) for name in ("size_bytes", "mtime_ns")))
    for name in ("ctime_ns", "inode"):
        known = pc.fill_null(before[name], 0)
        unknown = pc.or_(pc.equal(known, 0), pc.equal(now[name], 0))
        same = pc.and_(same, pc.or_(unknown, pc.equal(known, now[name])))
    return same


def _path_of(name: str, base: Path | None) -> str:
    """The path of the file or folder that the listing calls `name`."""
    return name if base is None else os.path.join(os.path.abspath(base), name)  # noqa: PTH100, PTH118 - as the listing


def _hash_or_none(file: SourceFile) -> str | None:
    try:
        return file_hash(file)
    except OSError:  # reading it will say why
        return None


def _with_new_stat(rows: pa.Table, touched: Mapping[str, SourceFile]) -> pa.Table:
    files = [touched[path] for path in rows["path"].to_pylist()]
    for name in STAT_COLUMNS:
        values = pa.array([getattr(file, name) for file in files], pa.int64())
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
    return rows
