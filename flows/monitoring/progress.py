"""What a person sees while a run goes on: a few live lines on a terminal, one plain line now and then elsewhere."""

import contextlib
import logging
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event, Thread
from threading import enumerate as enumerate_threads
from typing import Protocol

from millrace.flows.monitoring.logs import structured
from millrace.flows.monitoring.run_state import SERVICE_NAMES, RunState

_log = logging.getLogger(__name__)

_PLAIN_EVERY_S = 10.0
_LIVE_EVERY_S = 0.25
_WINDOW_S = 10.0
_STALLED_AFTER_S = 300.0  # longer than any wait for a limit of the provider
_TOO_LITTLE_TO_GO_BY = 0.02

_WAITING_FOR = {
    "requests": "waits for the limit of requests",
    "tokens": "waits for the limit of tokens",
    "growth": "waits for the limit of growth",
    "pause": "pauses after failures of the provider",
    "slots": "waits for answers",
    "budget": "waits for answers to know what is left of the budget",
    "answers": "waits for answers",
    "reading": "waits for the readers",
    "milvus": "waits for Milvus to take rows",
    "comparing": "compares the sources with the manifest",
    "closing": "tidies up",
}


class RunDisplay:
    """A run in two or three lines; implements `Shown`."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._samples: deque[tuple[float, int, int, int]] = deque()

    def lines(self) -> list[str]:
        """The state in two or three lines; to be asked for regularly, since rates are over the last ten seconds."""
        state = self._state
        chunks_s, requests_s, tokens_s = self._rates()
        rejected = f", {state.documents_rejected:,} rejected" if state.documents_rejected else ""
        first = [
            f"documents {state.documents_loaded:,} in{rejected} ({state.files_cut:,} of {state.files:,} files cut)",
            f"chunks {state.chunks_cut:,} cut, {state.chunks_embedded:,} embedded, {state.chunks_loaded:,} in",
            f"{chunks_s:,.0f} chunks/s",
        ]
        left_s = state.seconds_left()
        if left_s is not None:
            first.append(f"{_clock(left_s)} left")
        lines = [" · ".join(first)]
        if state.usage.requests_sent:
            lines.append(self._provider_line(requests_s, tokens_s))
        return [*lines, " · ".join([*self._trouble(), self._waiting()])]

    def figures(self) -> dict[str, float]:
        """As `RunState.figures`."""
        return self._state.figures()

    def _provider_line(self, requests_s: float, tokens_s: float) -> str:
        usage, spec, in_the_end = self._state.usage, self._state.spec, self._state.cost_in_the_end_cny()
        fields = [
            f"requests {usage.requests_sent:,}" + _of_limit(requests_s, spec.requests_per_second if spec else 0.0),
            f"tokens {usage.tokens_billed or usage.tokens_counted:,}"
            + _of_limit(tokens_s, spec.tokens_per_second if spec else 0.0),
            f"¥{usage.cost_cny:.4f}" + (f" of about ¥{in_the_end:.2f}" if in_the_end else ""),
        ]
        return " · ".join(fields)

    def _trouble(self) -> list[str]:
        usage, activity = self._state.usage, self._state.activity
        fields = []
        if usage.requests_throttled:
            fields.append(f"{usage.requests_throttled:,} answered 429")
        if usage.requests_retried:
            fields.append(f"{usage.requests_retried:,} sent again")
        if activity.requests_backing_off:
            fields.append(f"{activity.requests_backing_off:,} wait to be sent again")
        return fields

    def _waiting(self) -> str:
        """What the run waits for: a service that is away, or else its bottleneck."""
        state = self._state
        if away := dict(state.away_since):
            return ", ".join(
                f"{SERVICE_NAMES[service]} has been away for {_clock(state.seconds - since_s)}"
                for service, since_s in away.items()
            )
        waiting_for = state.activity.waiting_for or state.bottleneck
        if waiting_for == "batch":
            counts = state.batch_counts()
            lines = sum(job.lines for job in state.batch.values() if job.open)
            done = sum(job.lines_done for job in state.batch.values() if job.open)
            return (
                f"waits for {counts.open:,} Batch {'job' if counts.open == 1 else 'jobs'} with {counts.texts_open:,} "
                f"texts ({done:,} of {lines:,} lines done)"
            )
        return _WAITING_FOR.get(waiting_for, f"waits for {waiting_for}")

    def _rates(self) -> tuple[float, float, float]:
        """Chunks embedded, requests sent and tokens counted a second, over the last ten."""
        usage = self._state.usage
        now = (time.monotonic(), self._state.chunks_embedded, usage.requests_sent, usage.tokens_counted)
        self._samples.append(now)
        while len(self._samples) > 1 and now[0] - self._samples[1][0] >= _WINDOW_S:
            self._samples.popleft()
        then = self._samples[0]
        passed_s = max(now[0] - then[0], 1e-9)
        return ((now[1] - then[1]) / passed_s, (now[2] - then[2]) / passed_s, (now[3] - then[3]) / passed_s)


@dataclass(slots=True)
class RowProgress:
    """Rows of a collection that were `doing`, of `rows` in all."""

    doing: str
    rows: int = 0
    done: int = 0
    _started: float = field(default_factory=time.monotonic)

    def figures(self) -> dict[str, float]:
        """Counts so far."""
        return {"rows": self.rows, "rows_done": self.done}

    def lines(self) -> list[str]:
        """The state in one line."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        fields = [f"rows {self.done:,} of {self.rows:,} {self.doing}", f"{self.done / seconds:,.0f} rows/s"]
        if self.done > self.rows * _TOO_LITTLE_TO_GO_BY:
            fields.append(f"{_clock(seconds * (self.rows - self.done) / self.done)} left")
        return [" · ".join(fields)]


