"""What goes through the dispatcher: texts to buy, the requests they travel in, and what is told about them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tasks.embedding.client import Vectors
from tasks.errors import ResponseUnproven, TextsRefused, Transient

Outcome = TextsRefused | None
"""None: the text's vector is durable. A refusal: it will not have one, and why."""


@dataclass(frozen=True, slots=True)
class TextItem:
    """A text to be bought once. `tokens` is what it is billed (end mark included); `source` names it in messages."""

    key: bytes
    text: str
    tokens: int
    source: str


class VectorSink(Protocol):
    """Where vectors become durable."""

    async def append(
        self, keys: Sequence[bytes], vectors: Vectors, tokens: Sequence[int], sparse: Sequence[bytes] | None = None
    ) -> None:
        """Return when row i of `vectors`, billed `tokens[i]` and belonging to `keys[i]`, is on disk.

        So is `sparse[i]`, where the space has sparse vectors.
        """
        ...


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling. `wait_s` is how long until the next try, where there is one."""

    kind: Literal["throttled", "retrying", "split", "refused", "stopped"]
    message: str
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Activity:
    """What the dispatcher does now. `waiting_for` is what holds the next request up, "" for nothing."""

    texts_waiting: int
    requests_in_flight: int
    requests_backing_off: int
    waiting_for: str


@dataclass(slots=True, eq=False)
class Purchase:
    """One text on its way, and everyone who waits for it."""

    item: TextItem
    futures: list[asyncio.Future[Outcome]] = field(default_factory=list)

    def promise(self) -> asyncio.Future[Outcome]:
        """A future of its own for one more who waits, so that one who gives up takes nothing from the others."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        return future

    def settle(self, outcome: Outcome) -> None:
        """Tell everyone how it ended."""
        for future in self.futures:
            if not future.done():
                future.set_result(outcome)

    def fail(self, error: BaseException) -> None:
        """Tell everyone that the run stops before it ended."""
        for future in self.futures:
            if not future.done():
                future.set_exception(error)
                # The dispatcher raises it too; a future that nobody awaits then has nothing to complain of.
                future.exception()


@dataclass(slots=True, eq=False)
class Request:
    """Texts that travel together, and what was learnt of them so far.

    `tries` counts failures; `unproven` those with an unusable answer; `in_vain` those before which another request was
    answered since the last one, at `failed_at`: they tell against the texts rather than against the provider.
    """

    purchases: list[Purchase]
    tries: int = 0
    unproven: int = 0
    in_vain: int = 0
    failed_at: float | None = None
    tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = sum(purchase.item.tokens for purchase in self.purchases)

    def note(self, failure: Transient, *, now: float, in_vain: bool) -> None:
        """Remember that it failed once more; `in_vain` as above."""
        self.tries += 1
        self.unproven += isinstance(failure, ResponseUnproven)
        self.in_vain += in_vain
        self.failed_at = now

    def halves(self) -> list["Request"]:
        """Two requests under the suspicion that this one was under: one more failure, and they are split again."""
        middle = len(self.purchases) // 2
        return [
            Request(half, self.tries, max(self.unproven - 1, 0), max(self.in_vain - 1, 0), self.failed_at)
            for half in (self.purchases[:middle], self.purchases[middle:])
        ]
