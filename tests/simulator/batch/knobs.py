"""Knobs that are played a number of times."""

from __future__ import annotations

import threading
from collections import Counter


class Played:
    """How often each knob was asked for since the settings were last changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: Counter[str] = Counter()

    def clear(self) -> None:
        """Begin anew."""
        with self._lock:
            self._times.clear()

    def plays(self, knob: str, times: int | None) -> bool:
        """Whether `knob`, which is played so many times (None: always), is played now."""
        with self._lock:
            self._times[knob] += 1
            return times is None or self._times[knob] <= times
