"""`rejects list`: what was not taken, by reason and file, with what to do. Reads the lake alone."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from millrace.configs.settings import Settings
from millrace.flows.monitoring.result import Result
from millrace.flows.wiring.components import existing_lake

_FILES_SHOWN = 10  # of a reason
_ITEMS_SHOWN = 5  # of a file

Row = Mapping[str, str]
"""A reject by the names of `REJECT_SCHEMA`."""


@dataclass(frozen=True, slots=True)
class RejectList(Result):
    """The outstanding rejects, in the order of their documents, pages and rows; `full` prints each of them."""

    rejects: tuple[dict[str, str], ...]
    full: bool = False

    def as_json(self) -> dict[str, object]:
        """Plain values, as `rejects list --json` prints."""
        return {"rejects": list(self.rejects), "count": len(self.rejects)}

    def lines(self) -> list[str]:
        """The rejects by reason and file, then their sums."""
        if not self.rejects:
            return ["no rejects"]
        lines = lines_by_reason(self.rejects, full=self.full)
        counts = ", ".join(f"{len(rows):,} {reason}" for reason, rows in _by(self.rejects, "reason"))
        return [*lines, f"{len(self.rejects):,} rejects: {counts}"]


def outstanding_rejects(settings: Settings, *, reason: str = "", full: bool = False) -> RejectList:
    """The rejected items that still wait for a remedy, all or with one reason."""
    table = existing_lake(settings).rejects.outstanding()
    if reason:
        table = table.filter(pc.equal(table["reason"], reason))
    return RejectList(tuple(sorted(table.to_pylist(), key=_place)), full=full)


def lines_by_reason(rejects: Iterable[Row], *, full: bool) -> list[str]:
    """One paragraph a reason, the most frequent first: its files with their items, why, and what to do.

    Without `full` the first files and items stand for all.
    """
    lines: list[str] = []
    for reason, rows in _by(sorted(rejects, key=_place), "reason"):
        files = _by(rows, "source")
        lines.append(f"{reason}: {len(rows):,} in {len(files):,} file{'s' if len(files) > 1 else ''}")
        for source, of_file in files if full else files[:_FILES_SHOWN]:
            lines += _each(source, of_file) if full else _together(source, of_file)
        if not full and len(files) > _FILES_SHOWN:
            lines.append(f"    and {len(files) - _FILES_SHOWN:,} more files; all with: millrace rejects list --full")
        lines += [f"  to do: {remedy}" for remedy, _ in _by(rows, "remedy")]
    return lines


def _each(source: str, rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        yield f"    {', '.join(filter(None, (source, row['item'])))}: {row['message']}"


def _together(source: str, rows: Sequence[Row]) -> Iterator[str]:
    items = [row["item"] for row in rows if row["item"]]
    more = f" and {len(items) - _ITEMS_SHOWN:,} more" if len(items) > _ITEMS_SHOWN else ""
    what = f", {', '.join(items[:_ITEMS_SHOWN])}{more}" if items else ""
    yield f"    {source}{what}: {rows[0]['message']}"


def _by(rejects: Iterable[Row], name: str) -> list[tuple[str, list[Row]]]:
    """The rejects by one of their columns, the most frequent value first."""
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rejects:
        groups[row[name]].append(row)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def _place(row: Row) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """A key by which row 9 comes before row 10."""
    return _natural(row["source"]), _natural(row["item"])


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]
