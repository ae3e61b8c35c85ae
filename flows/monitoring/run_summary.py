"""What a run did and cost: its counts as one frozen object, as JSON and as lines for people."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from millrace.configs.settings import FailOn
from millrace.flows.monitoring.result import Result
from millrace.tasks.errors import BudgetReached, ExitCode, RunStopped
from millrace.tasks.records import FileCounts, LeftOut

Outcome = Literal["running", "finished", "detached", "stopped", "refused", "budget", "interrupted"]

_EXIT_CODES: Mapping[Outcome, ExitCode] = {
    "running": ExitCode.STOPPED,
    "detached": ExitCode.DONE,
    "stopped": ExitCode.STOPPED,
    "refused": ExitCode.USAGE,
    "budget": ExitCode.BUDGET,
    "interrupted": ExitCode.INTERRUPTED,
}


@dataclass(slots=True)
class DocumentCounts:
    """Documents by what became of them: seen = added + changed + unchanged + rejected; removed ones are not seen."""

    seen: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    rejected: int = 0


@dataclass(slots=True)
class ChunkCounts:
    """Chunks of all documents seen: total = embedded + reused + unchanged + rejected.

    `embedded` chunks got their vector in this run, `reused` ones had theirs in the lake, `unchanged` ones belong to
    documents that were not read again. `upserted` and `deleted` count rows of the collection.
    """

    total: int = 0
    embedded: int = 0
    reused: int = 0
    unchanged: int = 0
    rejected: int = 0
    upserted: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests to the provider: all that were sent, those answered 429, and those sent again after a failure."""

    sent: int = 0
    throttled: int = 0
    retried: int = 0


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens as counted here before sending, and as the provider billed them.

    `drift` is by how much its count of the same texts is above ours, as a share of ours.
    """

    counted: int = 0
    billed: int = 0
    drift: float = 0.0


@dataclass(frozen=True, slots=True)
class LeftCounts:
    """What a run that ended early did not finish: files that are not in, and the chunks cut from them so far."""

    files: int = 0
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows of the collection at the end of a run: `expected` by the manifest, and as Milvus has `counted` them.

    `index` is the kind of index that their vectors have.
    """

    expected: int
    counted: int
    index: str = ""


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """Batch jobs that the run had to do with, those still open, and the texts in them.

    `texts` came by Batch in this run, were billed `tokens_billed`, and cost `saved_cny` less than at once.
    """

    jobs: int = 0
    open: int = 0
    texts_open: int = 0
    texts: int = 0
    tokens_billed: int = 0
    saved_cny: float = 0.0


