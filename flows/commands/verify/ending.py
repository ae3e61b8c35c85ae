"""How the end of a verification is told: by the log's end event, and by the metrics file."""

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import get_args

from millrace.configs.locations import metrics_location
from millrace.configs.settings import Settings, load_settings
from millrace.flows.commands.verify.report import Kind, VerifyReport
from millrace.tasks.errors import ConfigurationError, MillraceError

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def ending_recorded(settings: Settings, report: VerifyReport, command: str) -> Iterator[None]:
    """Log and export what `report` holds when the block ends, however it does. `command`: verify or repair."""
    started = time.time()
    with refusal_recorded(settings, command):
        yield
    counts: dict[str, int] = {kind: report.counts[kind] for kind in get_args(Kind)}
    figures = {"documents": report.documents, "rows": report.rows, "rows_in_collection": report.rows_in_collection}
    tell_end(settings, command, started=started, exit_code=report.result().exit_code, findings=counts, figures=figures)


@contextlib.contextmanager
def refusal_recorded(settings: Settings, command: str) -> Iterator[None]:
    """Log and export the error that stops a verification in this block."""
    started = time.time()
    try:
        yield
    except MillraceError as refusal:
        tell_end(settings, command, started=started, exit_code=refusal.exit_code, error=str(refusal))
        raise


def recorded_settings(config: Path | None, overrides: Iterable[str], command: str) -> Settings:
    """The settings of a verification; wrong ones are recorded where the right ones among them say.

    Raises ConfigurationError as `load_settings`.
    """
    started, overrides = time.time(), list(overrides)
    try:
        return load_settings(config, overrides)
    except ConfigurationError as refusal:
        where = metrics_location(config, overrides)
        tell_end(where, command, started=started, exit_code=refusal.exit_code, error=str(refusal))
        raise


def tell_end(
    settings: Settings | None,
    command: str,
    *,
    started: float,
    exit_code: int,
    error: str = "",
    findings: Mapping[str, int] = {},
    figures: Mapping[str, float] = {},
) -> None:
    """Log the end event, and write the metrics where the settings, if they are known, have a folder for them."""
    fields = {
        "event": "end",
        "command": command,
        "collection": settings.milvus.collection if settings is not None else "",
        "exit_code": exit_code,
        "error": error,
        "findings": dict(findings),
        **figures,
    }
    found = ", ".join(f"{count:,} {kind}" for kind, count in findings.items() if count)
    _log.info("%s ended: %s", command, error or found or "all agree", extra={"fields": fields})
    if settings is not None and settings.metrics.textfile_dir:
        from millrace.flows.monitoring.verify_metrics import export_verification

        export_verification(
            settings.metrics,
            settings.milvus.collection,
            started=started,
            exit_code=exit_code,
            findings=findings,
            figures=figures,
        )
