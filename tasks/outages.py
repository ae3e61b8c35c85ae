"""Whether a service answers, as those who call it find out; told once when it is away, and once when it is back.

Knows nothing of what is called: Milvus, the provider and the object storage each have an `Availability`.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Service = Literal["milvus", "provider", "storage"]


@dataclass(frozen=True, slots=True)
class Outage:
    """A service is away, or back after `away_s` seconds (None: it is not). `message` is for people."""

    service: Service
    message: str
    away_s: float | None = None


Tell = Callable[[Outage], None]


def no_listener(outage: Outage) -> None:
    """The default: nobody listens."""


class Availability:
    """Told of failures and answers by any thread; `tell` hears of changes. A failure that passes at once is none."""

    def __init__(
        self, service: Service, tell: Tell = no_listener, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.tell = tell
        self._service = service
        self._clock = clock
        self._lock = threading.Lock()
        self._failed_at: float | None = None
        self._reported = False

    def failed(self, why: str, *, since: float | None = None) -> None:
        """It did not answer, after another failure before (`since`, by the clock) or for the second time."""
        with self._lock:
            first = self._failed_at is None
            if first:
                self._failed_at = self._clock() if since is None else since
            tell = not self._reported and not (first and since is None)
            self._reported = self._reported or tell
        if tell:
            self.tell(Outage(self._service, why))

    def answered(self) -> None:
        """It did answer."""
        if self._failed_at is None:
            return
        with self._lock:
            failed_at, reported, self._failed_at, self._reported = self._failed_at, self._reported, None, False
        if reported and failed_at is not None:
            away_s = self._clock() - failed_at
            self.tell(Outage(self._service, f"it answers again, after {away_s:,.0f} s", away_s))
