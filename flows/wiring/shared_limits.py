"""One account for several processes or machines: each holds a slot, and uses an equal share of the limits.

Coarse on purpose: a slot is acquired once and renewed every few seconds, while the rate limiter inside each process
does the fine work. A process that joins waits until the others have seen it; the share of one that leaves stays unused
until they have. So the shares together are never more than the account.
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
"""By then every other process has looked again, and slowed down for the one that joined."""

T = TypeVar("T")


class SlotLost(Exception):
    """The slot is not held any more: its server was restarted, or was not reached for too long."""


class SlotServerUnreachable(Exception):
    """The server that grants slots does not answer now."""


class ConcurrencySlots(Protocol):
    """The slots of an account, on a server that every process can reach."""

    async def acquire(self) -> bool:
        """Acquire a slot, unless all are taken. Raises SlotServerUnreachable, or ConfigurationError without slots."""
        ...

    async def renew(self) -> int:
        """Hold the slot for longer; how many all processes hold. Raises SlotLost, SlotServerUnreachable."""
        ...

    async def release(self) -> None:
        """Release the slot. Raises SlotServerUnreachable."""
        ...


@contextlib.asynccontextmanager
async def sharing(slots: ConcurrencySlots, set_share: Callable[[float], None]) -> AsyncIterator[None]:
    """Hold a slot until the block ends, and call `set_share` with the share (above 0, at most 1) whenever it changes.

    Waits for a slot while all are taken, and then until the processes that hold the others have seen it.
    """
    while not await _until_reached(slots.acquire):
        _log.info("every slot of the account is taken; waiting for one")
        await asyncio.sleep(LOOK_EVERY_S)
    try:
        taken = await _until_reached(slots.renew)
        if taken > 1:
            _log.info("the account is shared by %d; waiting until the others have seen it", taken)
            await asyncio.sleep(SEEN_AFTER_S)
            taken = await _until_reached(slots.renew)
        set_share(1 / max(taken, 1))
        looking = asyncio.create_task(_look(slots, set_share, taken), name="account-share")
        try:
            yield
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
    finally:
        with contextlib.suppress(SlotServerUnreachable):  # the slot expires by itself
            await slots.release()


async def _look(slots: ConcurrencySlots, set_share: Callable[[float], None], taken: int) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            now_taken = await slots.renew()
        except SlotServerUnreachable as error:
            # No other process can join meanwhile, so the share is still right.
            _log.warning("%s; keeping a share of 1/%d of the account", error, taken)
            continue
        except SlotLost:
            with contextlib.suppress(SlotServerUnreachable):
                acquired = await slots.acquire()
                _log.warning(
                    "the slot of the account was lost; %s", "acquired again" if acquired else "all are taken now"
                )
            continue
        if now_taken != taken:
            taken = max(now_taken, 1)
            _log.info("the account is shared by %d now", taken)
            set_share(1 / taken)


async def _until_reached(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` returns, asked again while the server does not answer."""

    def pause_after(error: SlotServerUnreachable, planned_s: float) -> float:
        _log.warning("%s; asking again", error)
        return planned_s

    return await retry_transient_async(
        ask, SlotServerUnreachable, pauses_s=repeat(LOOK_EVERY_S), pause_after=pause_after
    )
