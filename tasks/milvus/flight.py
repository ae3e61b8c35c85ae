"""Several calls under way at once, none of them left behind."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait

MAX_IN_FLIGHT = 4
"""Calls to a server at once: two already keep it busy while the next are packed; more make a restart dearer."""


def acknowledged(calls: Iterable[Callable[[], object]], threads: Executor, *, at_once: int) -> Iterator[None]:
    """Once for each of `calls`, in their order, when it has returned; at most `at_once` are under way.

    Raises what a call raises, when those under way beside it have ended too; no further ones are begun.
    """
    under_way: deque[Future[object]] = deque()
    try:
        for call in calls:
            if len(under_way) == at_once:
                under_way.popleft().result()
                yield
            under_way.append(threads.submit(call))
        while under_way:
            under_way.popleft().result()
            yield
    finally:
        wait(under_way)
