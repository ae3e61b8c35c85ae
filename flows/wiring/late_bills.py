"""Bills that the lake could not take, of a full disk most likely: kept with this user until a run can write them.

So the sums of the lake come right again; what was billed is known to nobody else here.
"""

import logging

from millrace.flows.wiring.lake_location import state_folder
from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Lake, RunFiles, RunUsage

_log = logging.getLogger(__name__)


def save_bill(lake: Lake, usage: RunUsage) -> None:
    """Write the last word on a bill: into the lake, or where that refuses into this user's state folder.

    Raises LakeError, with what was billed, where neither takes it.
    """
    try:
        lake.usage.save(usage)
    except LakeError as refusal:
        billed = f"{usage.tokens_billed:,} tokens of {usage.model} (¥{usage.cost_cny:.4f}) of run {usage.run}"
        try:
            path = _late(lake).save(usage)
        except LakeError as error:
            raise LakeError(f"{refusal} The bill, {billed}, could not be kept, and the sums lack it.") from error
        _log.warning("the bill, %s, is kept in %s until the next ingest: %s", billed, path, refusal)


def take_in_late_bills(lake: Lake) -> None:
    """Write the bills that the lake could not take into it; those that it still refuses stay where they are."""
    late = _late(lake)
    for usage in late.oldest_first():
        try:
            lake.usage.save(usage)
        except LakeError as error:
            _log.warning("the bill of run %s still waits: %s", usage.run, error)
            return
        late.remove(usage)


def _late(lake: Lake) -> RunFiles[RunUsage]:
    return RunFiles(state_folder() / "bills" / lake.identity, RunUsage)
