"""A run in the Prefect UI: its name, a progress bar, and at its end a summary and a table of rejects.

Each is one call of the API, at most one in five seconds while the run goes on, and none that the run waits for. A
server that does not answer costs the page, never the run. Importing it imports Prefect, which takes seconds, so only
the flows do.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import Any
from uuid import UUID

import httpx  # the HTTP client of Prefect's own, whose errors it passes on
import pyarrow as pa
import pyarrow.compute as pc
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
from prefect.states import Completed

from millrace.configs.settings import Settings
from millrace.flows.commands.report.markdown_summary import escaped, markdown_summary
from millrace.flows.commands.report.write import WrittenReport, write_report
from millrace.flows.monitoring.progress import RunDisplay
from millrace.flows.monitoring.run_state import RunState
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.tasks.errors import MillraceError
from millrace.tasks.lake import Lake

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_UPDATE_EVERY_S = 5.0
_ROWS_SHOWN = 500
_CELL_CHARACTERS = 300
_REJECT_COLUMNS = ("reason", "remedy", "source", "item", "message", "stage")
_KEY_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-"


@contextlib.asynccontextmanager
async def run_artifacts(settings: Settings, state: RunState, lake: Lake) -> AsyncIterator[None]:
    """Show the run on the page of the flow run that this is called in; a `RunObserver`.

    To be entered before the run's other observers: the summary needs its record and timeline whole.
    """
    page = _RunPage(settings, state)
    over = asyncio.Event()
    updating = asyncio.create_task(page.update_until(over), name="run-page")
    try:
        yield
    finally:
        over.set()
        await updating
    await page.finish(lake.rejects.outstanding())


class _RunPage:
    """The page of one flow run."""

    def __init__(self, settings: Settings, state: RunState) -> None:
        self._settings = settings
        self._state = state
        self._display = RunDisplay(state)
        self._slug = "".join(c if c in _KEY_CHARACTERS else "-" for c in settings.milvus.collection.lower())
        self._artifact: UUID | None = None

    async def update_until(self, over: asyncio.Event) -> None:
        """Name the run after its work once that is known, then move the progress bar now and then."""
        while self._state.source_diff is None and not over.is_set():
            await _wait(over, _LOOK_EVERY_S)
        if self._state.source_diff is not None:
            await logged(rename_flow_run(f"ingest {self._state.source_diff}"))
            await logged(self._draw())
        while not over.is_set():
            share = self._state.share_done()
            if share is not None:
                await logged(self._set(100 * share, " · ".join(self._display.lines())))
            await _wait(over, _UPDATE_EVERY_S)

    async def finish(self, rejects: pa.Table) -> None:
        """Write the summary and, if there are any, the rejects outstanding, as `REJECT_SCHEMA`."""
        summary = self._state.summary()
        if summary.outcome == "finished":
            await logged(self._set(100.0, "all in"))
        await logged(self._summarize(summary))
        if rejects.num_rows:
            await logged(self._table(rejects))

    async def _draw(self) -> None:
        self._artifact = await acreate_progress_artifact(
            progress=0.0, key=f"progress-{self._slug}", description=f"Ingestion into {self._slug}"
        )

    async def _set(self, percent: float, description: str) -> None:
        if self._artifact is not None:  # the server answered when it was drawn
            await aupdate_progress_artifact(self._artifact, progress=percent, description=description)

    async def _summarize(self, summary: RunSummary) -> None:
        text = counts_table(summary)
        try:
            written = await asyncio.to_thread(write_report, self._settings, summary.run)
        except MillraceError as error:  # a full disk, most likely
            _log.warning("the report of the run is not written: %s", error)
        else:
            address = self._settings.reports.url
            link = f"{address.rstrip('/')}/{written.path.name}" if address else ""
            text = f"{text}\n{markdown_summary(written.facts)}\n{_link_or_path(written, link)}"
            if link:
                await acreate_link_artifact(link, link_text="The run's report", key=f"report-{self._slug}")
        await acreate_markdown_artifact(
            text, key=f"summary-{self._slug}", description=f"Run {summary.run} into {self._slug}"
        )

    async def _table(self, rejects: pa.Table) -> None:
        rows = reject_rows(rejects, self._state.run)
        more = f"; the first {_ROWS_SHOWN:,} of {rejects.num_rows:,}, `millrace rejects list` shows all"
        await acreate_table_artifact(
            rows[:_ROWS_SHOWN],
            key=f"rejects-{self._slug}",
            description="What was not taken, why, and what to do" + (more if rejects.num_rows > _ROWS_SHOWN else ""),
        )


def reject_rows(rejects: pa.Table, run: str) -> list[dict[str, str]]:
    """The rejects outstanding as rows for people: those of `run` first, and of each first the reason and the remedy."""
    mine = pc.equal(rejects["run"], run)
    ordered = pa.concat_tables([rejects.filter(mine), rejects.filter(pc.invert(mine))])
    rows = ordered.select([*_REJECT_COLUMNS, "run"]).to_pylist()
    return [
        {name: "this one" if name == "run" and text == run else _cell(text) for name, text in row.items()}
        for row in rows
    ]


def completed(summary: RunSummary, more: str) -> Any:
    """The state of a run that came to its end, with a message that ends in `more`; its name tells of rejects."""
    message = (summary.batch_words() if summary.outcome == "detached" else summary.lines()[0]) + more
    if not summary.rejects:
        return Completed(message=message, data=summary)
    counted = f"{summary.rejects_new:,} new of {summary.rejects:,}"
    return Completed(name="Completed with rejects", message=f"with rejects, {counted}: {message}", data=summary)


def _link_or_path(written: WrittenReport, link: str) -> str:
    if link:
        return f"\n[The whole report, with pictures]({link})"
    return (
        f"\nThe whole report, with pictures: `{written.path}` on the machine that ran this, or anywhere with the lake: "
        f"`millrace report {written.run} --open`"
    )


def counts_table(summary: RunSummary) -> str:
    """The counts of a run in Markdown."""
    d, c, r, t = summary.documents, summary.chunks, summary.requests, summary.tokens
    lines = [
        f"## {summary.outcome}: `{summary.collection}`",
        "",
        *([f"> {escaped(summary.error)}", ""] if summary.error else []),
        "| | |",
        "|---|---|",
        f"| documents | {d.seen:,} seen: {d.added:,} added, {d.changed:,} changed, {d.unchanged:,} unchanged, "
        f"{d.rejected:,} rejected; {d.removed:,} removed |",
        *([f"| files | {escaped(summary.files.summary())} |"] if summary.files.summary() else []),
        f"| chunks | {c.total:,}: {c.embedded:,} embedded, {c.reused:,} reused, {c.unchanged:,} unchanged, "
        f"{c.rejected:,} rejected |",
        f"| rows | {c.upserted:,} upserted, {c.deleted:,} deleted |",
        *([f"| left out | {escaped(summary.left_out.summary())} |"] if summary.left_out.total else []),
        f"| requests | {r.sent:,}: {r.throttled:,} answered 429, {r.retried:,} sent again |",
        f"| tokens | {t.counted:,} counted, {t.billed:,} billed (drift {t.drift:+.2%}) |",
        f"| cost | ¥{summary.cost_cny:.4f} |",
        *([f"| Batch | {summary.batch_words()} |"] if summary.batch.jobs else []),
        f"| rejects outstanding | {summary.rejects:,} |",
        f"| model | `{summary.model}` |",
        f"| seconds | {summary.seconds:,.1f} |",
        f"| run | `{summary.run}` |",
    ]
    if summary.left is not None and summary.left.files:
        lines.append(f"| left | {summary.left.files:,} files; the next run goes on from there |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text if len(text) <= _CELL_CHARACTERS else text[:_CELL_CHARACTERS] + " ..."


async def rename_flow_run(name: str) -> None:
    """Give the flow run that this is called in another name."""
    run_id = runtime.flow_run.id
    if run_id:
        async with get_client() as client:
            await client.update_flow_run(UUID(run_id), name=name)


async def _wait(over: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), seconds)


async def logged(update: Awaitable[None]) -> None:
    """Let the run go on when Prefect cannot be told of it."""
    try:
        await update
    except (httpx.HTTPError, PrefectException, OSError) as error:
        _log.warning("the run's page in Prefect could not be updated (%s: %s)", type(error).__name__, error)
