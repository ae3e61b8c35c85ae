"""What a person sees while a run goes on: one live line on a terminal, a plain line now and then elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Event, Thread

from tasks.embedding import Tally

_PLAIN_EVERY_S = 10.0
_LIVE_EVERY_S = 0.25


@dataclass(slots=True)
class Progress:
    """Counters that the pipeline moves and the display reads; written by one thread at a time, read by another."""

    files: int = 0
    documents: int = 0
    chunks_cut: int = 0
    chunks_loaded: int = 0
    files_done: int = 0
    tally: Tally | None = None
    waiting: Callable[[], str] = field(default=lambda: "")
    started: float = field(default_factory=time.monotonic)

    def fields(self) -> list[str]:
        """The state in a few words each: documents, chunks, requests, tokens, yuan, throughput, time left."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        fields = [
            f"files {self.files_done:,}/{self.files:,}",
            f"chunks {self.chunks_loaded:,} in of {self.chunks_cut:,} cut",
        ]
        if self.tally is not None and self.tally.requests_sent:
            fields += [
                f"requests {self.tally.requests_sent:,}",
                f"tokens {self.tally.tokens_billed:,}",
                f"¥{self.tally.cost_cny:.4f}",
            ]
            if self.tally.requests_throttled:
                fields.append(f"429s {self.tally.requests_throttled:,}")
        fields.append(f"{self.chunks_loaded / seconds:,.0f} chunks/s")
        left_s = self._seconds_left(seconds)
        if left_s is not None:
            fields.append(f"{_clock(left_s)} left")
        waiting = self.waiting()
        if waiting:
            fields.append(waiting)
        return fields

    def _seconds_left(self, seconds: float) -> float | None:
        """An estimate from the share of the files whose chunks are in; None while it would be a guess."""
        cut_share = self.files_done / self.files if self.files else 0.0
        loaded_share = self.chunks_loaded / self.chunks_cut if self.chunks_cut else 0.0
        share = cut_share * loaded_share
        return seconds * (1 - share) / share if share > 0.02 else None


@contextlib.contextmanager
def shown(progress: Progress, *, quiet: bool) -> Iterator[None]:
    """Show `progress` on standard error until the block ends: live on a terminal, in plain lines elsewhere."""
    if quiet:
        yield
        return
    stop = Event()
    display = _live if sys.stderr.isatty() else _plain
    thread = Thread(target=display, args=(progress, stop), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _live(progress: Progress, stop: Event) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    spinner = Spinner("dots")
    console = Console(stderr=True)
    with Live(spinner, console=console, refresh_per_second=8, transient=True):
        while not stop.wait(_LIVE_EVERY_S):
            spinner.update(text=Text(" · ".join(progress.fields()), overflow="ellipsis", no_wrap=True))


def _plain(progress: Progress, stop: Event) -> None:
    while not stop.wait(_PLAIN_EVERY_S):
        print(" | ".join(progress.fields()), file=sys.stderr, flush=True)  # noqa: T201 - the terminal is this module's


def _clock(seconds: float) -> str:
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes}:{whole:02d}"
