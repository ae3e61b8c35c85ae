"""The uncommitted rows, which a run that never finished may have left in the collection.

A part is written before any of its rows is upserted, and a document's manifest row after all of them, so they are
exactly the rows of parts that the manifest does not name.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow.compute as pc

from millrace.tasks.lake import ROW_LOCATION_COLUMNS, Lake, PartName


@dataclass(frozen=True, slots=True)
class UncommittedRows:
    """Rows that may or may not be in the collection.

    `rows`: their ids by source. `parts`: the parts that hold them, each with the sources of those rows.
    """

    rows: Mapping[str, frozenset[str]]
    parts: tuple[tuple[PartName, frozenset[str]], ...]

    def completed_parts(self, completed: Collection[str]) -> list[PartName]:
        """The parts of which every source is among `completed`: they are needed no more."""
        return [part for part, sources in self.parts if all(source in completed for source in sources)]


def uncommitted_rows(lake: Lake) -> UncommittedRows:
    """The rows of unfinished runs' parts that no document of the manifest owns; nothing is read when all runs ended."""
    first = lake.first_uncommitted_job()
    unsettled = [part for part in lake.chunks.all() if part.job >= first]
    rows: dict[str, set[str]] = {}
    parts: list[tuple[PartName, frozenset[str]]] = []
    if unsettled:
        owners = lake.manifest.read(ROW_LOCATION_COLUMNS, where=lambda rows: pc.greater_equal(rows["job"], first))
        for part, unowned in lake.chunks.unowned_rows(unsettled, owners):
            for source, row_id in zip(unowned["source"].to_pylist(), unowned["id"].to_pylist(), strict=True):
                rows.setdefault(source, set()).add(row_id)
            if unowned.num_rows:
                parts.append((part, frozenset(unowned["source"].unique().to_pylist())))
    return UncommittedRows({source: frozenset(ids) for source, ids in rows.items()}, tuple(parts))
