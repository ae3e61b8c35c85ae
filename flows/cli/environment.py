"""Environment variables that libraries read once, when they are imported, set for the processes that `millrace` starts.

The command sets them, in its own process, before it imports anything that reads them; reading processes and
the runs that `serve` starts inherit them. Importing millrace into another program changes nothing. A value that the
user has set stands.
"""

import os
from collections.abc import MutableMapping

VARIABLES = {
    # Arrow's own allocator keeps what short-lived threads free, 50 MB and more a process. `pyarrow.set_memory_pool`
    # would be too late: Parquet, and what else Arrow does by itself, stays with the first one.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    # Prefect reports nothing to anyone.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


def set_variables(environment: MutableMapping[str, str] | None = None) -> None:
    """Set each of `VARIABLES` that the user has not set."""
    chosen = os.environ if environment is None else environment
    for name, value in VARIABLES.items():
        chosen.setdefault(name, value)
