"""Asking again after a failure that passes by itself: which failures, after which pauses, until when.

Knows nothing of what is asked: each caller names the error and the pauses, and says when to give up.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
ErrorT = TypeVar("ErrorT", bound=Exception)

PauseAfter = Callable[[ErrorT, float], float | None]
"""Given an error and the pause that is planned, the pause to make, or None to give up."""


def growing_pauses(first_s: float, longest_s: float) -> Iterator[float]:
    """Pauses without end, each twice as long as the one before, up to `longest_s`.

    >>> from itertools import islice
    >>> list(islice(growing_pauses(1.0, 5.0), 4))
    [1.0, 2.0, 4.0, 5.0]
    """
    pause_s = first_s
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, longest_s)


def retry_transient(
    ask: Callable[[], T],
    transient: type[ErrorT],
    *,
    pauses_s: Iterable[float],
    pause_after: PauseAfter[ErrorT] = lambda _error, planned_s: planned_s,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """What `ask` returns, asked again after each of `pauses_s` while it raises `transient`; the last error is raised.

    `ask` must be harmless to repeat, for an answer may be lost after the work was done.
    """
    for planned_s in pauses_s:
        try:
            return ask()
        except transient as error:
            pause_s = pause_after(error, planned_s)
            if pause_s is None:
                raise
        sleep(pause_s)
    return ask()


async def retry_transient_async(
    ask: Callable[[], Awaitable[T]],
    transient: type[ErrorT],
    *,
    pauses_s: Iterable[float],
    pause_after: PauseAfter[ErrorT] = lambda _error, planned_s: planned_s,
) -> T:
    """As `retry_transient`, without holding up the event loop."""
    for planned_s in pauses_s:
        try:
            return await ask()
        except transient as error:
            pause_s = pause_after(error, planned_s)
            if pause_s is None:
                raise
        await asyncio.sleep(pause_s)
    return await ask()
