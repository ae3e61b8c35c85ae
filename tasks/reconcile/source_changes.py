"""What has changed in the sources since the last ingest: asked of the files and the manifest; nothing is done.

Joins `scan`, which finds the differences, with the manifest's own list of files for when no source is named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from millrace.tasks.lake import Manifest
from millrace.tasks.records import LeftOut, SourceFile
from millrace.tasks.stages.known_files import STAT_COLUMNS
from millrace.tasks.stages.scan import Scan, scan


@dataclass(frozen=True, slots=True)
class SourceChange:
    """One file that the next ingest would read, or would take for removed.

    `kind`: "new", "changed" since it was read, "gone", or, itself unchanged, read under other "settings".
    """

    kind: Literal["new", "changed", "gone", "settings"]
    path: str


def source_changes(
    sources: Sequence[Path],
    manifest: Manifest,
    *,
    include: Sequence[str],
    exclude: Sequence[str],
    base: Path | None,
    fingerprint: str,
    follow_links: bool = False,
    reread: str = "",
) -> tuple[list[SourceChange], LeftOut]:
    """What differs between `sources` and `manifest`, and what no run reads.

    Without sources, the files that the manifest names are compared with what it says of them. `reread`: as of `scan`.

    Raises:
        SourceError: A source cannot be read.
    """
    found = scan(
        sources or None,
        manifest,
        include=include,
        exclude=exclude,
        base=base if sources else None,  # without, names play no part, and files may lie outside of the present one
        fingerprint=fingerprint,
        follow_links=follow_links,
        reread=reread,
    )
    gone = sorted(set(found.removed["path"].to_pylist()))
    changes = [*_to_read(found, fingerprint, by_content=bool(reread)), *(SourceChange("gone", path) for path in gone)]
    return changes, found.left_out


def _to_read(found: Scan, fingerprint: str, *, by_content: bool) -> Iterator[SourceChange]:
    before: dict[str, list[dict[str, object]]] = {}
    for row in found.previous.select(["path", *STAT_COLUMNS, "file_hash", "fingerprint"]).to_pylist():
        before.setdefault(row["path"], []).append(row)
    for file in found.jobs.each_file():
        rows = before.get(file.path, [])
        if not rows:
            yield SourceChange("new", file.path)
        elif not all(_same_stat(row, file) for row in rows):
            yield SourceChange("changed", file.path)
        elif any(row["fingerprint"] != fingerprint for row in rows):
            yield SourceChange("settings", file.path)
        elif by_content and all(row["file_hash"] for row in rows):
            yield SourceChange("changed", file.path)
        # What is left could not even be opened, is known as a reject, and looks as it did then.


def _same_stat(row: dict[str, object], file: SourceFile) -> bool:
    known = {name: row[name] or getattr(file, name) for name in STAT_COLUMNS}  # some are not known of every file
    return all(known[name] == (getattr(file, name) or known[name]) for name in STAT_COLUMNS)
