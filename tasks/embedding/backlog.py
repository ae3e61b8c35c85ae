"""What is still to be bought: texts that wait for a request, requests that go once more, and who waits for them.

Knows nothing of time, of the provider or of money.
"""

import asyncio
import math
from collections import deque
from collections.abc import Iterable
from itertools import islice

from tasks.embedding.packing import fitting_texts
from tasks.embedding.purchases import Outcome, Purchase, Request, TextItem


class Backlog:
    """Every text from its submission until it is settled. At most `most_waiting` of them wait for a first request."""

    def __init__(self, *, texts_per_request: int, tokens_per_request: int, most_waiting: int) -> None:
        self._texts_per_request = texts_per_request
        self._tokens_per_request = tokens_per_request
        self._most_waiting = most_waiting
        self._purchases: dict[bytes, Purchase] = {}  # all of them
        self._waiting: deque[Purchase] = deque()  # in no request yet
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

    def add(self, item: TextItem) -> tuple[asyncio.Future[Outcome], Purchase | None]:
        """A future for the text, and its purchase if it is new: a text that is here already is not bought twice."""
        known = self._purchases.get(item.key)
        if known is not None:
            return known.promise(), None
        purchase = self._purchases[item.key] = Purchase(item)
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

    def settle(self, purchase: Purchase, outcome: Outcome) -> None:
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
