"""Waiting for a server that is away."""

import time
from collections.abc import Callable
from typing import TypeVar

from millrace.tasks.milvus.errors import ServerAway

T = TypeVar("T")

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0


def patiently(
    ask: Callable[[], T],
    *,
    wait_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
    keep_waiting: Callable[[], bool] = lambda: True,
) -> T:
    """What `ask` returns, asked again with growing pauses while the server is away, for `wait_s` seconds at most.

    `ask` must be harmless to repeat, for an answer may be lost after the work was done. No more is waited when
    `keep_waiting` says so.

    Raises:
        ServerAway: it is still away; the message says how long it was waited for.
    """
    started, pause_s, tries = clock(), FIRST_PAUSE_S, 1
    while True:
        try:
            return ask()
        except ServerAway as error:
            waited_s = clock() - started
            if waited_s + pause_s > wait_s or not keep_waiting():
                if tries == 1:
                    raise
                message = f"{error} (tried {tries} times in {waited_s:.0f} s)"
                raise ServerAway(message) from error
        sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        tries += 1
