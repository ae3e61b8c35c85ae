"""Which rejects are new in a run, and which the user has been told of before."""

import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.errors import ExitCode
from millrace.tasks.lake import Lake

_FINISHED = frozenset({ExitCode.DONE, ExitCode.REJECTS})
_INGESTING = frozenset({"ingest", "retry"})


def new_rejects(outstanding: pa.Table, lake: Lake, run: str) -> pa.Table:
    """Those of the `outstanding` rejects that are new in `run`.

    No earlier run that finished has rejected the same document for the same reason.
    """
    return outstanding.filter(pc.is_in(outstanding["first_run"], value_set=runs_reported_with(lake, run)))


def runs_reported_with(lake: Lake, run: str) -> pa.Array:
    """`run`, and the runs since the last that finished: whoever was broken off has told nobody what it rejected."""
    reported = [run]
    for record in lake.runs.newest_first():
        if record.id >= run:
            continue
        if record.command in _INGESTING and record.exit in _FINISHED:
            break
        reported.append(record.id)
    return pa.array(reported, pa.string())
