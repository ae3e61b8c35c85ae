"""What is still to be bought: texts that wait for a request, requests that go once more, and who waits for them.

Knows nothing of time, of the provider or of money.

What goes through the dispatcher: texts to buy, the requests they travel in, and what is told about them.
"""

import asyncio
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, Protocol

from millrace.tasks.embedding.dispatch.packing import fitting_texts
from millrace.tasks.embedding.providers.client import Vectors
from millrace.tasks.errors import InvalidResponse, TextsRefused, Transient

Outcome = TextsRefused | None
"""None: the text's vector is durable. A refusal: it will not have one, and why."""


@dataclass(frozen=True, slots=True)
class Text:
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
class PendingText:
    """One text on its way, and everyone who waits for it."""

    item: Text
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

    purchases: list[PendingText]
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
        self.unproven += isinstance(failure, InvalidResponse)
        self.in_vain += in_vain
        self.failed_at = now

    def halves(self) -> list["Request"]:
        """Two requests under the suspicion that this one was under: one more failure, and they are split again."""
        middle = len(self.purchases) // 2
        return [
            Request(half, self.tries, max(self.unproven - 1, 0), max(self.in_vain - 1, 0), self.failed_at)
            for half in (self.purchases[:middle], self.purchases[middle:])
        ]


class RequestQueue:
    """Every text from its submission until it is settled. At most `most_waiting` of them wait for a first request."""

    def __init__(self, *, texts_per_request: int, tokens_per_request: int, most_waiting: int) -> None:
        self._texts_per_request = texts_per_request
        self._tokens_per_request = tokens_per_request
        self._most_waiting = most_waiting
        self._purchases: dict[bytes, PendingText] = {}  # all of them
        self._waiting: deque[PendingText] = deque()  # in no request yet
        self._ready: deque[Request] = deque()  # to go before what waits
        self._room = asyncio.Event()

    def __len__(self) -> int:
        return len(self._purchases)

    @property
    def texts_waiting(self) -> int:
        """Texts that are in no request yet."""
        return len(self._waiting)

    @property
    def text_tokens(self) -> int:
        """Tokens of the largest text that may be in the next request; 0 without one."""
        return max((purchase.item.tokens for purchase in islice(self._waiting, self._texts_per_request)), default=0)

    async def room(self) -> None:
        """Return when another text may be added, or everything failed."""
        while len(self._waiting) >= self._most_waiting:
            self._room.clear()
            await self._room.wait()

    def add(self, item: Text) -> tuple[asyncio.Future[Outcome], PendingText | None]:
        """A future for the text, and its purchase if it is new: a text that is here already is not bought twice."""
        known = self._purchases.get(item.key)
        if known is not None:
            return known.promise(), None
        purchase = self._purchases[item.key] = PendingText(item)
        if item.text.strip():
            self._waiting.append(purchase)
        return purchase.promise(), purchase

    def next_request(self, *, partial: bool, most_tokens: int = 0) -> Request | None:
        """The request to send next, if there is one: a retry, a full one, or with `partial` what there is.

        `most_tokens` bounds a new one, beside the bound that holds for all; 0 does not.
        """
        if self._ready:
            return self._ready.popleft()
        texts, full = fitting_texts(
            # One more than fits, to see whether the last one leaves room.
            (purchase.item.tokens for purchase in islice(self._waiting, self._texts_per_request + 1)),
            texts_per_request=self._texts_per_request,
            tokens_per_request=min(most_tokens or math.inf, self._tokens_per_request or math.inf),
        )
        if not texts or not (full or partial):
            return None
        self._room.set()
        return Request([self._waiting.popleft() for _ in range(texts)])

    def again(self, requests: list[Request], *, first: bool = False) -> None:
        """Let `requests` go once more, before the texts that wait; with `first` before other retries too."""
        if first:
            self._ready.extendleft(reversed(requests))
        else:
            self._ready.extend(requests)

    def settle(self, purchase: PendingText, outcome: Outcome) -> None:
        """The text is bought, or refused for good."""
        del self._purchases[purchase.item.key]
        purchase.settle(outcome)

    def fail(self, error: BaseException, *, but: Iterable[Request] = ()) -> None:
        """Nothing more will be bought, except perhaps what is under way in the requests `but`."""
        self._waiting.clear()
        self._ready.clear()
        self._room.set()
        under_way = {purchase.item.key for request in but for purchase in request.purchases}
        for key in self._purchases.keys() - under_way:
            self._purchases.pop(key).fail(error)
