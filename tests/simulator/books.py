"""What the provider saw and billed: the side of the story that a client cannot embellish.

A text is *sent* each time a well-formed request holds it, *bought* when a sound answer carried its vector, *spoiled*
when it was billed but the answer was damaged or cut off, so that the client had to buy it again.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tests.simulator.batch.books import Pool, PoolCounts
from tests.simulator.faults import Fault
from tests.simulator.limits import LimitName
from tests.simulator.refusals import THROTTLES, Reason

Space = tuple[str, int]
"""Model name and dimensions: within one space a text is worth buying once.

On the native endpoint what a text is embedded as belongs to the name: `text-embedding-v4:document`."""


@dataclass(slots=True)
class TextCount:
    """What happened to one text."""

    sent: int = 0
    bought: int = 0
    spoiled: int = 0


@dataclass(slots=True)
class Second:
    """What happened within one second of the clock."""

    requests: int = 0
    answered: int = 0
    throttled: int = 0
    tokens: int = 0


@dataclass(slots=True)
class RerankCounts:
    """What the rerank endpoints saw and billed; none of it is in the figures of the embeddings."""

    requests: int = 0
    """Well-formed ones."""
    answered: int = 0
    spoiled: int = 0
    documents: int = 0
    """Scored."""
    tokens_billed: int = 0
    most_documents: int = 0
    """Of one request, refused ones too."""
    largest_request_tokens: int = 0


def text_digest(text: str) -> bytes:
    """The SHA-256 of the text as it was sent: the key of a text in the books."""
    return hashlib.sha256(text.encode()).digest()


class Books:
    """Counters since the start or the last reset. Written on the server's loop, readable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Everything back to 0."""
        with self._lock:
            self.requests = 0
            """Requests read whole on an endpoint of the provider, whatever came of them."""
            self.answered = 0
            """Sound answers."""
            self.spoiled = 0
            """Billed, but damaged, cut off or never sent."""
            self.refused: Counter[Reason] = Counter()
            self.throttled_by: Counter[LimitName] = Counter()
            """429s that the limits gave (those of a fault plan are in `faults`), by the limit that was hit."""
            self.faults: Counter[Fault] = Counter()
            self.tokens_billed = 0
            """Of sound and of spoiled answers."""
            self.tokens_spoiled = 0
            self.largest_batch = 0
            """Texts of the largest list that was sent, refused ones too."""
            self.largest_request_tokens = 0
            self.peak_concurrency = 0
            self.connections = 0
            self.rerank = RerankCounts()
            self.pools: dict[Pool, PoolCounts] = {"realtime": PoolCounts(), "batch": PoolCounts()}
            self.routes: Counter[str] = Counter()
            """Requests by route: the path, with `{id}` for an id."""
            self._started_at: float | None = None
            self._seconds: dict[int, Second] = {}
            self._texts: dict[Space, dict[bytes, TextCount]] = {}

    def connected(self) -> None:
        """A client opened a connection."""
        with self._lock:
            self.connections += 1

    def arrived(self, now: float, concurrency: int, route: str) -> None:
        """A request to `route` was read whole; `concurrency` of them are being answered."""
        with self._lock:
            self.routes[route] += 1
            self.requests += 1
            self.peak_concurrency = max(self.peak_concurrency, concurrency)
            self._second(now).requests += 1

    def listed(self, texts: int) -> None:
        """A request holds a list of `texts` texts, allowed or not."""
        with self._lock:
            self.largest_batch = max(self.largest_batch, texts)

    def received(self, space: Space, digests: Sequence[bytes]) -> None:
        """A well-formed request holds these texts."""
        with self._lock:
            counts = self._texts.setdefault(space, {})
            for digest in digests:
                counts.setdefault(digest, TextCount()).sent += 1

    def sized(self, tokens: int) -> None:
        """A request that passed validation would be billed `tokens`."""
        with self._lock:
            self.largest_request_tokens = max(self.largest_request_tokens, tokens)

    def refuse(self, now: float, reason: Reason) -> None:
        """A request was answered with an error."""
        with self._lock:
            self.refused[reason] += 1
            if reason in THROTTLES:
                self._second(now).throttled += 1

    def throttle(self, limit: LimitName) -> None:
        """A limit was hit; the refusal itself is entered by `refuse`."""
        with self._lock:
            self.throttled_by[limit] += 1

    def fault(self, fault: Fault) -> None:
        """The plan put a fault on an answer."""
        with self._lock:
            self.faults[fault] += 1

    def bill(
        self,
        now: float,
        space: Space,
        digests: Sequence[bytes],
        tokens: int,
        *,
        sound: bool,
        yuan: float = 0.0,
        pool: Pool = "realtime",
    ) -> None:
        """The model worked: the texts are bought if the answer is sound, else spoiled.

        A line of a batch file is no answer, and no part of the second it is billed in.
        """
        with self._lock:
            counts = self._texts.setdefault(space, {})
            self.tokens_billed += tokens
            self.pools[pool].add(len(digests), tokens, yuan, sound=sound)
            if not sound:
                self.tokens_spoiled += tokens
            if pool == "realtime":
                second = self._second(now)
                second.tokens += tokens
                second.answered += sound
                self.answered += sound
                self.spoiled += not sound
            for digest in digests:
                count = counts.setdefault(digest, TextCount())
                if sound:
                    count.bought += 1
                else:
                    count.spoiled += 1

    def receive_rerank(self, documents: int) -> None:
        """A well-formed rerank request holds so many documents, allowed or not."""
        with self._lock:
            self.rerank.requests += 1
            self.rerank.most_documents = max(self.rerank.most_documents, documents)

    def size_rerank(self, tokens: int) -> None:
        """A rerank request that passed validation would be billed `tokens`."""
        with self._lock:
            self.rerank.largest_request_tokens = max(self.rerank.largest_request_tokens, tokens)

    def bill_rerank(self, documents: int, tokens: int, *, sound: bool) -> None:
        """The reranker worked."""
        with self._lock:
            self.rerank.answered += sound
            self.rerank.spoiled += not sound
            self.rerank.documents += documents
            self.rerank.tokens_billed += tokens

    def text(self, text: str, space: Space | None = None) -> TextCount:
        """What happened to `text`, in one space or summed over all."""
        digest = text_digest(text)
        total = TextCount()
        with self._lock:
            for one, counts in self._texts.items():
                if space in {None, one} and (count := counts.get(digest)) is not None:
                    total.sent += count.sent
                    total.bought += count.bought
                    total.spoiled += count.spoiled
        return total

    @property
    def throttled(self) -> dict[Reason, int]:
        """429s that mean "later", by code."""
        return {reason: many for reason, many in self.refused.items() if reason in THROTTLES}

    @property
    def texts_distinct(self) -> int:
        return len(self._counts())

    @property
    def texts_sent(self) -> int:
        return sum(count.sent for count in self._counts())

    @property
    def texts_bought(self) -> int:
        return sum(count.bought for count in self._counts())

    @property
    def texts_bought_again(self) -> int:
        """Purchases beyond the first of each text and space, in either pool: what law and journal should keep at 0."""
        return sum(max(count.bought - 1, 0) for count in self._counts())

    @property
    def texts_spoiled(self) -> int:
        return sum(count.spoiled for count in self._counts())

    @property
    def by_second(self) -> list[Second]:
        """One entry for each second of the clock from the first request to the last, empty seconds included."""
        with self._lock:
            if not self._seconds:
                return []
            first, last = min(self._seconds), max(self._seconds)
            return [self._seconds.get(number, Second()) for number in range(first, last + 1)]

    def as_json(self, *, texts: bool = False) -> dict[str, object]:
        """Everything, ready for JSON; with `texts` also each text by hex digest, under `model/dimensions`."""
        found: dict[str, object] = {
            "requests": self.requests,
            "answered": self.answered,
            "spoiled": self.spoiled,
            "refused": {reason.value: many for reason, many in self.refused.items()},
            "throttled": {reason.value: many for reason, many in self.throttled.items()},
            "throttled_by": dict(self.throttled_by),
            "faults": {fault.value: many for fault, many in self.faults.items()},
            "texts_distinct": self.texts_distinct,
            "texts_sent": self.texts_sent,
            "texts_bought": self.texts_bought,
            "texts_bought_again": self.texts_bought_again,
            "texts_spoiled": self.texts_spoiled,
            "tokens_billed": self.tokens_billed,
            "tokens_spoiled": self.tokens_spoiled,
            "largest_batch": self.largest_batch,
            "largest_request_tokens": self.largest_request_tokens,
            "peak_concurrency": self.peak_concurrency,
            "connections": self.connections,
            "routes": dict(self.routes),
            "pools": {name: asdict(counts) for name, counts in self.pools.items()},
            "rerank": asdict(self.rerank),
            "by_second": [asdict(second) for second in self.by_second],
        }
        if texts:
            with self._lock:
                found["texts"] = {
                    f"{model}/{dimensions}": {digest.hex(): asdict(count) for digest, count in counts.items()}
                    for (model, dimensions), counts in self._texts.items()
                }
        return found

    def _counts(self) -> list[TextCount]:
        with self._lock:
            return [count for counts in self._texts.values() for count in counts.values()]

    def _second(self, now: float) -> Second:
        if self._started_at is None:
            self._started_at = now
        return self._seconds.setdefault(int(now - self._started_at), Second())
