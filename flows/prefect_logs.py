"""The rooms' own messages in the log of a flow run, with their levels; importing it imports Prefect.

Prefect's setting for that, PREFECT_LOGGING_EXTRA_LOGGERS, is read when Prefect is imported, which in a worker's process
is before anything of ours.
"""

import logging
import os

from prefect.logging.handlers import APILogHandler

from flows.logs import LOG_FORMAT_VARIABLE, log_as

_ROOMS = ("flows", "tasks")


def hear_rooms() -> None:
    """Send what the rooms log to the flow run from now on; to standard error as the environment says."""
    for name in _ROOMS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        if not any(isinstance(handler, APILogHandler) for handler in logger.handlers):
            logger.addHandler(APILogHandler())
    log_as("json" if os.environ.get(LOG_FORMAT_VARIABLE) == "json" else "text")
