"""What is known of a run afterwards: its record, its timeline, its outstanding rejects and the sizes of its chunks.

A run that was killed has a record without an end and a timeline that breaks off; what they say is used as far as it
goes. Everything here is bounded, however large the run was.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, ValidationError

from millrace.configs.settings import Settings
from millrace.flows.monitoring.format_stats import FormatCounts, SlowRead
from millrace.flows.monitoring.new_rejects import runs_reported_with
from millrace.flows.monitoring.run_state import BOTTLENECKS
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.flows.monitoring.timeline import COLUMNS
from millrace.flows.wiring.components import existing_lake, load_model
from millrace.flows.wiring.embedder import account_of
from millrace.tasks.embedding import LearnedLimits
from millrace.tasks.errors import ConfigurationError, LakeError
from millrace.tasks.lake import ROW_LOCATION_COLUMNS, Lake, PartName, RunRecord, Timeline, row_ranges
from millrace.tasks.records import JsonValue

LISTED = 200
_EXAMPLES = 3
_PARTS_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class RejectGroup:
    """The rejects of one reason: how many, how many new, in how many documents, what one says, and what to do."""

    reason: str
    count: int
    new: int
    documents: int
    message: str
    remedy: str
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunRejects:
    """The rejects of a run that are outstanding: by reason, those with most new ones first, and the first singly.

    `new` were not known before the run, and come first among the `listed`, each with a word in "new". `documents` have
    some; `earlier` are those that other runs left and told.
    """

    groups: tuple[RejectGroup, ...] = ()
    listed: tuple[Mapping[str, str], ...] = ()
    total: int = 0
    new: int = 0
    documents: int = 0
    earlier: int = 0


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """Tokens of each chunk in the `looked_at` of `parts` parts that hold what the run brought in."""

    tokens: npt.NDArray[np.int64]
    looked_at: int
    parts: int


def rejects_of(lake: Lake, run: str) -> RunRejects:
    """The rejects of the run; none when the list cannot be read, which `millrace status` reports."""
    try:
        outstanding = lake.rejects.outstanding()
    except LakeError:
        return RunRejects()
    is_new = pc.is_in(outstanding["first_run"], value_set=runs_reported_with(lake, run))
    marked = outstanding.append_column("new", pc.if_else(is_new, "new", ""))
    mine = marked.filter(pc.or_(is_new, pc.equal(outstanding["run"], run)))
    order = [("new", "descending"), ("reason", "ascending"), ("source", "ascending"), ("item", "ascending")]
    mine = mine.sort_by(order)
    reasons = [_group(reason, mine) for reason in mine["reason"].unique().to_pylist()]
    groups = sorted(reasons, key=lambda group: (-group.new, -group.count, group.reason))
    return RunRejects(
        groups=tuple(groups),
        listed=tuple(mine.slice(0, LISTED).to_pylist()),
        total=mine.num_rows,
        new=pc.sum(is_new).as_py() or 0,
        documents=pc.count_distinct(mine["source"]).as_py(),
        earlier=outstanding.num_rows - mine.num_rows,
    )


def _group(reason: str, rejects: pa.Table) -> RejectGroup:
    rows = rejects.filter(pc.equal(rejects["reason"], reason))
    some = rows.slice(0, _EXAMPLES).to_pylist()
    return RejectGroup(
        reason=reason,
        count=rows.num_rows,
        new=pc.sum(pc.equal(rows["new"], "new")).as_py(),
        documents=pc.count_distinct(rows["source"]).as_py(),
        message=some[0]["message"],
        remedy=some[0]["remedy"],
        examples=tuple(", ".join(filter(None, (row["source"], short_item(row["item"])))) for row in some),
    )


def short_item(item: str) -> str:
    """The item with an id of 64 hex digits cut to its beginning, by which it can still be found."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", item)


