"""Log messages of millrace in the log of a flow run; importing it imports Prefect.

Prefect's setting for that, PREFECT_LOGGING_EXTRA_LOGGERS, is read when Prefect is imported, which in a worker's process
is before anything of ours. And it holds for the whole process, in which a plain command may follow the flow.
"""

import contextlib
import logging
import os
from collections.abc import Iterator

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler

from millrace.flows.monitoring.logs import LOG_FORMAT_VARIABLE, PACKAGE_LOGGER, log_as

_TASK_RUNS = "prefect.task_runs"  # logs that each is Completed, which its state says too


@contextlib.contextmanager
def log_to_flow_run() -> Iterator[None]:
    """Send log messages of millrace to the flow run that this is called in, until the block ends.

    Of task runs only warnings and errors are logged. Standard error gets the format that the environment asks for.
    """
    log_as("json" if os.environ.get(LOG_FORMAT_VARIABLE) == "json" else "text")
    flow_run = _flow_run_here()
    assert flow_run is not None
    handler = APILogHandler()
    handler.addFilter(_OfFlowRun(flow_run))
    ours = logging.getLogger(PACKAGE_LOGGER)
    with contextlib.ExitStack() as undo:
        undo.callback(handler.close)
        undo.callback(ours.setLevel, ours.level)
        undo.callback(ours.removeHandler, handler)
        ours.setLevel(logging.INFO)
        ours.addHandler(handler)
        task_runs = logging.getLogger(_TASK_RUNS)
        undo.callback(task_runs.setLevel, task_runs.level)
        task_runs.setLevel(max(logging.WARNING, task_runs.level))
        yield


class _OfFlowRun(logging.Filter):
    """Passes messages of one flow run; a thread without Prefect's context counts as its own."""

    def __init__(self, flow_run: str) -> None:
        super().__init__()
        self._flow_run = flow_run

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "fields", {}).get("event") == "progress":
            return False  # the run's page has a bar for that
        flow_run = _flow_run_here()
        if flow_run is None:
            record.flow_run_id = flow_run = self._flow_run
        return flow_run == self._flow_run


def _flow_run_here() -> str | None:
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    if flow is not None and flow.flow_run is not None:
        return str(flow.flow_run.id)
    return str(task.task_run.flow_run_id) if task is not None else None