@dataclass(frozen=True, slots=True)
class RunSummary(Result):
    """One run. `rejects` are the rejected items outstanding in the collection's lake, of this run or an earlier one.

    Of these, `rejects_new` are new in this run, and the others were known before: the same document was rejected for
    the same reason, and a run that finished has told so. `fail_on` says which of them the exit code is 3 for.
    `notes` tell the user about the model and the documents. `left` is None before the sources have been compared with
    the manifest, and `rows` until they were counted at the end. `left_out` counts what lies below the sources and no
    run reads; `files` are the files below the sources by suffix, counted at the end. `batch` are the Batch jobs; a run
    that is "detached" has left some open, and moved no document. A run that has finished has an `error` when the
    collection does not have the rows that it should have.
    """

    run: str
    collection: str
    model: str
    documents: DocumentCounts = field(default_factory=DocumentCounts)
    chunks: ChunkCounts = field(default_factory=ChunkCounts)
    requests: RequestCounts = field(default_factory=RequestCounts)
    tokens: TokenCounts = field(default_factory=TokenCounts)
    left: LeftCounts | None = None
    left_out: LeftOut = field(default_factory=LeftOut)
    files: FileCounts = field(default_factory=FileCounts)
    rows: RowCounts | None = None
    batch: BatchCounts = field(default_factory=BatchCounts)
    rejects: int = 0
    rejects_new: int = 0
    fail_on: FailOn = "any"
    cost_cny: float = 0.0
    seconds: float = 0.0
    outcome: Outcome = "running"
    error: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """The exit code of the command.

        0 all in; 1 stopped by an error, or rows are missing or too many; 2 refused as wrong use; 3 finished with
        rejects that count by `fail_on`, or with nothing but files that no reader takes; 4 stopped at the budget; 130
        interrupted.
        """
        if self.outcome == "finished":
            if self.error:
                return ExitCode.STOPPED
            rejects = {"any": self.rejects, "new": self.rejects_new, "none": 0}[self.fail_on]
            return ExitCode.REJECTS if rejects or self.has_no_readable_file else ExitCode.DONE
        return _EXIT_CODES[self.outcome]

    def as_error(self) -> RunStopped | BudgetReached:
        """The error of a run that has one, to be raised; its `summary` is this one."""
        error = BudgetReached(self.error) if self.outcome == "budget" else RunStopped(self.error)
        error.summary = self
        return error

    @property
    def rejects_known(self) -> int:
        """Rejects that were known before the run."""
        return self.rejects - self.rejects_new

    @property
    def has_no_readable_file(self) -> bool:
        """Whether there are files below the sources, and no reader takes any of them."""
        return not self.documents.seen and bool(self.left_out.unsupported)

    def as_json(self) -> dict[str, object]:
        """Plain values, as `ingest --json` prints and the lake keeps them."""
        return asdict(self) | {"rejects_known": self.rejects_known}

    def lines(self) -> list[str]:
        """The counts for people, one statement a line."""
        d, c, r, t = self.documents, self.chunks, self.requests, self.tokens
        if self.error and not (d.seen or r.sent):
            return self._remaining_lines()  # no other count says anything yet
        lines = [
            f"documents  {d.seen:,} seen: {d.added:,} added, {d.changed:,} changed, {d.unchanged:,} unchanged, "
            f"{d.rejected:,} rejected; {d.removed:,} removed",
            *([f"files      {self.files.summary()}"] if self.files.summary() else []),
            f"chunks     {c.total:,}: {c.embedded:,} embedded, {c.reused:,} reused, {c.unchanged:,} unchanged, "
            f"{c.rejected:,} rejected; {c.upserted:,} rows upserted, {c.deleted:,} deleted",
        ]
        if r.sent or t.billed:
            billed = f"{t.billed:,} billed (drift {t.drift:+.2%}); ¥{self.cost_cny:.4f}" if t.billed else "none billed"
            lines.append(
                f"requests   {r.sent:,}: {r.throttled:,} throttled, {r.retried:,} sent again; "
                f"tokens {t.counted:,} counted, {billed}"
            )
        if self.batch.jobs:
            lines.append(f"batch      {self.batch_words()}")
        if self.left_out.total:
            lines.append(f"left out   {self.left_out.summary()}")
        if self.has_no_readable_file:
            lines.append("note       nothing was read: no reader takes any of the files below the sources")
        if self.rejects:
            ages = {"new": self.rejects_new, "known before": self.rejects_known}
            counts = ", ".join(f"{count:,} {what}" for what, count in ages.items() if count)
            lines.append(f"rejects    {self.rejects:,}: {counts}; see why with: millrace rejects list")
        lines += [f"note       {note}" for note in self.notes]
        return lines + self._remaining_lines()

    def batch_words(self) -> str:
        """What came by Batch, and what is still to come."""
        b = self.batch
        brought = f"{b.texts:,} texts of {b.jobs - b.open:,} jobs, ¥{b.saved_cny:.4f} less than at once"
        if not b.open:
            return brought
        waiting = f"{b.open:,} {'job' if b.open == 1 else 'jobs'} open with {b.texts_open:,} texts"
        later = "the same command takes in what they bring; `millrace jobs` shows them"
        return f"{brought}; {waiting}: {later}" if b.texts else f"{waiting}: {later}"

    def _remaining_lines(self) -> list[str]:
        if self.left is None or self.outcome in {"running", "finished", "detached"}:
            return []
        return [f"left       {self.left.files:,} files; {self.left.chunks:,} chunks of them were cut"]
