"""The sources beside the manifest: what is new, changed or removed, and what an interrupted run may have left."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from millrace.configs.settings import Settings
from millrace.flows.wiring import components
from millrace.tasks.lake import Lake
from millrace.tasks.stages.memory import release_free_memory
from millrace.tasks.stages.scan import Scan, scan
from millrace.tasks.stages.uncommitted import UncommittedRows, uncommitted_rows


@dataclass(frozen=True, slots=True, eq=False)
class SourceDiff:
    """The scan of the sources, the rows that an interrupted run may have left, and how many documents have rows."""

    scan: Scan
    uncommitted: UncommittedRows
    documents_with_rows: int


def diff_sources(
    settings: Settings,
    model: components.Model,
    lake: Lake,
    sources: Sequence[Path],
    *,
    again: Collection[str] = (),
    unknown: Collection[str] = (),
    reread: str = "",
    proceed: Callable[[], None] = lambda: None,
) -> SourceDiff:
    """Compare `sources` with the manifest of `lake`.

    Documents in `again` are to be read whatever their files look like. Of those in `unknown`, the rows of the earlier
    version are not known any more. `proceed` is called before each file and may raise, to break
    off; `reread` as of `scan`.
    """
    uncommitted = uncommitted_rows(lake)
    paths = settings.sources
    found = scan(
        sources,
        lake.manifest,
        include=components.included(settings),
        reject_unknown=components.rejects_unknown(settings),
        exclude=paths.exclude,
        follow_links=paths.follow_links,
        base=components.sources_base(settings),
        fingerprint=components.fingerprint(settings, model),
        again=uncommitted.rows.keys() | frozenset(again),
        reread=reread,
        proceed=proceed,
    )
    release_free_memory()
    found = replace(found, previous=_without_rows(found.previous, unknown))
    return SourceDiff(found, uncommitted, found.staying_with_rows)


def _without_rows(documents: pa.Table, sources: Collection[str]) -> pa.Table:
    """The manifest rows, with no chunks for `sources`."""
    unknown = pc.is_in(documents["source"], value_set=pa.array(sorted(sources), pa.string()))
    position = documents.schema.get_field_index("chunks")
    chunks = pc.if_else(unknown, pa.scalar(0, pa.int32()), documents["chunks"])
    return documents.set_column(position, documents.schema.field("chunks"), chunks)
