"""What must be deleted: removed documents, and rows that an interrupted run left and no document owns.

The law "no accidental mass deletion" is applied here, over both, before anything is deleted.
"""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from millrace.configs.settings import Settings
from millrace.flows.wiring import components
from millrace.tasks.errors import SourceError
from millrace.tasks.records import MANIFEST_SCHEMA, ManifestRow
from millrace.tasks.stages.known_files import STAT_COLUMNS
from millrace.tasks.stages.part_writer import Part
from millrace.tasks.stages.scan import Scan
from millrace.tasks.stages.uncommitted import UncommittedRows


class DeletionPlan:
    """What a run over `sources` has to delete from the collection, as far as is known by now."""

    def __init__(self, settings: Settings, sources: Sequence[Path], found: Scan, uncommitted: UncommittedRows) -> None:
        self._settings = settings
        self._sources = sources
        self._found = found
        self._uncommitted = uncommitted
        self._partially_read: dict[str, ManifestRow] = {}  # by name
        self._scope = [(components.document_name(settings, source), source.is_file()) for source in sources]

    def in_scope(self, name: str) -> bool:
        """Whether the document `name` comes from the sources of the run."""
        return any(is_in_source(name, source, is_file=is_file) for source, is_file in self._scope)

    def note_partially_read(self, part: Part) -> None:
        """Remember files of which not every document is known: those known from them are retained."""
        self._partially_read |= part.partially_read()

    def orphaned(self, completed: set[str]) -> set[str]:
        """Sources with uncommitted rows that this run looked for and did not find: their rows must go."""
        uncommitted = self._uncommitted.rows
        if not uncommitted:
            return set()
        rejected = [reject.source for reject in self._found.rejects]
        unread = {*self._partially_read, *rejected}
        unchanged = set(self._found.unchanged_again["source"].to_pylist())
        return {
            source
            for source in uncommitted
            if source not in completed
            and source not in unchanged
            and self.in_scope(source)
            and unread.isdisjoint(names_around(source))
            and not any(is_in_source(source, name, is_file=False) for name in rejected)
        }

    def rows_of(self, orphaned: set[str]) -> Mapping[str, frozenset[str]]:
        """Ids of the uncommitted rows of these sources."""
        return {source: self._uncommitted.rows[source] for source in orphaned}

    def removed(self, unfinished: pa.Table) -> pa.Table:
        """Manifest rows of removed documents: of whole files, and records that their file no longer has.

        `unfinished`: of the documents in files that were read, those that did not come.
        """
        retained = lie_in(unfinished, self._partially_read)
        return pa.concat_tables([self._found.removed, unfinished.filter(pc.invert(retained))])

    def retained(self, unfinished: pa.Table) -> pa.Table:
        """Manifest rows of those `unfinished` documents that stay because their file could not be read whole.

        They carry the time and hash of the file as it is now, so that it is read again when it changes.
        """
        partially_read = lie_in(unfinished, self._partially_read)
        stay = [
            row | {key: self._file_around(row["source"])[key] for key in (*STAT_COLUMNS, "file_hash")}
            for row in unfinished.filter(pc.and_(partially_read, pc.greater(unfinished["chunks"], 0))).to_pylist()
            if row["status"] != "leaving"
        ]
        return pa.Table.from_pylist(stay, schema=MANIFEST_SCHEMA)

    def _file_around(self, source: str) -> ManifestRow:
        return next(self._partially_read[name] for name in names_around(source)[1:] if name in self._partially_read)

    def notes(self, retained: pa.Table) -> list[str]:
        """What the user should know of the documents that `retained` gives."""
        counts = Counter(retained["path"].to_pylist())
        return [
            f"{path}: {count:,} of its known records were not among those that could be read; they stay as they "
            "were until the rejects are mended or taken out"
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
        found = self._found
        known = pa.concat_tables(
            table.select(["source", "chunks"]) for table in (found.previous, found.unchanged_again, found.removed)
        )
        known = known.filter(pc.greater(known["chunks"], 0))
        return {s for s in self._uncommitted.rows if self.in_scope(s)}.difference(known["source"].to_pylist())


def with_rows(documents: pa.Table) -> int:
    """How many of the documents have rows in the collection; others were never more than a reject."""
    return pc.sum(pc.greater(documents["chunks"], 0)).as_py() or 0


def names_around(source: str) -> list[str]:
    """The document's own name, then those of the files that it may lie in, the outermost first.

    >>> names_around("a.eml#b.zip#c.csv#7")
    ['a.eml#b.zip#c.csv#7', 'a.eml', 'a.eml#b.zip', 'a.eml#b.zip#c.csv']
    """
    return [source, *(source[:position] for position, sign in enumerate(source) if sign == "#")]


def lie_in(documents: pa.Table, files: Container[str]) -> pa.Array:
    """Of each document, whether it lies in one of the files of these names."""
    sources = documents["source"].to_pylist()
    return pa.array([any(name in files for name in names_around(source)[1:]) for source in sources], pa.bool_())


def _not_in_files(sources: set[str], found: Scan) -> set[str]:
    """Those of `sources` that are no file to be read, nor a record of one."""
    names = {source: set(names_around(source)) for source in sources}
    wanted = set().union(*names.values())
    read = {file.name for file in found.jobs.each_file() if file.name in wanted} if wanted else set()
    return {source for source in sources if names[source].isdisjoint(read)}


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


def is_in_source(name: str, source: str, *, is_file: bool) -> bool:
    """Whether the document `name` comes from `source`: a file, or a folder (everything is below ".").

    >>> is_in_source("/a/b.jsonl#7", "/a/b.jsonl", is_file=True), is_in_source("/a#/c", "/a", is_file=False)
    (True, False)
    """
    if name == source:
        return True
    return name.startswith(source + "#") if is_file else source == "." or name.startswith(source.rstrip("/") + "/")