class Shown(Protocol):
    """Something whose state can be shown."""

    def lines(self) -> list[str]:
        """The state for people."""

    def figures(self) -> dict[str, float]:
        """The state for programs."""


@contextlib.contextmanager
def shown(progress: Shown, *, quiet: bool) -> Iterator[None]:
    """Show `progress` on standard error until the block ends: live on a terminal, in plain lines elsewhere.

    While nothing moves for long, the stacks of all threads are logged now and then, also when it is `quiet`.
    """
    displays = [_log_threads_when_stalled]
    if structured():
        displays.append(_logged)
    elif not quiet:
        displays.append(_live if sys.stderr.isatty() else _plain)
    stop = Event()
    threads = [Thread(target=run, args=(progress, stop), name="progress", daemon=True) for run in displays]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _log_threads_when_stalled(progress: Shown, stop: Event) -> None:
    seen, since = progress.figures(), time.monotonic()
    while not stop.wait(_STALLED_AFTER_S / 10):
        figures, now = progress.figures(), time.monotonic()
        if figures != seen:
            seen, since = figures, now
        elif now - since >= _STALLED_AFTER_S:
            _log.warning("nothing has moved for %.0f s; the threads of this process:\n%s", now - since, _stacks())
            since = now


def _stacks() -> str:
    """Where each thread of this process is."""
    names = {thread.ident: thread.name for thread in enumerate_threads()}
    return "\n".join(
        f"thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()  # noqa: SLF001 - the documented way to them
    )


def _live(progress: Shown, stop: Event) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        while not stop.wait(_LIVE_EVERY_S):
            text = Text("\n".join(progress.lines()), overflow="ellipsis", no_wrap=True)
            live.update(text, refresh=True)


def _plain(progress: Shown, stop: Event) -> None:
    while not stop.wait(_PLAIN_EVERY_S):
        print(" | ".join(progress.lines()), file=sys.stderr, flush=True)  # noqa: T201 - the terminal is this module's


def _logged(progress: Shown, stop: Event) -> None:
    while not stop.wait(_PLAIN_EVERY_S):
        _log.info("%s", " | ".join(progress.lines()), extra={"fields": {"event": "progress", **progress.figures()}})


def _of_limit(rate: float, limit: float) -> str:
    """` (19,800/s, 99 % of the limit)`, or the rate alone where there is no limit."""
    return f" ({rate:,.0f}/s, {rate / limit:.0%} of the limit)" if limit else f" ({rate:,.0f}/s)"


def _clock(seconds: float) -> str:
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes}:{whole:02d}"
