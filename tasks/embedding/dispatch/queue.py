"""What passes through the dispatcher: texts, the requests that carry them, their queue, and the events about them.

Knows nothing of time, the provider or prices.
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
from millrace.tasks.outages import Outage

Outcome = TextsRefused | None
"""None: the text's vector is durable. A refusal: there will be no vector, and why."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text to embed. `tokens` is what is billed for it (end mark included); `source` names it in messages."""

    key: bytes
    text: str
    tokens: int
    source: str


class VectorSink(Protocol):
    """Where vectors become durable."""

    async def append(
        self, keys: Sequence[bytes], vectors: Vectors, tokens: Sequence[int], sparse: Sequence[bytes] | None = None
    ) -> None:
        """Return when everything is on disk: row i of `vectors` belongs to `keys[i]` and was billed `tokens[i]`.

        `sparse[i]` belongs to it too, where the space has sparse vectors.
        """
        ...


@dataclass(frozen=True, slots=True)
class Event:
    """Something to report. `wait_s` is the time until the next try, if there is one; `outage` goes with its kind."""

    kind: Literal["throttled", "retrying", "split", "refused", "usage", "stopped", "outage"]
    message: str
    wait_s: float = 0.0
    outage: Outage | None = None


@dataclass(frozen=True, slots=True)
class Activity:
    """What the dispatcher is doing. `waiting_for` is what the next request waits for, "" for nothing."""

    texts_waiting: int
    requests_in_flight: int
    requests_backing_off: int
    waiting_for: str


@dataclass(slots=True, eq=False)
class PendingText:
    """A text that is not settled yet, and the futures of everyone who waits for it."""

    item: Text
    futures: list[asyncio.Future[Outcome]] = field(default_factory=list)

    def new_future(self) -> asyncio.Future[Outcome]:
        """A future for one more caller. Each has its own, so that cancelling one does not affect the others."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        return future

    def settle(self, outcome: Outcome) -> None:
        """Give `outcome` to everyone who waits."""
        for future in self.futures:
            if not future.done():
                future.set_result(outcome)

    def fail(self, error: BaseException) -> None:
        """Raise `error` for everyone who waits."""
        for future in self.futures:
            if not future.done():
                future.set_exception(error)
                # The dispatcher raises it too; asyncio need not warn of a future that nobody awaits.
                future.exception()


@dataclass(slots=True, eq=False)
class Request:
    """Texts that are sent together, and the history of their failures.

    `tries` counts all failures, `invalid_responses` those with an unusable answer. `failures_beside_successes` counts
    those where another request had succeeded since the failure before (at `failed_at`), which points at the texts
    rather than at the provider.
    """

    texts: list[PendingText]
    tries: int = 0
    invalid_responses: int = 0
    failures_beside_successes: int = 0
    failed_at: float | None = None
    tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = sum(pending.item.tokens for pending in self.texts)

    def record_failure(self, failure: Transient, *, now: float, beside_success: bool) -> None:
        """Count one more failure; `beside_success` if another request has succeeded since the last one."""
        self.tries += 1
        self.invalid_responses += isinstance(failure, InvalidResponse)
        self.failures_beside_successes += beside_success
        self.failed_at = now

    def halves(self) -> list["Request"]:
        """Two requests that inherit the failures of this one, less one: a single further failure splits them again."""
        middle = len(self.texts) // 2
        return [
            Request(
                half,
                self.tries,
                max(self.invalid_responses - 1, 0),
                max(self.failures_beside_successes - 1, 0),
                self.failed_at,
            )
            for half in (self.texts[:middle], self.texts[middle:])
        ]


class RequestQueue:
    """Every text from its submission until it is settled; at most `most_waiting` of them are in no request yet."""

    def __init__(self, *, texts_per_request: int, tokens_per_request: int, most_waiting: int) -> None:
        self._texts_per_request = texts_per_request
        self._tokens_per_request = tokens_per_request
        self._most_waiting = most_waiting
        self._pending: dict[bytes, PendingText] = {}  # all of them
        self._waiting: deque[PendingText] = deque()  # in no request yet
        self._ready: deque[Request] = deque()  # to go before what waits
        self._has_room = asyncio.Event()

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def texts_waiting(self) -> int:
        """Texts that are in no request yet."""
        return len(self._waiting)

    @property
    def text_tokens(self) -> int:
        """Tokens of the largest text that may be in the next request; 0 if none is waiting."""
        return max((pending.item.tokens for pending in islice(self._waiting, self._texts_per_request)), default=0)

    async def wait_for_room(self) -> None:
        """Return when another text may be added, or after `fail_all`."""
        while len(self._waiting) >= self._most_waiting:
            self._has_room.clear()
            await self._has_room.wait()

    def add(self, item: Text) -> tuple[asyncio.Future[Outcome], PendingText | None]:
        """A future for the text, and the text itself if it was not pending already."""
        known = self._pending.get(item.key)
        if known is not None:
            return known.new_future(), None
        pending = self._pending[item.key] = PendingText(item)
        if item.text.strip():
            self._waiting.append(pending)
        return pending.new_future(), pending

    def next_request(self, *, partial: bool, most_tokens: int = 0) -> Request | None:
        """The request to send next, if there is one: a retry, a full one, or with `partial` one that is not full.

        `most_tokens` is a further bound on a new request; 0 is none.
        """
        if self._ready:
            return self._ready.popleft()
        texts, full = fitting_texts(
            # One more than fits, to see whether the last one leaves room.
            (pending.item.tokens for pending in islice(self._waiting, self._texts_per_request + 1)),
            texts_per_request=self._texts_per_request,
            tokens_per_request=min(most_tokens or math.inf, self._tokens_per_request or math.inf),
        )
        if not texts or not (full or partial):
            return None
        self._has_room.set()
        return Request([self._waiting.popleft() for _ in range(texts)])

    def requeue(self, requests: list[Request], *, first: bool = False) -> None:
        """Queue `requests` again, before the waiting texts; with `first` before other retries too."""
        if first:
            self._ready.extendleft(reversed(requests))
        else:
            self._ready.extend(requests)

    def settle(self, pending: PendingText, outcome: Outcome) -> None:
        """End a text: its vector is durable, or it is refused for good."""
        del self._pending[pending.item.key]
        pending.settle(outcome)

    def fail_all(self, error: BaseException, *, except_in: Iterable[Request] = ()) -> None:
        """Fail every text except those of the requests `except_in`, which may still succeed."""
        self._waiting.clear()
        self._ready.clear()
        self._has_room.set()
        in_flight = {pending.item.key for request in except_in for pending in request.texts}
        for key in self._pending.keys() - in_flight:
            self._pending.pop(key).fail(error)
