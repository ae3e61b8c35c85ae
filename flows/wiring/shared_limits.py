"""One account for several processes or machines: each holds a place, and uses an equal share of the limits.

Coarse on purpose: a place is taken once and looked after every few seconds, while the pacing inside each process keeps
the fine grain. Whoever comes waits until the others have seen it; whoever goes leaves its share unused until they have.
So at no time are all shares together more than the account.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import repeat
from typing import Protocol, TypeVar

from millrace.tasks.retry import retry_transient_async

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
SEEN_AFTER_S = 7.5
"""By then everybody has looked again, and slowed down for whoever came."""

T = TypeVar("T")


class SlotLost(Exception):
    """The place is not held any more: its keeper was restarted, or was not reached for too long."""


class KeeperUnreachable(Exception):
    """The keeper of the places does not answer now."""


class Places(Protocol):
    """The account's places, kept where every process can reach them."""

    async def take(self) -> bool:
        """Take a place, unless all are taken. Raises KeeperUnreachable, or ConfigurationError if there are none."""
        ...

    async def keep(self) -> int:
        """Hold the place for longer; how many are taken by all. Raises SlotLost, KeeperUnreachable."""
        ...

    async def leave(self) -> None:
        """Give the place back. Raises KeeperUnreachable."""
        ...


@contextlib.asynccontextmanager
async def sharing(places: Places, set_share: Callable[[float], None]) -> AsyncIterator[None]:
    """Hold a place until the block ends, and tell `set_share` the share (above 0, at most 1) whenever it changes.

    Waits for a place while all are taken, and then until those who hold the others have seen it.
    """
    while not await _ask_keeper(places.take):
        _log.info("every place of the account is taken; waiting for one")
        await asyncio.sleep(LOOK_EVERY_S)
    try:
        taken = await _ask_keeper(places.keep)
        if taken > 1:
            _log.info("the account is shared by %d; waiting until the others have seen it", taken)
            await asyncio.sleep(SEEN_AFTER_S)
            taken = await _ask_keeper(places.keep)
        set_share(1 / max(taken, 1))
        looking = asyncio.create_task(_look(places, set_share, taken), name="account-share")
        try:
            yield
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
    finally:
        with contextlib.suppress(KeeperUnreachable):  # the place falls free by itself
            await places.leave()


async def _look(places: Places, set_share: Callable[[float], None], taken: int) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            now_taken = await places.keep()
        except KeeperUnreachable as error:
            # Nobody else can come meanwhile, so the share is still right.
            _log.warning("%s; keeping a share of 1/%d of the account", error, taken)
            continue
        except SlotLost:
            with contextlib.suppress(KeeperUnreachable):
                back = await places.take()
                _log.warning("the place in the account was lost; %s", "taken again" if back else "all are taken now")
            continue
        if now_taken != taken:
            taken = max(now_taken, 1)
            _log.info("the account is shared by %d now", taken)
            set_share(1 / taken)


async def _ask_keeper(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` returns, asked again while the keeper does not answer."""

    def pause_after(error: KeeperUnreachable, planned_s: float) -> float:
        _log.warning("%s; asking again", error)
        return planned_s

    return await retry_transient_async(ask, KeeperUnreachable, pauses_s=repeat(LOOK_EVERY_S), pause_after=pause_after)
