"""How a run's end is told, and what stays of one that ended before it began.

Of that, too, whoever watches over the runs hears: by the log's end event, by a record in the lake and by the metrics
file, as far as it is known where those are. A lake or a collection that is not there yet is not begun by a refusal.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from millrace.configs.locations import lake_location, metrics_location
from millrace.configs.settings import Settings, load_settings
from millrace.flows.monitoring.logs import structured
from millrace.flows.monitoring.run_state import RunState
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.flows.wiring.lake_location import lake_path
from millrace.tasks.errors import ConfigurationError, ExitCode, LeaseHeld, MillraceError
from millrace.tasks.lake import Lake, RunRecord, new_run_id

_log = logging.getLogger(__name__)


def log_end(summary: RunSummary) -> None:
    """Log the end event of a run."""
    counts = "; ".join(" ".join(line.split()) for line in summary.lines())
    failed = summary.exit_code in {ExitCode.STOPPED, ExitCode.USAGE}
    # People read the error where the command ends, or in the state of the flow run, and need not read it twice.
    level = logging.ERROR if failed and structured() else logging.INFO
    fields = {"event": "end", "exit_code": summary.exit_code, **summary.as_json()}
    details = (structured() and summary.error) or counts
    _log.log(level, "%s", f"{summary.outcome}: {details}" if details else summary.outcome, extra={"fields": fields})


@contextlib.contextmanager
def refusals_traced(settings: Settings, command: str) -> Iterator[None]:
    """Leave the traces of what stops a run of `command` in this block.

    Not of LeaseHeld: some wait for their turn, asking again and again; whoever gives up calls `leave_traces`.
    """
    try:
        yield
    except LeaseHeld:
        raise
    except MillraceError as refusal:
        leave_traces(refusal, command, lake_of=settings, metrics_of=settings)
        raise


def traced_settings(config: Path | None, overrides: Iterable[str], command: str) -> Settings:
    """The settings of a run of `command`; wrong ones leave their traces where the right ones among them say.

    Raises ConfigurationError as `load_settings`.
    """
    overrides = list(overrides)
    try:
        return load_settings(config, overrides)
    except ConfigurationError as refusal:
        leave_traces(
            refusal,
            command,
            lake_of=lake_location(config, overrides),
            metrics_of=metrics_location(config, overrides),
        )
        raise


def leave_traces(
    refusal: MillraceError, command: str, *, lake_of: Settings | None, metrics_of: Settings | None
) -> None:
    """Log, record and export that a run of `command` ended in `refusal` before it began.

    The record goes into the lake of `lake_of` and the metrics to the folder of `metrics_of`, None for neither.
    """
    known = lake_of or metrics_of
    state = RunState(run=new_run_id(), collection=known.milvus.collection if known else "", model="", command=command)
    state.end("refused" if refusal.exit_code == ExitCode.USAGE else "stopped", str(refusal))
    log_end(state.summary())
    lake = _known_lake(lake_of) if lake_of is not None else None
    try:
        if lake is not None:
            lake.runs.save(_record(state))
        # The run that holds the lease keeps the file of metrics.
        if metrics_of is not None and metrics_of.metrics.textfile_dir and not isinstance(refusal, LeaseHeld):
            from millrace.flows.monitoring.prometheus import export_end

            export_end(metrics_of.metrics, state, lake)
    except MillraceError as error:
        _log.warning("the run that was refused is not recorded: %s", error)


def _known_lake(settings: Settings) -> Lake | None:
    """The lake, to read, if it knows the collection of the settings."""
    try:
        lake = Lake.open(lake_path(settings), settings.milvus.collection, read_only=True)
        return lake if lake.collection_dir.is_dir() else None
    except MillraceError as error:
        _log.warning("the run that was refused is not recorded: %s", error)
        return None


def _record(state: RunState) -> RunRecord:
    """Without settings: those of a run that filled nothing are not to be gone on with."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    summary = state.summary()
    return RunRecord(
        id=state.run, command=state.command, started=now, ended=now, exit=summary.exit_code, error=summary.error
    )
