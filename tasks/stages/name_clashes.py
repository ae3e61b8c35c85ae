"""Files that have the name of a record: `a.jsonl#7` beside the record 7 of `a.jsonl`.

A document's name must be its own, and the one that is in the collection keeps it: a file that comes with the name of a
known record is rejected. Of two that are new the file has the name, and the record is rejected: the files of a run are
told which names their records must not take.

All paths that begin with the path of a file come right after it in the order of their bytes, so of what was passed only
the files that the last path begins with need to be remembered.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.lake import Manifest
from millrace.tasks.records import Reject, SourceFile


@dataclass(frozen=True, slots=True)
class Clashes:
    """What to do with files for their names, by path.

    `rejects`: files that are not taken. `reserved`: of record files, the names that their records must not have.
    `read_again`: record files of which a record may have got its name back. `undecided`: paths of files that are gone,
    and whose name a record may have.
    """

    rejects: Mapping[str, Reject] = field(default_factory=dict)
    reserved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    read_again: Mapping[str, SourceFile] = field(default_factory=dict)
    undecided: frozenset[str] = frozenset()


class ClashSearch:
    """Looks through the files of the listing and of the manifest, in order, for those with the name of a record."""

    def __init__(self) -> None:
        self._open: dict[str, SourceFile | None] = {}  # files that the last path begins with; None: not in the listing
        self._candidates: set[str] = set()
        self._owners: set[str] = set()
        self._listed: dict[str, SourceFile] = {}  # those of both that are in the listing
        self._gone: set[str] = set()

    def look(self, files: Sequence[SourceFile], paths: pa.Array, known: pa.Table) -> None:
        """Go on with these files of the listing, whose paths are `paths`, and these of `KnownFiles`."""
        known_paths = known["path"].combine_chunks()
        if _has_mark(paths) or _has_mark(known_paths):
            self._look_at_marks({file.path: file for file in files}, known)
        last = max(some[-1].as_py() for some in (paths, known_paths) if len(some))
        begun = pa.array([last[:end] for end in range(1, len(last) + 1)], pa.string())
        listed, known_too = pc.index_in(begun, value_set=paths), pc.is_in(begun, value_set=known_paths)
        self._open = {
            path: self._open.get(path) if at is None else files[at]
            for path, at, is_known in zip(*(column.to_pylist() for column in (begun, listed, known_too)), strict=True)
            if at is not None or is_known or path in self._open
        }

    def _look_at_marks(self, listed: Mapping[str, SourceFile], known: pa.Table) -> None:
        under = dict(zip(known["path"].to_pylist(), known["under"].to_pylist(), strict=True))
        there: dict[str, SourceFile | None] = {**dict.fromkeys(under), **self._open, **listed}
        for path in (path for path in {**under, **listed} if "#" in path):
            owners = [owner for owner in _prefixes(path) if owner in there]
            if owners:
                self._candidates.add(path)
                self._owners.update(owners)
                self._listed.update((each, file) for each in (path, *owners) if (file := there[each]) is not None)
                if under.get(path) and path not in listed:
                    self._gone.add(path)

    def clashes(self, manifest: Manifest) -> Clashes:
        """What was found, with what `manifest` knows of the records of these files."""
        if not self._candidates:
            return Clashes()
        listed = self._listed
        reserved: dict[str, list[str]] = {}
        rejects: dict[str, Reject] = {}
        read_again: dict[str, SourceFile] = {}
        undecided: set[str] = set()
        records: dict[str, list[str]] = {}
        for rows in manifest.batches(["path", "source"], paths=self._owners):
            for path, source in zip(rows["path"].to_pylist(), rows["source"].to_pylist(), strict=True):
                records.setdefault(path, []).append(source)
        for path in sorted(self._candidates):
            for owner in _prefixes(path):
                if path in self._gone and owner in listed:
                    read_again[owner] = listed[owner]
                    undecided.add(path)
                elif path in listed and _has_record(records.get(owner, ()), listed[path].name):
                    rejects[path] = _reject(listed[path], owner)
                elif owner in listed:
                    reserved.setdefault(owner, []).append(listed[owner].name + path[len(owner) :])
        names = {owner: tuple(some) for owner, some in reserved.items()}
        return Clashes(rejects, names, read_again, frozenset(undecided))


def _has_mark(paths: pa.Array) -> bool:
    return bool(pc.any(pc.match_substring(paths, "#")).as_py())


def _prefixes(path: str) -> Iterator[str]:
    """The files of which `path` could be the name of a record.

    >>> list(_prefixes("/a/b.csv#c#d"))
    ['/a/b.csv', '/a/b.csv#c']
    """
    return (path[:i] for i, character in enumerate(path) if character == "#")


def _has_record(sources: Iterable[str], name: str) -> bool:
    return any(source == name or source.startswith(name + "#") for source in sources)


def _reject(file: SourceFile, owner: str) -> Reject:
    return Reject(
        stage="scan",
        source=file.name,
        item="",
        reason="duplicate_id",
        message=f"a record of {owner}, which is in the collection, has the same name",
        remedy="rename the file, or take the record out and run again",
    )
