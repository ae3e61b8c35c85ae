"""The last lines of an `ingest` for people: how long it took, where the rows are, and what to type next."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millrace.flows.monitoring.run_summary import RunSummary

_OF_A_SEARCH = ("embedding.", "lake.", "milvus.", "rerank.", "search.")
_OF_A_RUN = ("embedding.allow_change", "embedding.batch", "embedding.deadline", "embedding.detach")


def closing_lines(
    summary: "RunSummary", milvus_uri: str, *, config: Path | None, overrides: Iterable[str]
) -> list[str]:
    """Lines for a run that has finished, with a search in the same place; none for one that has not."""
    if summary.outcome != "finished" or summary.error:
        return []
    options = [] if config is None else ["--config", str(config)]
    for override in overrides:
        if override.startswith(_OF_A_SEARCH) and not override.startswith(_OF_A_RUN):
            options += ["--set", override]
    command = shlex.join(["millrace", "search", "what you want to know", *options])
    return [
        f"took {_duration(summary.seconds)}; the rows are in collection {summary.collection} at {milvus_uri}",
        f"next: {command}",
    ]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest:.0f} s" if minutes else f"{rest:.1f} s"
