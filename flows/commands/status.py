"""What the lake knows: the last runs, totals, and how many rejects. Reads only; needs neither Milvus nor a network."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow.compute as pc

from millrace.configs.settings import Settings
from millrace.flows.monitoring.result import Result
from millrace.flows.wiring.alias_notes import known_aliases
from millrace.flows.wiring.collection_settings import remembered_values, why_refused, with_remembered
from millrace.flows.wiring.components import existing_lake, load_model
from millrace.flows.wiring.milvus import outgrown
from millrace.tasks.errors import ExitCode, LakeError, MillraceError
from millrace.tasks.lake import BatchJob, Lake, Manifest, RunRecord, RunUsage, holder_at
from millrace.tasks.lake.storage.location import size_of
from millrace.tasks.records import REJECT_SCHEMA, JsonValue

_RUNS_SHOWN = 10
_RUNS_CHECKED = 100
"""For damage; `verify` looks at all of them. So the cost does not grow with their number."""


@dataclass(frozen=True, slots=True)
class Status(Result):
    """Totals of one collection's lake, and its last runs, newest first.

    `billed` are the sums of all runs of all collections of the lake, one bill a model.
    `provider`, `model` and `dimensions` are those of the embedding that the collection's rows were made with, or, where
    it has none, that the next run makes them with.
    `rows` of the collection are those that the last run counted, None where none of the last did; `index` is the kind
    of index that it left their vectors; where Milvus Lite is to have another when a run ends with `next_index_rows`
    rows, that one is `next_index`. `aliases` have moved
    from this lake, each to the collection that it stood for then.
    `problems` names the files that cannot be read, each with the remedy; their contents are not in the totals.
    `notes` say what to do when the collection has outgrown Milvus Lite, or the settings would make other rows.
    `running` is the id of the run that goes on. `jobs_open` are the Batch jobs of the lake that a later run takes in.
    `parsed_files` of all collections are kept as they were parsed, because that is slow; they take `parsed_bytes`.
    """

    collection: str
    documents: int
    chunks: int
    tokens: int
    rejects: dict[str, int]
    cost_cny: float
    runs: tuple[RunRecord, ...]
    billed: tuple[RunUsage, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rows: int | None = None
    index: str = ""
    next_index: str = ""
    next_index_rows: int = 0
    aliases: Mapping[str, str] = field(default_factory=dict)
    provider: str = ""
    model: str = ""
    dimensions: int = 0
    running: str = ""
    jobs_open: tuple[BatchJob, ...] = ()
    parsed_files: int = 0
    parsed_bytes: int = 0

    @property
    def exit_code(self) -> int:
        """1 when a file of the lake cannot be read."""
        return ExitCode.STOPPED if self.problems else ExitCode.DONE

    def lines(self) -> list[str]:
        """The status for people."""
        lines = [
            *self.problems,
            f"collection {self.collection}: {self.documents:,} documents, {self.chunks:,} chunks, "
            f"{self.tokens:,} tokens; ¥{self.cost_cny:.4f} in the runs below",
            *([f"embedding: {self.model} of {self.provider}, {self.dimensions:,} dimensions"] if self.model else []),
            *([f"rows: {self.rows:,} in Milvus when a run last counted them"] if self.rows is not None else []),
            *([f"index: {self._index_line()}"] if self.index else []),
            *(f"alias: searches of {alias} use {name} since the last switch" for alias, name in self.aliases.items()),
            "rejects: " + (", ".join(f"{n:,} {reason}" for reason, n in self.rejects.items()) or "none"),
        ]
        lines += [
            f"billed: {bill.model}, all runs and collections of the lake: {bill.tokens_billed:,} tokens in "
            f"{bill.requests:,} requests, ¥{bill.cost_cny:.4f}"
            + (f"; Batch saved ¥{bill.batch_saved_cny:.4f}" if bill.batch_saved_cny else "")
            for bill in self.billed
        ]
        if self.jobs_open:
            texts = sum(job.texts for job in self.jobs_open)
            lines.append(f"batch: {len(self.jobs_open):,} jobs open with {texts:,} texts; see `millrace jobs`")
        if self.parsed_files:
            size = f"{self.parsed_bytes / 1e6:,.1f} MB"
            lines.append(f"parsed: {self.parsed_files:,} slow files are kept as they were parsed, {size}")
        lines += [f"note: {note}" for note in self.notes]
        for run in self.runs:
            unended = "running" if run.id == self.running else "did not end"
            outcome = unended if run.exit is None else f"exit {run.exit}"
            lines.append(f"{run.started}  {run.command:8} {outcome:11}  {_summary(run)}")
            if run.error:
                lines.append(f"    {run.error}")
        return lines

    def _index_line(self) -> str:
        if not self.next_index:
            return self.index
        rows = f"{self.next_index_rows:,} rows or more"
        return f"{self.index}, every vector is compared; {self.next_index} when a run ends with {rows}"


def lake_status(settings: Settings) -> Status:
    """The totals and runs of the collection that the settings name."""
    lake = existing_lake(settings)
    problems: list[str] = []
    space, other_embedding, provider = None, "", settings.embedding.provider
    try:
        made_with = with_remembered(settings.with_values(remembered_values(settings)))
        provider, space = made_with.embedding.provider, load_model(made_with).space
        other_embedding = why_refused(settings)
        settings = with_remembered(settings)
    except MillraceError as error:
        problems.append(str(error))
    documents = chunks = tokens = 0
    rejects = REJECT_SCHEMA.empty_table()
    try:
        documents, chunks, tokens = _totals(lake.manifest)
    except LakeError as error:
        problems.append(str(error))
    try:
        rejects = lake.rejects.outstanding()
    except LakeError as error:
        problems.append(str(error))
    problems += [damage.message for damage in lake.damaged_records(_RUNS_CHECKED)]
    reasons = Counter(rejects["reason"].to_pylist())
    runs = tuple(lake.runs.newest(_RUNS_SHOWN))
    index = next(filter(None, map(_index, runs)), "")
    parsed = [size_of(path) for path in lake.parsed.files()]
    has_next_index = index == "FLAT" != settings.milvus.index
    return Status(
        collection=settings.milvus.collection,
        documents=documents,
        chunks=chunks,
        tokens=tokens,
        rejects=dict(reasons.most_common()),
        cost_cny=sum(run.cost_cny for run in runs),
        runs=runs,
        billed=tuple(lake.usage.by_model()),
        notes=(*outgrown(settings, chunks), *([other_embedding] if other_embedding else [])),
        rows=next((rows for run in runs if (rows := _counted_rows(run)) is not None), None),
        index=index,
        next_index=settings.milvus.index if has_next_index else "",
        next_index_rows=settings.milvus.lite_flat_rows if has_next_index else 0,
        aliases=known_aliases(settings, lake),
        provider=provider,
        model=space.model if space is not None else "",
        dimensions=space.dimensions if space is not None else 0,
        running=_running(lake, runs),
        jobs_open=_open_jobs(lake, problems),
        parsed_files=len(parsed),
        parsed_bytes=sum(parsed),
        problems=tuple(problems),
    )


def _totals(manifest: Manifest) -> tuple[int, int, int]:
    """Documents with rows, chunks and tokens. Every column is read, so that damage to any of them is told."""
    documents = chunks = tokens = 0
    for rows in manifest.batches():
        documents += pc.sum(pc.greater(rows["chunks"], 0)).as_py() or 0
        chunks += pc.sum(rows["chunks"]).as_py() or 0
        tokens += pc.sum(rows["tokens"]).as_py() or 0
    return documents, chunks, tokens


def _open_jobs(lake: Lake, problems: list[str]) -> tuple[BatchJob, ...]:
    try:
        return tuple(job for space in lake.spaces() for job in lake.batch_jobs(space.space).open())
    except LakeError as error:
        problems.append(str(error))
        return ()


def _running(lake: Lake, runs: Sequence[RunRecord]) -> str:
    """The id of the run that goes on, "" for none: the newest, if a living process took the lease before it began."""
    holder = holder_at(lake.path / "lease")
    newest = runs[0] if runs else None
    if holder is None or newest is None or newest.ended is not None or newest.started < holder.since:
        return ""
    return newest.id


def _summary(run: RunRecord) -> str:
    documents = _counts(run.counts.get("documents"))
    chunks = _counts(run.counts.get("chunks"))
    return (
        f"{documents.get('added', 0)} added, {documents.get('changed', 0)} changed, "
        f"{documents.get('removed', 0)} removed; {chunks.get('embedded', 0)} embedded, "
        f"{chunks.get('upserted', 0)} upserted; ¥{run.cost_cny:.4f}"
    )


def _counted_rows(run: RunRecord) -> int | None:
    counted = _counts(run.counts.get("rows")).get("counted")
    return counted if isinstance(counted, int) else None


def _index(run: RunRecord) -> str:
    return str(_counts(run.counts.get("rows")).get("index") or "")


def _counts(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}
