"""The record in the lake of commands that change the collection and are no `ingest`."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from millrace.configs.settings import Settings
from millrace.tasks.lake import Lake, RunRecord
from millrace.tasks.records import JsonValue


@dataclass(slots=True)
class Outcome:
    """What is to be remembered of a run; `exit` stays None when it was broken off."""

    run: str
    exit: int | None = None
    counts: dict[str, JsonValue] = field(default_factory=dict)
    tokens: dict[str, JsonValue] = field(default_factory=dict)
    cost_cny: float = 0.0


@contextlib.contextmanager
def recorded(lake: Lake, settings: Settings, command: str, run: str) -> Iterator[Outcome]:
    """Save a record of the run now, and again, with what the block has noted in it, when the block ends."""
    outcome = Outcome(run)
    started = datetime.now(UTC).isoformat(timespec="seconds")

    def save(ended: str | None) -> None:
        lake.runs.save(
            RunRecord(
                id=run,
                command=command,
                started=started,
                ended=ended,
                exit=outcome.exit,
                counts=outcome.counts,
                tokens=outcome.tokens,
                cost_cny=outcome.cost_cny,
                settings=settings.model_dump(mode="json"),
            )
        )

    save(None)
    try:
        yield outcome
    finally:
        save(datetime.now(UTC).isoformat(timespec="seconds"))
