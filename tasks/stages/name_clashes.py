"""Files that have the name of a record: `a.jsonl#7` beside the record 7 of `a.jsonl`.

A document's name must be its own, and the one that is in the collection keeps it: a file that comes with the name of a
known record is rejected. Of two that are new the file has the name, and the record is rejected: the files of a run are
told which names their records must not take.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.records import Reject, SourceFile


@dataclass(frozen=True, slots=True)
class Clashes:
    """The files to take, with the names reserved from their records, and those rejected for their name.

    `read_again`: paths of record files of which a record may have got its name back. `undecided`: paths of files that
    are gone, and whose name a record may have.
    """

    files: list[SourceFile]
    rejects: list[Reject]
    read_again: frozenset[str]
    undecided: frozenset[str]


def find_clashes(files: list[SourceFile], manifest: pa.Table, scope: pa.Table) -> Clashes:
    """Compare the names of `files` with those of records; `scope` are the rows of `manifest` under the sources."""
    listed = {file.path: file for file in files}
    known = _with_mark(manifest["path"])
    candidates = {path for path in listed if "#" in path} | known
    if not candidates:
        return Clashes(files, [], frozenset(), frozenset())
    in_scope = _with_mark(scope["path"])
    reserved: dict[str, list[str]] = {}
    rejected: dict[str, Reject] = {}
    read_again: set[str] = set()
    undecided: set[str] = set()
    paths = pa.array(sorted({prefix for path in candidates for prefix in _prefixes(path)}), pa.string())
    records = manifest.filter(pc.is_in(manifest["path"], value_set=paths)).select(["path", "source"])
    by_path: dict[str, list[str]] = {}
    for path, source in zip(records["path"].to_pylist(), records["source"].to_pylist(), strict=True):
        by_path.setdefault(path, []).append(source)
    for path in sorted(candidates):
        gone = path in in_scope and path not in listed
        for owner in _prefixes(path):
            if gone and owner in listed:
                read_again.add(owner)
                undecided.add(path)
            elif path in listed and _has_record(by_path.get(owner, ()), listed[path].name):
                rejected[path] = _reject(listed[path], owner)
            elif owner in listed:
                reserved.setdefault(owner, []).append(listed[owner].name + path[len(owner) :])
    return Clashes(
        [
            replace(file, reserved=tuple(reserved[file.path])) if file.path in reserved else file
            for file in files
            if file.path not in rejected
        ],
        list(rejected.values()),
        frozenset(read_again),
        frozenset(undecided),
    )


def _with_mark(paths: pa.ChunkedArray) -> set[str]:
    return set(paths.filter(pc.match_substring(paths, "#")).unique().to_pylist())


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
