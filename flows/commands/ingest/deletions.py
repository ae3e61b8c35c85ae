"""What must go: documents that are gone from the sources, and rows that an interrupted run left without an owner.

Law 7 is judged here, over both, before anything is deleted.
"""

from collections import Counter
from collections.abc import Sequence
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
    """What a run over `sources` has to take out of the collection, as far as is known by now."""

    def __init__(self, settings: Settings, sources: Sequence[Path], found: Scan, doubt: UncommittedRows) -> None:
        self._settings = settings
        self._sources = sources
        self._found = found
        self._doubt = doubt
        self._half_read: dict[str, ManifestRow] = {}  # by path

    @property
    def scope(self) -> list[str]:
        """The sources, as documents call them."""
        return [components.document_name(self._settings, source) for source in self._sources]

    def note_half_read(self, part: Part) -> None:
        """Remember files of which not every document is known: those known from them are kept."""
        self._half_read |= part.half_read()

    def lost(self, finished: set[str]) -> set[str]:
        """Sources in doubt that this run looked for and did not find: their rows must go."""
        doubted = self._doubt.rows
        scope = self.scope
        unread = [*sorted(self._half_read), *(reject.source for reject in self._found.rejects)]
        kept = set(self._found.kept["source"].to_pylist()) if doubted else set()
        return {
            source
            for source in doubted
            if source not in finished
            and source not in kept
            and is_below(source, scope)
            and not is_below(source, unread)
        }

    def gone(self, unfinished: pa.Table) -> pa.Table:
        """Manifest rows of documents that are gone: those of whole files, and records that their file has no more.

        `unfinished`: of the documents in files that were read, those that did not come.
        """
        kept = pc.is_in(unfinished["path"], value_set=pa.array(sorted(self._half_read), pa.string()))
        return pa.concat_tables([self._found.removed, unfinished.filter(pc.invert(kept))])

    def kept(self, unfinished: pa.Table) -> pa.Table:
        """Manifest rows of those `unfinished` documents that stay because their file could not be read whole.

        They carry the time and hash of the file as it is now, so that it is read again when it changes.
        """
        half_read = pc.is_in(unfinished["path"], value_set=pa.array(sorted(self._half_read), pa.string()))
        stay = [
            row | {key: self._half_read[row["path"]][key] for key in ("size_bytes", "mtime_ns", "file_hash")}
            for row in unfinished.filter(pc.and_(half_read, pc.greater(unfinished["chunks"], 0))).to_pylist()
            if row["status"] != "leaving"
        ]
        return pa.Table.from_pylist(stay, schema=MANIFEST_SCHEMA)

    def notes(self, kept: pa.Table) -> list[str]:
        """What the user should know of the documents that `kept` gives."""
        counts = Counter(kept["path"].to_pylist())
        return [
            f"{path}: {count:,} of its known records were not among the rows that could be read; they stay as they "
            "were until the rejected rows are mended or taken out"
            for path, count in sorted(counts.items())
        ]

    def refuse_before_reading(self) -> None:
        """Raise `SourceError` when what is known to be gone before anything is read is already too much."""
        self.refuse(self._found.removed, _not_in_files(self.lost(set()), self._found))

    def refuse(self, gone: pa.Table, lost: set[str]) -> None:
        """Raise `SourceError` when too much would go; what an interrupted run had begun to bring in counts as known."""
        begun = self._begun()
        refuse_rash_removal(
            with_rows(gone) + len(lost & begun),
            self._found.known + len(begun),
            self._settings.sources.max_removed_share,
            self._sources,
            listed=self._found.files,
        )

    def _begun(self) -> set[str]:
        """Sources that may have rows, by what an interrupted run has left, and have none by the manifest."""
        if not self._doubt.rows:
            return set()
        found, scope = self._found, self.scope
        known = pa.concat_tables(
            table.select(["source", "chunks"]) for table in (found.previous, found.kept, found.removed)
        )
        known = known.filter(pc.greater(known["chunks"], 0))
        return {s for s in self._doubt.rows if is_below(s, scope)}.difference(known["source"].to_pylist())


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


def refuse_rash_removal(removed: int, known: int, max_share: float, sources: Sequence[Path], *, listed: int) -> None:
    """Raise `SourceError` when an empty source, or more than `max_share` of the known documents gone, forbids deleting.

    Source: law 7 of the design: no accidental mass deletion.
    """
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
