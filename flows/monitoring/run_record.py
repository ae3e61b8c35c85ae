"""The record in the lake of each command that changes the collection: begun with it, finished however it ends."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from millrace.configs.settings import Settings
from millrace.flows.monitoring.run_state import RunState
from millrace.tasks.errors import ExitCode, LakeError, MillraceError
from millrace.tasks.lake import Lake, RunRecord
from millrace.tasks.records import JsonValue


@dataclass(slots=True)
class Outcome:
    """What the record says of a run; `exit` stays None when its process was killed."""

    run: str
    exit: int | None = None
    counts: dict[str, JsonValue] = field(default_factory=dict)
    tokens: dict[str, JsonValue] = field(default_factory=dict)
    cost_cny: float = 0.0
    error: str = ""

    def note(self, state: RunState) -> None:
        """Take over what an ingestion has counted by now."""
        summary = state.summary()
        counts = {name: getattr(summary, name) for name in ("documents", "chunks", "requests", "batch")}
        self.counts = {name: asdict(value) for name, value in counts.items()}
        self.counts |= {"rejects": summary.rejects, "rejects_new": summary.rejects_new}
        if summary.rows is not None:
            self.counts["rows"] = asdict(summary.rows)
        self.tokens, self.cost_cny, self.error = asdict(summary.tokens), summary.cost_cny, summary.error


@contextlib.contextmanager
def recorded(lake: Lake, settings: Settings, command: str, run: str | Outcome) -> Iterator[Outcome]:
    """Save a record of the run now, and again, with what the block has noted in it, when the block ends."""
    outcome = run if isinstance(run, Outcome) else Outcome(run)
    started = datetime.now(UTC).isoformat(timespec="seconds")

    def save(ended: str | None) -> None:
        lake.runs.save(
            RunRecord(
                id=outcome.run,
                command=command,
                started=started,
                ended=ended,
                exit=outcome.exit,
                counts=outcome.counts,
                tokens=outcome.tokens,
                cost_cny=outcome.cost_cny,
                settings=settings.model_dump(mode="json"),
                error=outcome.error,
            )
        )

    save(None)
    try:
        yield outcome
    except MillraceError as error:
        outcome.exit, outcome.error = error.exit_code, str(error)
        raise
    except KeyboardInterrupt:
        outcome.exit, outcome.error = ExitCode.INTERRUPTED, "interrupted"
        raise
    finally:
        save(datetime.now(UTC).isoformat(timespec="seconds"))


@contextlib.asynccontextmanager
async def ingestion_recorded(settings: Settings, state: RunState, lake: Lake) -> AsyncIterator[None]:
    """As `recorded`, for an ingestion. A lake that refuses the record at the end has stopped the run."""
    outcome = Outcome(state.run)
    outcome.note(state)
    with contextlib.ExitStack() as record:
        record.enter_context(recorded(lake, settings, state.command, outcome))
        try:
            yield
        finally:
            outcome.note(state)
            outcome.exit = state.summary().exit_code
            try:
                record.close()
            except LakeError as error:  # a full disk, most likely, and then it has stopped the run itself
                if not state.error:
                    state.end("stopped", str(error))
