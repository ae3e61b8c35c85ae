"""`millrace serve`: the deployments of one corpus, scheduled and run by this process, without a worker.

The same three as in `prefect.yaml`: indexing on a schedule, a backfill on demand, and a nightly comparison.
"""

import json
import logging
import os
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
from prefect import serve
from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from millrace.configs.settings import Settings
from millrace.flows.ingest import ingest
from millrace.flows.prefect_support.parameters import CorpusParameters, IngestParameters, VerifyParameters
from millrace.flows.verify import verify
from millrace.flows.wiring.collection_settings import require_same_embedding
from millrace.flows.wiring.lake_location import lake_path
from millrace.tasks.errors import ConfigurationError, RunStopped
from millrace.tasks.milvus import is_lite, one_spelling

_log = logging.getLogger(__name__)

_SERVER_STARTS_IN_S = 60.0


def deployments(
    settings: Settings, sources: Sequence[Path], *, config: Path | None, cron: str, verify_cron: str
) -> list[RunnerDeployment]:
    """The deployments of the corpus in `sources`; at most one run of each at a time.

    `config` is read again by each run, so that a change of it needs no new start.

    Raises ConfigurationError for an invalid cron expression.
    """
    name, address = settings.milvus.collection, settings.milvus.uri
    lake = str(lake_path(settings).absolute())
    file = str(config.absolute()) if config else ""
    paths = [str(source.absolute()) for source in sources]
    index = IngestParameters(
        sources=paths,
        provider=settings.embedding.provider,
        config_file=file,
        collection=name,
        milvus_uri=one_spelling(address) if is_lite(address) else address,
        lake=lake,
    )
    check = VerifyParameters(sources=paths, config_file=file, collection=name, milvus_uri=index.milvus_uri, lake=lake)
    return [
        _deployment(
            ingest, f"index-{name}", index, cron, "Whatever changed in the sources since the last run, on a schedule."
        ),
        _deployment(ingest, f"backfill-{name}", index, "", "Sources of your choice, once: fill in the form."),
        _deployment(verify, f"verify-{name}", check, verify_cron, "Sources, lake and collection compared, row by row."),
    ]


def _deployment(flow: Any, name: str, parameters: CorpusParameters, cron: str, description: str) -> RunnerDeployment:
    try:
        return RunnerDeployment.from_flow(
            flow,
            name=name,
            cron=cron or None,
            parameters={"parameters": parameters.model_dump()},
            description=description,
            concurrency_limit=1,
            tags=["millrace", parameters.collection],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
    except ValueError as error:
        raise ConfigurationError(f"{name}: the schedule {cron!r} cannot be used: {error}") from error


def serve_corpus(
    settings: Settings, sources: Sequence[Path], *, config: Path | None, cron: str, verify_cron: str
) -> None:
    """Register the deployments and the automation, and run what is due until this process is stopped.

    Raises:
        ConfigurationError: A source does not exist, or a schedule is invalid.
        RunStopped: The Prefect server does not answer.
    """
    for source in sources:
        if not source.exists():
            raise ConfigurationError(f"source {source} does not exist; name a file or a folder")
    settings = require_same_embedding(settings)
    # The heartbeat that `configs/automations.json` listens for; the runs inherit it from this process.
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
    made = deployments(settings, sources, config=config, cron=cron, verify_cron=verify_cron)
    try:
        _await_server(os.environ.get("PREFECT_API_URL", ""))
        create_zombie_automation()
        serve(*made, pause_on_shutdown=False)
    except httpx.HTTPError as error:
        raise RunStopped(
            f"the Prefect server at {os.environ.get('PREFECT_API_URL', 'PREFECT_API_URL')} does not answer ({error}); "
            "start it with `prefect server start`"
        ) from error


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


def create_zombie_automation() -> None:
    """Have Prefect mark runs as crashed whose process has gone silent. Repeating it is harmless."""
    wanted = Automation.model_validate(
        json.loads(files("millrace.configs").joinpath("automations.json").read_text("utf-8"))
    )
    with get_client(sync_client=True) as client:
        known = client.read_automations_by_name(wanted.name)
    if not known:
        wanted.create()
