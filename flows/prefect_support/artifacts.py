"""What the Prefect UI shows of a run: its name, a progress bar, and at its end a summary and a table of rejects.

Each is one call of the API, at most one in five seconds while the run goes on, and none that the run waits for. A
server that does not answer costs the page, never the run. Importing it imports Prefect, which takes seconds, so only
the flows do.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Iterator
from uuid import UUID

import httpx  # the HTTP client of Prefect's own, whose errors it passes on
import pyarrow as pa
from prefect import runtime
from prefect.artifacts import (
    acreate_link_artifact,
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException

from millrace.configs.settings import Settings
from millrace.flows.commands.report.markdown_summary import escaped, markdown_summary
from millrace.flows.commands.report.write import WrittenReport, write_report
from millrace.flows.monitoring.observer import SourceDiffSummary
from millrace.flows.monitoring.progress import Progress
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.tasks.errors import MillraceError

_log = logging.getLogger(__name__)

_EVERY_S = 5.0
_ROWS_SHOWN = 500
_CELL_CHARACTERS = 300
_KEY_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-"


class RunArtifacts:
    """The pages of the flow run that this is called in; implements `RunObserver`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._slug = "".join(c if c in _KEY_CHARACTERS else "-" for c in settings.milvus.collection.lower())
        self._artifact: UUID | None = None
        self._newest: Progress | None = None
        self._opening: asyncio.Task[None] | None = None
        self._moving: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    async def compared(self, todo: SourceDiffSummary) -> None:
        """Name the run after what it has to do, and draw the progress bar, soon; the run does not wait for it."""
        self._opening = asyncio.create_task(self._open(todo), name="run-page")

    async def moved(self, progress: Progress) -> None:
        """Move the progress bar, soon; the run does not wait for it."""
        self._newest = progress
        if self._moving is None or self._moving.done():
            self._moving = asyncio.create_task(self._move(), name="progress-artifact")

    async def ended(self, report: RunSummary, rejects: pa.Table) -> None:
        """Write the summary and, if there are any, the rejects."""
        self._over.set()
        for under_way in (self._opening, self._moving):
            if under_way is not None:
                await under_way
        if report.outcome == "finished":
            await _shown(self._set(100.0, "all in"))
        await _shown(self._summarise(report))
        if rejects.num_rows:
            await _shown(self._table(rejects))

    async def _open(self, todo: SourceDiffSummary) -> None:
        await _shown(self._rename(f"ingest {todo.words()}"))
        await _shown(self._draw())

    async def _rename(self, name: str) -> None:
        run_id = runtime.flow_run.id
        if run_id:
            async with get_client() as client:
                await client.update_flow_run(UUID(run_id), name=name)

    async def _draw(self) -> None:
        self._artifact = await acreate_progress_artifact(
            progress=0.0, key=f"progress-{self._slug}", description=f"Ingestion into {self._slug}"
        )

    async def _move(self) -> None:
        while (progress := self._newest) is not None:
            self._newest = None
            share = progress.share_done()
            if share is not None:
                await _shown(self._set(100 * share, " · ".join(progress.lines())))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), _EVERY_S)

    async def _set(self, percent: float, words: str) -> None:
        if self._artifact is not None:  # drawn yet, and by a server that answered
            await aupdate_progress_artifact(self._artifact, progress=percent, description=words)

    async def _summarise(self, report: RunSummary) -> None:
        told = summary(report)
        try:
            written = await asyncio.to_thread(write_report, self._settings, report.run)
        except MillraceError as error:  # a full disk, most likely
            _log.warning("the report of the run is not written: %s", error)
        else:
            address = self._settings.reports.url
            link = f"{address.rstrip('/')}/{written.path.name}" if address else ""
            told = f"{told}\n{markdown_summary(written.facts)}\n{_where(written, link)}"
            if link:
                await acreate_link_artifact(link, link_text="The run's report", key=f"report-{self._slug}")
        await acreate_markdown_artifact(
            told, key=f"summary-{self._slug}", description=f"Run {report.run} into {self._slug}"
        )

    async def _table(self, rejects: pa.Table) -> None:
        rows = [{name: _cell(text) for name, text in row.items()} for row in rejects.slice(0, _ROWS_SHOWN).to_pylist()]
        more = f"; the first {_ROWS_SHOWN:,} of {rejects.num_rows:,}, `millrace rejects list` shows all"
        await acreate_table_artifact(
            rows,
            key=f"rejects-{self._slug}",
            description="What was not taken, why, and what to do" + (more if rejects.num_rows > _ROWS_SHOWN else ""),
        )


def _where(written: WrittenReport, link: str) -> str:
    if link:
        return f"\n[The whole report, with pictures]({link})"
    return (
        f"\nThe whole report, with pictures: `{written.path}` on the machine that ran this, or anywhere with the lake: "
        f"`millrace report {written.run} --open`"
    )


def summary(report: RunSummary) -> str:
    """The counts of a run in Markdown."""
    d, c, r, t = report.documents, report.chunks, report.requests, report.tokens
    lines = [
        f"## {report.outcome}: `{report.collection}`",
        "",
        *([f"> {escaped(report.error)}", ""] if report.error else []),
        "| | |",
        "|---|---|",
        f"| documents | {d.seen:,} seen: {d.added:,} added, {d.changed:,} changed, {d.unchanged:,} unchanged, "
        f"{d.rejected:,} rejected; {d.removed:,} removed |",
        f"| chunks | {c.total:,}: {c.embedded:,} embedded, {c.reused:,} reused, {c.unchanged:,} unchanged, "
        f"{c.rejected:,} rejected |",
        f"| rows | {c.upserted:,} upserted, {c.deleted:,} deleted |",
        f"| requests | {r.sent:,}: {r.throttled:,} answered 429, {r.retried:,} sent again |",
        f"| tokens | {t.counted:,} counted, {t.billed:,} billed (drift {t.drift:+.2%}) |",
        f"| cost | ¥{report.cost_cny:.4f} |",
        f"| rejects outstanding | {report.rejects:,} |",
        f"| model | `{report.model}` |",
        f"| seconds | {report.seconds:,.1f} |",
        f"| run | `{report.run}` |",
    ]
    if report.left is not None and report.left.files:
        lines.append(f"| left | {report.left.files:,} files; the next run goes on from there |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text if len(text) <= _CELL_CHARACTERS else text[:_CELL_CHARACTERS] + " ..."


async def _shown(showing: Awaitable[None]) -> None:
    with _page_only():
        await showing


@contextlib.contextmanager
def _page_only() -> Iterator[None]:
    """Let the run go on when Prefect cannot be told of it."""
    try:
        yield
    except (httpx.HTTPError, PrefectException, OSError) as error:
        _log.warning("the run's page in Prefect could not be brought up to date (%s: %s)", type(error).__name__, error)
