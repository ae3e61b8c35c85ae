"""Waiting for a server that is away."""

import time
from collections.abc import Callable
from typing import TypeVar

from millrace.tasks.milvus.errors import ServerAway
from millrace.tasks.outages import Availability
from millrace.tasks.retry import growing_pauses, retry_transient

T = TypeVar("T")

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0


def wait_for_server(
    ask: Callable[[], T],
    *,
    wait_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
    keep_waiting: Callable[[], bool] = lambda: True,
    availability: Availability | None = None,
) -> T:
    """What `ask` returns, asked again with growing pauses while the server is away, for `wait_s` seconds at most.

    `ask` must be harmless to repeat. Waiting ends early when `keep_waiting` returns False. `availability` hears of it.

    Raises:
        ServerAway: it is still away; the message says how long it was waited for.
    """
    started, tries = clock(), 0

    def pause_after(error: ServerAway, planned_s: float) -> float | None:
        nonlocal tries
        tries += 1
        if availability is not None and wait_s:
            availability.failed(f"{error}; it is waited for, up to {wait_s:.0f} s")
        waited_s = clock() - started
        if waited_s + planned_s <= wait_s and keep_waiting():
            return planned_s
        if tries > 1:
            raise ServerAway(f"{error} (tried {tries} times in {waited_s:.0f} s)") from error
        return None

    pauses_s = growing_pauses(FIRST_PAUSE_S, LONGEST_PAUSE_S)
    answer = retry_transient(ask, ServerAway, pauses_s=pauses_s, pause_after=pause_after, sleep=sleep)
    if availability is not None:
        availability.answered()
    return answer
