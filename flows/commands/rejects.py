"""`rejects retry`: the files of rejected items go through the pipeline again, whatever the manifest says of them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from millrace.configs.settings import Settings
from millrace.flows.commands.ingest.run import ingest_here
from millrace.flows.monitoring.result import Result
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.flows.wiring import components
from millrace.tasks.errors import ExitCode
from millrace.tasks.lake import Lake


@dataclass(frozen=True, slots=True)
class RetryResult(Result):
    """What became of the rejects that were tried again.

    `tried` counts them, `settled` those that are rejects no more, `remaining` are the rejects that the same documents
    have now. `left_to_ingest` counts rejects of the listing, and `gone` those whose file is not there: both are left to
    `ingest`.
    """

    tried: int
    settled: int
    remaining: tuple[dict[str, str], ...]
    left_to_ingest: int
    gone: int
    run: RunSummary | None

    @property
    def exit_code(self) -> int:
        """That of the run if it did not finish; else 3 while one of the documents tried has a reject, 0 otherwise."""
        if self.run is not None and self.run.outcome != "finished":
            return self.run.exit_code
        return ExitCode.REJECTS if self.remaining or self.gone else ExitCode.DONE

    @property
    def error(self) -> str:
        """Why the run stopped, "" when it did not."""
        return self.run.error if self.run is not None else ""

    def as_json(self) -> dict[str, object]:
        """Plain values, as `rejects retry --json` prints."""
        return Result.as_json(self) | {"run": self.run.as_json() if self.run is not None else None}

    def lines(self) -> list[str]:
        """The report for people."""
        lines = [f"tried {self.tried:,} rejects again: {self.settled:,} are settled"]
        if self.run is not None:
            lines += self.run.lines()
        if self.remaining:
            counts = Counter(reject["reason"] for reject in self.remaining)
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
            lines.append(
                f"remaining  {len(self.remaining):,} in these documents: {reasons}; see: millrace rejects list"
            )
        if self.gone:
            lines.append(f"gone       {self.gone:,} rejects of files that are not there; `millrace ingest` drops them")
        if self.left_to_ingest:
            lines.append(
                f"listing    {self.left_to_ingest:,} rejects of the listing; every `millrace ingest` looks again"
            )
        return lines


def retry_rejects(settings: Settings, *, reason: str, quiet: bool) -> RetryResult:
    """Try the rejected items again, all or those with one reason.

    Without a reason, documents that the manifest knows to have rejects are tried too if the list has lost them.

    Raises:
        ConfigurationError: There is no such lake, or the settings do not do.
        LakeError: The list of rejects or the manifest is damaged.
    """
    lake = components.existing_lake(settings)
    outstanding = lake.rejects.outstanding()
    if reason:
        outstanding = outstanding.filter(pc.equal(outstanding["reason"], reason))
    of_listing = pc.equal(outstanding["stage"], "scan")
    tried = outstanding.filter(pc.invert(of_listing))
    names = tried["source"].combine_chunks()

    def is_concerned(rows: pa.Table) -> pa.ChunkedArray:
        known = pc.is_in(rows["source"], value_set=names)
        return known if reason else pc.or_(known, pc.greater(rows["rejects"], 0))

    documents = lake.manifest.read(where=is_concerned)
    paths = {Path(path) for path in documents["path"].to_pylist()}
    there = sorted(path for path in paths if path.exists())
    gone = {str(path) for path in paths.difference(there)}
    gone_sources = {row["source"] for row in documents.select(["source", "path"]).to_pylist() if row["path"] in gone}
    run = None
    if there:
        again = frozenset(documents["source"].to_pylist())
        run = ingest_here(settings, there, quiet=quiet, again=again, command="retry")
    return _report(
        lake, tried, documents, run, is_gone=gone_sources.__contains__, of_listing=pc.sum(of_listing).as_py() or 0
    )


def _report(
    lake: Lake,
    tried: pa.Table,
    documents: pa.Table,
    run: RunSummary | None,
    *,
    is_gone: Callable[[str], bool],
    of_listing: int,
) -> RetryResult:
    now = lake.rejects.outstanding()
    of_files = lake.manifest.batches(["path", "source"], paths=set(documents["path"].to_pylist()))
    sources = pa.array([source for rows in of_files for source in rows["source"].to_pylist()], pa.string())
    now = now.filter(pc.is_in(now["source"], value_set=sources))
    remaining = [row for row in now.to_pylist() if row["stage"] != "scan" and not is_gone(row["source"])]
    still = {(row["source"], row["item"]) for row in remaining}
    before = [(row["source"], row["item"]) for row in tried.select(["source", "item"]).to_pylist()]
    missed = [item for item in before if is_gone(item[0])]
    return RetryResult(
        tried=len(before) - len(missed),
        settled=sum(item not in still and not is_gone(item[0]) for item in before),
        remaining=tuple(remaining),
        left_to_ingest=of_listing,
        gone=len(missed),
        run=run,
    )
