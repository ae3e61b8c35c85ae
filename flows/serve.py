"""`millrace serve`: the deployments of one corpus, scheduled and run by this process, without a worker.

The same three as in `prefect.yaml`: indexing on a schedule, a backfill on demand, and a nightly comparison.
"""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
import httpx
import tzlocal
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from millrace.configs.settings import Settings
from millrace.flows.ingest import ingest
from millrace.flows.prefect_support.heartbeat import create_zombie_automation
from millrace.flows.prefect_support.parameters import CorpusParameters, IngestParameters, VerifyParameters
from millrace.flows.prefect_support.served import run_deployments
from millrace.flows.verify import verify
from millrace.flows.wiring.collection_settings import require_same_embedding
from millrace.flows.wiring.lake_location import lake_path
from millrace.tasks.errors import ConfigurationError, RunStopped
from millrace.tasks.milvus import is_lite, one_spelling

_log = logging.getLogger(__name__)

_SERVER_STARTS_IN_S = 60.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to index and when to verify, as cron expressions ("" for never) by the clock of `timezone`."""

    index: str
    verify: str
    timezone: str

    def __post_init__(self) -> None:
        """Raise ConfigurationError for a time zone or a cron expression that is none."""
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigurationError(
                f"there is no time zone {self.timezone!r}; name one as in Europe/Berlin, Asia/Shanghai or UTC"
            ) from error
        for cron in (self.index, self.verify):
            try:
                self.of(cron)
            except ValueError as error:
                raise ConfigurationError(f"the schedule {cron!r} cannot be used: {error}") from error

    def of(self, cron: str) -> Any:
        """The cron expression as Prefect's schedule by our clock; None for "". Raises ValueError."""
        return Cron(cron, timezone=self.timezone) if cron else None


def timezone_of_machine() -> str:
    """The name of this machine's time zone, as TZ or its configuration says.

    Raises ConfigurationError when they name none, or two.
    """
    try:
        return tzlocal.get_localzone_name() or "UTC"
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigurationError(
            f"this machine does not say what time zone it is in ({error}); use --timezone"
        ) from error


def deployments(
    settings: Settings, sources: Sequence[Path], *, config: Path | None, schedule: Schedule
) -> list[RunnerDeployment]:
    """The deployments of the corpus in `sources`; at most one run of each at a time.

    With `config` nothing of the settings is in their parameters: each run reads all of them anew. Only the names of the
    deployments stay those of the collection that the file names now.

    """
    name = settings.milvus.collection
    paths = [str(source.absolute()) for source in sources]
    index = IngestParameters(sources=paths, **_parameters(settings, config))
    check = VerifyParameters(sources=paths, **_parameters(settings, config, without=("provider",)))
    tags = ["millrace", name]
    changed = "Whatever changed in the sources since the last run, on a schedule."
    return [
        _deployment(ingest, f"index-{name}", index, tags, what=changed, cron=schedule.of(schedule.index)),
        _deployment(ingest, f"backfill-{name}", index, tags, what="Sources of your choice, once: fill in the form."),
        _deployment(
            verify,
            f"verify-{name}",
            check,
            tags,
            what="Sources, lake and collection compared, row by row.",
            cron=schedule.of(schedule.verify),
        ),
    ]


def _parameters(settings: Settings, config: Path | None, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """Those that say which settings a run has: the file to read anew, or without one where the corpus goes."""
    if config is not None:
        return {"config_file": str(config.absolute())}
    address = settings.milvus.uri
    values = {
        "provider": settings.embedding.provider,
        "collection": settings.milvus.collection,
        "milvus_uri": one_spelling(address) if is_lite(address) else address,
        "lake": str(lake_path(settings).absolute()),
    }
    return {name: value for name, value in values.items() if name not in without}


def _deployment(
    flow: Any, name: str, parameters: CorpusParameters, tags: list[str], *, what: str, cron: Any = None
) -> RunnerDeployment:
    return RunnerDeployment.from_flow(
        flow,
        name=name,
        schedule=cron,
        parameters={"parameters": parameters.model_dump()},
        description=what,
        concurrency_limit=1,
        tags=tags,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def serve_corpus(settings: Settings, sources: Sequence[Path], *, config: Path | None, schedule: Schedule) -> None:
    """Register the deployments and the automation, and run what is due until this process is stopped.

    Raises:
        ConfigurationError: A source does not exist, or a schedule is invalid.
        RunStopped: The Prefect server does not answer.
    """
    for source in sources:
        if not source.exists():
            raise ConfigurationError(f"source {source} does not exist; name a file or a folder")
    settings = require_same_embedding(settings)
    made = deployments(settings, sources, config=config, schedule=schedule)
    try:
        _await_server(os.environ.get("PREFECT_API_URL", ""))
        create_zombie_automation()
        run_deployments(made, registered=lambda: click.echo("\n".join(deployments_table(made))))
    except httpx.HTTPError as error:
        raise RunStopped(
            f"the Prefect server at {os.environ.get('PREFECT_API_URL', 'PREFECT_API_URL')} does not answer ({error}); "
            "start it with `prefect server start`"
        ) from error


def deployments_table(made: Sequence[RunnerDeployment]) -> list[str]:
    """The deployments and when each runs, for people, one a line."""
    rows = [("deployment", "runs", "time zone")]
    for deployment in made:
        scheduled = [one.schedule for one in deployment.schedules or []]
        when = [(getattr(cron, "cron", ""), getattr(cron, "timezone", None) or "UTC") for cron in scheduled]
        runs, zone = when[0] if when else ("when asked for", "")
        rows.append((f"{deployment.flow_name}/{deployment.name}", runs, zone))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{name:{widths[0]}}  {runs:{widths[1]}}  {zone}".rstrip() for name, runs, zone in rows]
    return [*lines, "", "runs what is due until it is stopped; now: prefect deployment run DEPLOYMENT"]


def _await_server(address: str) -> None:
    """Return when the server answers; one that was just started in the background takes some ten seconds.

    Raises httpx.HTTPError when it does not in a minute.
    """
    deadline = time.monotonic() + _SERVER_STARTS_IN_S
    warned = False
    while True:
        try:
            httpx.get(f"{address}/health", timeout=5.0)
        except httpx.TransportError:
            if time.monotonic() >= deadline:
                raise
        else:
            return
        if not warned:
            _log.warning("the Prefect server at %s does not answer yet; waiting for it", address)
            warned = True
        time.sleep(1.0)