def chunk_sizes_of(lake: Lake, run: str) -> ChunkSizes:
    """The sizes of chunks that the run brought in and that still are."""
    try:
        documents = lake.manifest.batches(["run", *ROW_LOCATION_COLUMNS])
        ranges = row_ranges(rows.filter(pc.equal(rows["run"], run)) for rows in documents)
    except LakeError:
        return ChunkSizes(np.zeros(0, np.int64), 0, 0)
    names = sorted(
        {
            PartName(row["job"], number)
            for row in ranges.to_pylist()
            for number in range(row["part_first"], row["part_last"] + 1)
        }
    )
    chosen = _evenly(names, _PARTS_LOOKED_AT)
    found: list[npt.NDArray[np.int64]] = []
    for part in chosen:
        try:
            tokens = lake.chunks.read(part.job, part.number, part.number, columns=["tokens"])["tokens"]
        except LakeError:  # `verify` reports it
            continue
        found.append(tokens.to_numpy().astype(np.int64))
    return ChunkSizes(np.concatenate([np.zeros(0, np.int64), *found]), len(found), len(names))


def _evenly(names: Sequence[PartName], most: int) -> list[PartName]:
    """All of them, or `most` that are spread evenly."""
    if len(names) <= most:
        return list(names)
    return [names[i * len(names) // most] for i in range(most)]


State = Literal["finished", "stopped", "budget", "interrupted", "killed", "running"]

_QUIET_FOR_S = 60.0  # no sample for so long, or for three intervals: the process is gone
_STATES: Mapping[int | None, State] = {0: "finished", 3: "finished", 4: "budget", 130: "interrupted"}

Numbers = npt.NDArray[np.float64]


class _Kept(BaseModel):
    """A value read from a timeline; keys of other versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Limits(_Kept):
    """The model's limits as the run knew them; 0 is no limit."""

    requests_per_second: float = 0.0
    tokens_per_second: float = 0.0
    requests_per_minute: float = 0.0
    tokens_per_minute: float = 0.0


class Latency(_Kept):
    """Answers by how long they took: see `tasks.embedding.Latencies`."""

    bounds_s: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    total_s: float = 0.0

    @property
    def answers(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def quantile_s(self, share: float) -> float:
        """About how long the answer took that is slower than `share` of all; 0 without answers."""
        wanted, lower = share * self.answers, 0.0
        for bound, count in zip((*self.bounds_s, 2 * self.bounds_s[-1] if self.bounds_s else 0.0), self.counts):  # noqa: B905
            if count and wanted <= count:
                return lower + (bound - lower) * wanted / count
            wanted, lower = wanted - count, bound
        return 0.0


class Facts(_Kept):
    """What a timeline says beside its samples."""

    provider: str = ""
    cores: int = 0
    readers: int = 0
    files: int = 0
    price_cny_per_1k_tokens: float = 0.0
    limits: Limits = Limits()
    latency: Latency = Latency()
    throttled_by: dict[str, int] = {}
    unavailable: int = 0
    unproven: int = 0
    texts_refused: int = 0
    tokens_in_doubt: int = 0
    formats: dict[str, FormatCounts] = {}
    slowest: tuple[SlowRead, ...] = ()
    reading_s: float = 0.0
    loading_s: float = 0.0
    report: RunSummary | None = None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Everything that the report of a run is made of. `series` are the timeline's columns, empty without one."""

    record: RunRecord
    report: RunSummary
    state: State
    facts: Facts
    series: Mapping[str, Numbers]
    rejects: RunRejects
    chunk_sizes: ChunkSizes
    learned: LearnedLimits

    @property
    def held_s(self) -> dict[str, float]:
        """Seconds that the run waited, by what it waited for, most first; only what it did wait for."""
        held = {name: float(self.series[f"held_{name}_s"][-1]) for name in BOTTLENECKS} if self.series else {}
        return {name: s for name, s in sorted(held.items(), key=lambda item: -item[1]) if s > 0.0}

    @property
    def pays(self) -> bool:
        """Whether a provider was asked that has a price or limits."""
        return self.facts.provider not in {"", "local"} and self.report.requests.sent > 0

    def setting(self, key: str) -> JsonValue:
        """A setting of the run as it was then, by `section.key`; None where it was not known."""
        section, _, name = key.partition(".")
        values = self.record.settings.get(section)
        return values.get(name) if isinstance(values, dict) else None


def gather(settings: Settings, run: str = "") -> RunFacts:
    """What is known of `run` (an id, or enough of its beginning), or of the newest run that took documents in.

    Raises:
        ConfigurationError: There is no such run.
        LakeError: The lake is of a newer version.
    """
    lake = existing_lake(settings)
    record = _record(lake, run)
    timeline = lake.timelines.of(record.id) or Timeline(record.id)
    facts, series = _facts(timeline), _series(timeline)
    state = _state(record, timeline, series)
    return RunFacts(
        record=record,
        report=_report(record, facts, series, state),
        state=state,
        facts=facts,
        series=series,
        rejects=rejects_of(lake, record.id),
        chunk_sizes=chunk_sizes_of(lake, record.id),
        learned=_learned(lake, record),
    )


def _record(lake: Lake, run: str) -> RunRecord:
    records = lake.runs.newest()
    if run:
        found = [record for record in records if record.id.startswith(run)]
        if len(found) == 1 or (found and found[-1].id == run):
            return found[-1]
        what = f"several runs begin with {run}" if found else f"there is no run {run}"
        some = ", ".join(record.id for record in (found or records)[:3]) or "none yet"
        raise ConfigurationError(f"{what} in {lake.collection_dir}; the newest are: {some}")
    begun = (r for r in records if r.command in {"ingest", "retry"} and r.settings)  # not refused before it began
    newest = next(begun, records[0] if records else None)
    if newest is None:
        raise ConfigurationError(f"there is no run in {lake.collection_dir} yet; `millrace ingest` makes one")
    return newest


def _facts(timeline: Timeline) -> Facts:
    try:
        return Facts.model_validate(timeline.facts)
    except ValidationError:  # of another version: the record still says the most important
        return Facts()


def _series(timeline: Timeline) -> dict[str, Numbers]:
    """The columns as arrays, those that a version did not keep as zeros; empty without a sample."""
    length = len(timeline.columns.get("seconds", ()))
    if not length:
        return {}
    zeros = [0.0] * length
    return {name: np.asarray(timeline.columns.get(name, zeros), np.float64) for name in COLUMNS}


def _state(record: RunRecord, timeline: Timeline, series: Mapping[str, Numbers]) -> State:
    if record.ended is not None:
        return _STATES.get(record.exit, "stopped")
    seconds = series.get("seconds", np.zeros(1))
    interval_s = float(np.diff(seconds).max(initial=0.0))
    seen = max(timeline.updated, record.started)
    try:
        silent_s = (datetime.now(UTC) - datetime.fromisoformat(seen)).total_seconds()
    except (ValueError, TypeError):
        return "killed"
    return "running" if silent_s < max(_QUIET_FOR_S, 3 * interval_s) else "killed"


def _report(record: RunRecord, facts: Facts, series: Mapping[str, Numbers], state: State) -> RunSummary:
    """The counts of the run: those that it reported, or of one that did not come to that, those of its last sample."""
    report = facts.report or _of_record(record)
    if state not in {"killed", "running"} or not series:
        return report
    last = {name: column[-1] for name, column in series.items()}
    requests = replace(
        report.requests,
        sent=int(last["requests_sent"]),
        throttled=int(last["requests_throttled"]),
        retried=int(last["requests_retried"]),
    )
    tokens = replace(report.tokens, counted=int(last["tokens_counted"]), billed=int(last["tokens_billed"]))
    cost, seconds = float(last["cost_cny"]), float(last["seconds"])
    return replace(report, requests=requests, tokens=tokens, cost_cny=cost, seconds=seconds, left=None)


def _of_record(record: RunRecord) -> RunSummary:
    """What the record alone says, for a run without a timeline."""
    counts = {name: value for name, value in record.counts.items() if isinstance(value, dict)}
    model = record.settings.get("embedding")
    values: dict[str, object] = {
        "run": record.id,
        "collection": "",
        "model": model.get("model") or "" if isinstance(model, dict) else "",
        "tokens": dict(record.tokens),
        "cost_cny": record.cost_cny,
        **counts,
    }
    try:
        return _Reported.model_validate({"report": values}).report
    except ValidationError:
        return RunSummary(run=record.id, collection="", model="")


class _Reported(_Kept):
    report: RunSummary


def _learned(lake: Lake, record: RunRecord) -> LearnedLimits:
    """What the lake knows by now of the limits of the account that the run used."""
    try:
        settings = Settings.model_validate(record.settings)
        account = account_of(settings, load_model(settings))
    except (ValidationError, ConfigurationError):  # of another version
        return LearnedLimits()
    return LearnedLimits.from_values(lake.limits.read(account))
