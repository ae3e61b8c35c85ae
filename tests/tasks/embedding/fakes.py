"""A provider and a sink in memory, for tests of the dispatcher."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from millrace.tasks.embedding.dispatch.dispatcher import Dispatcher
from millrace.tasks.embedding.dispatch.queue import Event, Outcome, Text
from millrace.tasks.embedding.providers.client import EmbeddingResponse, Vectors
from millrace.tasks.embedding.rate_limit.limiter import RateLimiter
from millrace.tasks.errors import MillraceError
from millrace.tasks.records import sparse_bytes

DIMENSIONS = 4

Behaviour = Callable[[Sequence[str], int], MillraceError | None]
"""What to raise for a request of these texts, the n-th (from 1) of all; None is an answer."""


def item(text: str, tokens: int = 10) -> Text:
    return Text(hashlib.sha256(text.encode()).digest(), text, tokens, f"{text}.md")


def items(count: int, tokens: int = 10) -> list[Text]:
    return [item(f"text {number}", tokens) for number in range(count)]


def vector_of(text: str) -> Vectors:
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:DIMENSIONS], np.uint8).astype(np.float32) + 1.0


def sparse_of(text: str) -> bytes:
    return sparse_bytes([len(text)], [1.0])


@dataclass
class FakeClient:
    """Answers after `latency_s`, or raises what `behaviour` says; bills `tokens_per_text` a text."""

    behaviour: Behaviour = lambda texts, number: None
    latency_s: float = 0.1
    tokens_per_text: int = 10
    sparse: bool = False
    requests: list[tuple[float, list[str]]] = field(default_factory=list)
    answered: int = 0
    most_at_once: int = 0
    _at_once: int = 0

    async def embed(self, texts: Sequence[str]) -> EmbeddingResponse:
        self.requests.append((asyncio.get_running_loop().time(), list(texts)))
        failure = self.behaviour(texts, len(self.requests))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(self.latency_s)
        finally:
            self._at_once -= 1
        if failure is not None:
            raise failure
        self.answered += 1
        vectors = np.stack([vector_of(text) for text in texts])
        sparse = tuple(sparse_of(text) for text in texts) if self.sparse else None
        return EmbeddingResponse(vectors, self.tokens_per_text * len(texts), f"request-{len(self.requests)}", sparse)

    async def close(self) -> None:
        pass


@dataclass
class FakeSink:
    """Keeps what it is given after `fsync_s`, or fails with `error`."""

    fsync_s: float = 0.01
    rows: dict[bytes, tuple[list[float], int]] = field(default_factory=dict)
    sparse: dict[bytes, bytes] = field(default_factory=dict)
    error: Exception | None = None

    async def append(
        self, keys: Sequence[bytes], vectors: Vectors, tokens: Sequence[int], sparse: Sequence[bytes] | None = None
    ) -> None:
        assert len(keys) == len(vectors) == len(tokens)
        await asyncio.sleep(self.fsync_s)
        if self.error is not None:
            raise self.error
        for key, vector, billed in zip(keys, vectors, tokens, strict=True):
            assert key not in self.rows, "bought twice"
            self.rows[key] = (vector.tolist(), billed)
        if sparse is not None:
            self.sparse |= zip(keys, sparse, strict=True)

    def holds(self, texts: Sequence[Text]) -> bool:
        """Whether exactly these texts are in, each with its own vector."""
        wanted = {one.key: vector_of(one.text).tolist() for one in texts}
        return {key: vector for key, (vector, _) in self.rows.items()} == wanted


@dataclass
class Scene:
    """A dispatcher between a fake provider and a fake sink."""

    behaviour: Behaviour = lambda texts, number: None
    options: dict[str, Any] = field(default_factory=dict)
    client: FakeClient = field(init=False)
    sink: FakeSink = field(default_factory=FakeSink)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = FakeClient(self.behaviour)

    def dispatcher(self) -> Dispatcher:
        settings: dict[str, Any] = {"texts_per_request": 10, "tokens_per_request": 20_000, **self.options}
        limiter = settings.pop("limiter", None) or RateLimiter()
        return Dispatcher(self.client, limiter, store=self.sink, on_event=self.events.append, **settings)

    async def buy(self, texts: Sequence[Text]) -> list[Outcome]:
        async with self.dispatcher() as dispatcher:
            self.usage = dispatcher.usage
            futures = [await dispatcher.submit(text) for text in texts]
            await dispatcher.drain()
            return [await future for future in futures]

    def sizes(self) -> list[int]:
        return [len(texts) for _, texts in self.client.requests]
