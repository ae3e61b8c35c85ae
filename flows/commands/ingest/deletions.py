"""What must be deleted: removed documents, and rows that an interrupted run left and no document owns.

The law "no accidental mass deletion" is applied here, over both, before anything is deleted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from millrace.configs.settings import Settings
from millrace.flows.wiring import components
from millrace.tasks.errors import SourceError
from millrace.tasks.records import MANIFEST_SCHEMA, ManifestRow
from millrace.tasks.stages.part_writer import Part
from millrace.tasks.stages.scan import Scan, UncommittedRows


class DeletionPlan:
    """What a run over `sources` has to delete from the collection, as far as is known by now."""

    def __init__(self, settings: Settings, sources: Sequence[Path], found: Scan, uncommitted: UncommittedRows) -> None:
        self._settings = settings
        self._sources = sources
        self._found = found
        self._uncommitted = uncommitted
        self._partially_read: dict[str, ManifestRow] = {}  # by path

    @property
    def scope(self) -> list[str]:
        """The sources, as documents call them."""
        return [components.document_name(self._settings, source) for source in self._sources]

    def note_partially_read(self, part: Part) -> None:
        """Remember files of which not every document is known: those known from them are retained."""
        self._partially_read |= part.partially_read()

    def orphaned(self, completed: set[str]) -> set[str]:
        """Sources with uncommitted rows that this run looked for and did not find: their rows must go."""
        uncommitted = self._uncommitted.rows
        if not uncommitted:
            return set()
        scope = self.scope
        unread = [*sorted(self._partially_read), *(reject.source for reject in self._found.rejects)]
        unchanged = set(self._found.unchanged["source"].to_pylist())
        return {
            source
            for source in uncommitted
            if source not in completed
            and source not in unchanged
            and is_below(source, scope)
            and not is_below(source, unread)
        }

    def rows_of(self, orphaned: set[str]) -> Mapping[str, frozenset[str]]:
        """Ids of the uncommitted rows of these sources."""
        return {source: self._uncommitted.rows[source] for source in orphaned}

    def removed(self, unfinished: pa.Table) -> pa.Table:
        """Manifest rows of removed documents: of whole files, and records that their file no longer has.

        `unfinished`: of the documents in files that were read, those that did not come.
        """
        retained = pc.is_in(unfinished["path"], value_set=pa.array(sorted(self._partially_read), pa.string()))
        return pa.concat_tables([self._found.removed, unfinished.filter(pc.invert(retained))])

    def retained(self, unfinished: pa.Table) -> pa.Table:
        """Manifest rows of those `unfinished` documents that stay because their file could not be read whole.

        They carry the time and hash of the file as it is now, so that it is read again when it changes.
        """
        partially_read = pc.is_in(unfinished["path"], value_set=pa.array(sorted(self._partially_read), pa.string()))
        stay = [
            row | {key: self._partially_read[row["path"]][key] for key in ("size_bytes", "mtime_ns", "file_hash")}
            for row in unfinished.filter(pc.and_(partially_read, pc.greater(unfinished["chunks"], 0))).to_pylist()
            if row["status"] != "leaving"
        ]
        return pa.Table.from_pylist(stay, schema=MANIFEST_SCHEMA)

    def notes(self, retained: pa.Table) -> list[str]:
        """What the user should know of the documents that `retained` gives."""
        counts = Counter(retained["path"].to_pylist())
        return [
            f"{path}: {count:,} of its known records were not among the rows that could be read; they stay as they "
            "were until the rejected rows are mended or taken out"
            for path, count in sorted(counts.items())
        ]

    def refuse_before_reading(self) -> None:
        """Raise `SourceError` when too much is known to be removed before anything is read."""
        self.refuse_mass_deletion(self._found.removed, _not_in_files(self.orphaned(set()), self._found))

    def refuse_mass_deletion(self, removed: pa.Table, orphaned: set[str]) -> None:
        """Raise `SourceError` when too much would be deleted; what an interrupted run had begun counts as known."""
        begun = self._begun()
        refuse_mass_deletion(
            with_rows(removed) + len(orphaned & begun),
            self._found.known + len(begun),
            self._settings.sources.max_removed_share,
            self._sources,
            listed=self._found.files,
        )

    def _begun(self) -> set[str]:
        """Sources that may have rows, by what an interrupted run has left, and have none by the manifest."""
        if not self._uncommitted.rows:
            return set()
        found, scope = self._found, self.scope
        known = pa.concat_tables(
            table.select(["source", "chunks"]) for table in (found.previous, found.unchanged, found.removed)
        )
        known = known.filter(pc.greater(known["chunks"], 0))
        return {s for s in self._uncommitted.rows if is_below(s, scope)}.difference(known["source"].to_pylist())


def with_rows(documents: pa.Table) -> int:
    """How many of the documents have rows in the collection; others were never more than a reject."""
    return pc.sum(pc.greater(documents["chunks"], 0)).as_py() or 0


def _not_in_files(sources: set[str], found: Scan) -> set[str]:
    """Those of `sources` that are no file to be read, nor a record of one."""
    files = {file.name for job in found.jobs for file in job}
    return {
        source
        for source in sources
        if source not in files and not any(source[:i] in files for i, c in enumerate(source) if c == "#")
    }


def refuse_mass_deletion(removed: int, known: int, max_share: float, sources: Sequence[Path], *, listed: int) -> None:
    """Raise `SourceError` for an empty source, or when more than `max_share` of the known documents are gone."""
    if not removed:
        return
    names = ", ".join(str(s) for s in sources)
    allow = "if that is right, allow it once with --set sources.max_removed_share=1"
    if listed == 0 and max_share < 1:
        raise SourceError(
            f"{names}: no document found, where the last run knew {known}; nothing was deleted. "
            f"Look whether the source is mounted and complete; {allow}"
        )
    share = removed / known
    if share > max_share:
        raise SourceError(
            f"{names}: {removed} of {known} known documents are gone ({share:.0%}, more than the "
            f"{max_share:.0%} of sources.max_removed_share); nothing was deleted. "
            f"Look whether the source is complete; {allow}"
        )


def is_below(name: str, folders: Sequence[str]) -> bool:
    """Whether `name`, a path or the name of a record in it, is one of `folders` or lies below one; all is below ".".

    >>> is_below("/a/b.jsonl#7", ["/a/b.jsonl"]), is_below("/ab/c", ["/a"])
    (True, False)
    """
    return "." in folders or any(name == f or name.startswith((f.rstrip("/") + "/", f + "#")) for f in folders)
