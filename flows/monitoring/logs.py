"""Logs for machines: with `--log-format json`, all that goes to standard error is one JSON object a line.

Every object has `time` (UTC), `level`, `logger` and `message`; while a run goes on also `run` and `collection`; an
event of a run has its figures beside them. The names do not change. Without the option logs are plain lines, and a
terminal shows a live display instead.
"""

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from millrace.tasks.control_characters import harmless
from millrace.tasks.secrets import mask

Format = Literal["text", "json"]
LOG_FORMAT_VARIABLE = "MILLRACE_LOG_FORMAT"

PACKAGE_LOGGER = "millrace"
"""The logger above all of ours."""

_OF_PREFECT = ("flow_run_id", "flow_run_name", "task_run_id", "task_run_name")


class JsonLines(logging.Formatter):
    """A record as one line of JSON. `about` stands in each; `extra={"fields": {...}}` adds to one."""

    def __init__(self) -> None:
        super().__init__()
        self.about: Mapping[str, object] = {}

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        values: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self.about,
            **{name: value for name in _OF_PREFECT if (value := getattr(record, name, None))},
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return mask(json.dumps(values, ensure_ascii=False, default=str))


class PlainLines(logging.Formatter):
    """A record as Python shows it where nothing is set up, for a terminal: secrets masked, control characters shown."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines, without their end."""
        return "\n".join(map(harmless, mask(super().format(record)).split("\n")))


def log_as(form: Format) -> None:
    """Write logs to standard error in this form from now on.

    As JSON also warnings of libraries, and whatever would have been a traceback. Secrets are masked in either form.
    """
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(PlainLines())
    if form == "text":
        sys.excepthook = _print_uncaught
    if form == "text" or _formatter() is not None:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers = [one for one in root.handlers if not type(one).__module__.startswith("prefect.")]
    root.addHandler(handler)  # Prefect, imported later, leaves a root logger that has a handler as it is
    for name in (PACKAGE_LOGGER, "prefect"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught


def structured() -> bool:
    """Whether standard error is for machines."""
    return _formatter() is not None


def name_run(run: str, collection: str) -> None:
    """Put the run into every line from now on; a process has one at a time."""
    formatter = _formatter()
    if formatter is not None:
        formatter.about = {"run": run, "collection": collection}


def _formatter() -> JsonLines | None:
    formatters = (handler.formatter for handler in logging.getLogger().handlers)
    return next((one for one in formatters if isinstance(one, JsonLines)), None)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    last = traceback.format_exception_only(kind, error)[-1].strip()
    logging.getLogger(PACKAGE_LOGGER).critical("%s", last, exc_info=(kind, error, trace))


def _print_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(mask("".join(traceback.format_exception(kind, error, trace))))
