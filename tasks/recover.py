"""What a run that never finished may have left in the collection.

A part is written before any of its rows is upserted, and a document's manifest row after all of them, so the rows of
parts that the manifest does not name are exactly the rows in doubt. Knows the lake alone.
"""

from collections.abc import Collection as Group
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.lake import PLACES, Lake, PartName


@dataclass(frozen=True, slots=True)
class Doubt:
    """Rows that may or may not be in the collection.

    `rows`: their ids by source. `parts`: the parts that say so, each with the sources it speaks of.
    """

    rows: Mapping[str, frozenset[str]]
    parts: tuple[tuple[PartName, frozenset[str]], ...]

    def settled_parts(self, settled: Group[str]) -> list[PartName]:
        """The parts of which every source is among `settled`: they have said what they had to say."""
        return [part for part, sources in self.parts if all(source in settled for source in sources)]


def rows_in_doubt(lake: Lake) -> Doubt:
    """The rows of unfinished runs' parts that no document of the manifest owns; nothing is read when all runs ended."""
    first = lake.unsettled_job()
    unsettled = [part for part in lake.chunks.all() if part.job >= first]
    rows: dict[str, set[str]] = {}
    parts: list[tuple[PartName, frozenset[str]]] = []
    if unsettled:
        for part, unowned in lake.chunks.unowned_rows(unsettled, lake.manifest.read(PLACES)):
            for source, row_id in zip(unowned["source"].to_pylist(), unowned["id"].to_pylist(), strict=True):
                rows.setdefault(source, set()).add(row_id)
            if unowned.num_rows:
                parts.append((part, frozenset(unowned["source"].unique().to_pylist())))
    return Doubt({source: frozenset(ids) for source, ids in rows.items()}, tuple(parts))
