"""An account under the simulator's limiter, in virtual time: what the pacing is judged against."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from millrace.tasks.embedding.dispatch.dispatcher import PROBE, Dispatcher
from millrace.tasks.embedding.dispatch.queue import Text
from millrace.tasks.embedding.providers.client import EmbeddingResponse
from millrace.tasks.embedding.rate_limit.limiter import RateLimiter
from millrace.tasks.embedding.rate_limit.virtual_time import now, run
from millrace.tasks.errors import Throttled, ThrottledLimit
from tests.simulator.limits import Limiter, LimitName, Limits
from tests.tasks.embedding.fakes import DIMENSIONS, FakeSink, item

NAMED: dict[LimitName, ThrottledLimit] = {
    "requests_per_second": "requests",
    "requests_per_minute": "requests",
    "growth_per_second": "growth",
    "tokens_per_second": "tokens",
    "tokens_per_minute": "tokens",
}


@dataclass
class Account:
    """Answers `latency_s` +- `jitter_s` after a request, or refuses it; `uplink` of the latency passes before."""

    limits: Limits
    latency_s: float = 0.15
    jitter_s: float = 0.05
    uplink: float = 0.0
    refusal_s: float = 0.0
    changes: dict[float, Limits] = field(default_factory=dict)
    """Other limits from a time on."""
    taken: list[tuple[float, int]] = field(default_factory=list)
    refused: list[tuple[float, LimitName]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limiter = Limiter(self.limits)
        self.draws = random.Random(7)

    async def ask(self, tokens: int) -> Throttled | None:
        latency_s = self.latency_s + self.jitter_s * self.draws.uniform(-1, 1)
        await asyncio.sleep(latency_s * self.uplink)
        for at in [at for at in self.changes if at <= now()]:
            self.limiter.change(self.changes.pop(at))
        hit = self.limiter.decide(now(), 1, tokens)
        if hit is not None:
            self.refused.append((now(), hit))
            await asyncio.sleep(self.refusal_s)
            return Throttled(f"HTTP 429 {hit}", limit=NAMED[hit])
        self.taken.append((now(), tokens))
        await asyncio.sleep(latency_s * (1 - self.uplink))
        return None

    def refused_share(self, since: float = 0.0, until: float = 1e9) -> float:
        refused = sum(since <= at < until for at, _ in self.refused)
        return refused / max(1, refused + sum(since <= at < until for at, _ in self.taken))

    def rate(self, since: float, until: float) -> float:
        """Tokens a second that were let through."""
        return sum(tokens for at, tokens in self.taken if since <= at < until) / (until - since)


@dataclass
class AccountClient:
    """One of those who use the account; bills what `tokens_of` says of each text."""

    account: Account
    tokens_of: dict[str, int]

    async def embed(self, texts: Sequence[str]) -> EmbeddingResponse:
        tokens = sum(self.tokens_of.get(text, PROBE.tokens) for text in texts)
        refusal = await self.account.ask(tokens)
        if refusal is not None:
            raise refusal
        return EmbeddingResponse(np.ones((len(texts), DIMENSIONS), np.float32), tokens, "")

    async def close(self) -> None:
        pass


def corpus(count: int = 2_000, tokens: Callable[[random.Random], float] = lambda draws: 401) -> list[Text]:
    draws = random.Random(3)
    return [item(f"text {number}", int(tokens(draws))) for number in range(count)]


def beijing_limiter(**more: object) -> RateLimiter:
    return RateLimiter(
        requests_per_second=30,
        tokens_per_second=20_000,
        requests_per_minute=1_800,
        tokens_per_minute=1_200_000,
        **more,  # type: ignore[arg-type]
    )


def beijing(window: str, share: float = 1.0) -> Limits:
    """The published limits times `share`, all counted in the same kind of window."""
    whole = Limits.beijing().model_dump()
    figures = {name: value * share for name, value in whole.items() if isinstance(value, float)}
    return Limits.model_validate({**whole, **figures, "second_window": window, "minute_window": window})


async def buy(account: Account, texts: Sequence[Text], limiter: RateLimiter) -> float:
    """Buy the texts; the seconds that it took."""
    random.seed(5)  # of the backoff
    began = now()
    client = AccountClient(account, {text.text: text.tokens for text in texts})
    sink = FakeSink()
    async with Dispatcher(client, limiter, texts_per_request=10, tokens_per_request=20_000, store=sink) as dispatcher:
        for text in texts:
            await dispatcher.submit(text)
    return now() - began


def embedded(account: Account, texts: Sequence[Text], limiter: Callable[[], RateLimiter] = beijing_limiter) -> float:
    async def story() -> float:
        return await buy(account, texts, limiter())

    return run(story())
