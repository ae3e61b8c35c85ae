"""What has changed in the sources since the last ingest: asked of the files and the manifest; nothing is done.

Joins `scan`, which finds the differences, with the manifest's own list of files for when no source is named.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from millrace.tasks.records import LeftOut, SourceFile
from millrace.tasks.stages.scan import STAT_COLUMNS, Scan, scan


@dataclass(frozen=True, slots=True)
class SourceChange:
    """One file that the next ingest would read, or would take for removed.

    `kind`: "new", "changed" since it was read, "gone", or, itself unchanged, read under other "settings".
    """

    kind: Literal["new", "changed", "gone", "settings"]
    path: str


def source_changes(
    sources: Sequence[Path],
    manifest: pa.Table,
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
    gone: list[str] = []
    if not sources:
        known = sorted(set(manifest["path"].to_pylist()))
        there = [path for path in known if os.access(path, os.R_OK)]
        gone = sorted(set(known).difference(there))
        sources = [Path(path) for path in there]
        base = None  # names play no part in the comparison, and files may lie outside of the present one
    found: list[SourceChange] = []
    left_out = LeftOut()
    if sources:
        listing = scan(
            sources,
            manifest,
            include=include,
            exclude=exclude,
            base=base,
            fingerprint=fingerprint,
            follow_links=follow_links,
            reread=reread,
        )
        left_out = listing.left_out
        gone += sorted(set(listing.removed["path"].to_pylist()))
        found += _to_read(listing, fingerprint, by_content=bool(reread))
    return found + [SourceChange("gone", path) for path in gone], left_out


def _to_read(found: Scan, fingerprint: str, *, by_content: bool) -> Iterator[SourceChange]:
    before: dict[str, list[dict[str, object]]] = {}
    for row in found.previous.select(["path", *STAT_COLUMNS, "file_hash", "fingerprint"]).to_pylist():
        before.setdefault(row["path"], []).append(row)
    for file in (file for job in found.jobs for file in job):
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
