"""The account behind every endpoint: keys, models, limits, faults, latency and the bill.

It knows nothing of HTTP or of any dialect's bodies. A dialect asks it in this order: `account_of`, `model_named`,
`order` (the texts checked and counted), `admit` (limits, faults, latency), `bill`. Endpoints of one model share its
limits; all share one fault plan, one latency and one set of books.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from tests.simulator.batch.books import Pool
from tests.simulator.batch.state import StateLog
from tests.simulator.books import Books, Space, text_digest
from tests.simulator.clock import Calendar, Clock, MachineClock
from tests.simulator.faults import LEGAL_DAMAGE, Damage, Fault, fault_of
from tests.simulator.limits import REASON_OF_LIMIT, Limiter, LimitName, Limits
from tests.simulator.model.models import Endpoint, Model, Quota, RerankModel
from tests.simulator.model.tokens import bpe_tokens, truncated
from tests.simulator.model.vectors import Renderings
from tests.simulator.refusals import Reason, Refused
from tests.simulator.settings import SimulatorSettings

_BURST_POLL_S = 0.1


class Job(Protocol):
    """A request that passed validation, whatever it asks for: what limits, faults and books need to know of it."""

    @property
    def account(self) -> str: ...

    @property
    def model_name(self) -> str: ...

    @property
    def quota(self) -> Quota: ...

    @property
    def tokens(self) -> int: ...

    @property
    def details(self) -> Mapping[str, object]:
        """What an error of the fault plan may mention (see Refused)."""
        ...

    def enter(self, books: Books, now: float, *, sound: bool) -> None:
        """Enter the answer in the books."""
        ...


Output = Literal["dense", "sparse", "dense&sparse"]


@dataclass(frozen=True, slots=True)
class Form:
    """What the vectors of an order are to be like."""

    text_type: str = ""
    """"" where the endpoint knows none."""
    instruct: str = ""
    output: Output = "dense"
    as_base64: bool = False

    @property
    def wants_dense(self) -> bool:
        return self.output != "sparse"

    @property
    def wants_sparse(self) -> bool:
        return self.output != "dense"

    def space(self, model: Model, dimensions: int) -> Space:
        """`("text-embedding-v4", 1024)`, or `("text-embedding-v4:document:dense&sparse", 1024)`."""
        output = "" if self.output == "dense" else self.output
        return ":".join(filter(None, (model.name, self.text_type, self.instruct, output))), dimensions


@dataclass(frozen=True, slots=True)
class Order:
    """A request for vectors that passed validation. `texts` are as the model sees them (truncated if so set)."""

    account: str
    model: Model
    dimensions: int
    form: Form
    texts: tuple[str, ...]
    digests: tuple[bytes, ...]
    tokens: int

    @property
    def model_name(self) -> str:
        return self.model.name

    @property
    def quota(self) -> Quota:
        return self.model.quota

    @property
    def space(self) -> Space:
        return self.form.space(self.model, self.dimensions)

    @property
    def details(self) -> Mapping[str, object]:
        model = self.model
        return {"limit": model.tokens_per_text, "model": model.name, "allowed": sorted(model.dimensions)}

    def enter(self, books: Books, now: float, *, sound: bool) -> None:
        books.bill(now, self.space, self.digests, self.tokens, sound=sound, yuan=self.yuan)

    @property
    def yuan(self) -> float:
        """The price in real time."""
        return self.tokens / 1000 * self.model.yuan_per_1k_tokens

    def bill_event(self, *, sound: bool, pool: Pool, yuan: float) -> dict[str, object]:
        """What the state file keeps of a purchase: the arguments of `Books.bill` but the time."""
        digests = [digest.hex() for digest in self.digests]
        return {
            "space": list(self.space),
            "digests": digests,
            "tokens": self.tokens,
            "sound": sound,
            "yuan": yuan,
            "pool": pool,
        }


class Provider:
    """One simulated provider; its settings may be replaced at any time, from any thread."""

    def __init__(self, settings: SimulatorSettings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or MachineClock()
        self.calendar = Calendar(self.clock, settings.starts_at or time.time(), settings.seconds_per_second)
        self.books = Books()
        self.state = StateLog(settings.state_file)
        self.renderings = Renderings(settings.rendered_texts_kept)
        self.reset()

    def reset(self) -> None:
        """Books, limits, the numbering of answers and the random draws as at the start; the settings stay."""
        self._limiters: dict[tuple[str, str], Limiter] = {}
        self._answers = 0
        self._started_at = self.clock.now()
        self.draws = random.Random(self.settings.seed)
        self.books.clear()

    def account_of(self, authorization: str | None) -> str:
        """The account of an `Authorization` header. Raises Refused: NO_KEY, WRONG_KEY."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Refused(Reason.NO_KEY)
        if self.settings.any_key:
            return "main"
        account = self.settings.keys.get(key.strip())
        if account is None:
            raise Refused(Reason.WRONG_KEY)
        return account

    def model_named(self, name: str) -> Model:
        """The embedding model offered under `name`. Raises Refused: UNKNOWN_MODEL, UNSUPPORTED_MODEL."""
        if name in self.settings.unsupported_models or self.settings.rerank.model(name) is not None:
            raise Refused(Reason.UNSUPPORTED_MODEL, model=name)
        model = self.settings.model(name)
        if model is None:
            raise Refused(Reason.UNKNOWN_MODEL, model=name)
        return model

    def reranker_named(self, name: str, endpoint: Endpoint) -> RerankModel:
        """The reranker offered under `name` at `endpoint`. Raises Refused: UNKNOWN_MODEL, UNSUPPORTED_MODEL."""
        model = self.settings.rerank.model(name)
        if model is not None and endpoint in model.endpoints:
            return model
        known = model is not None or name in self.settings.unsupported_models or self.settings.model(name) is not None
        raise Refused(Reason.UNSUPPORTED_MODEL if known else Reason.UNKNOWN_MODEL, model=name)

    def order(
        self, account: str, model: Model, dimensions: int | None, texts: Sequence[str], form: Form | None = None
    ) -> Order:
        """The request as the model will do it, its texts entered in the books as sent.

        Raises Refused: BATCH_SIZE, DIMENSION, LENGTH, INSPECTION or what the poison is set to, in that order.
        """
        self.books.listed(len(texts))
        if len(texts) > model.texts_per_request:
            raise Refused(Reason.BATCH_SIZE, limit=model.texts_per_request, given=len(texts))
        dimensions = model.length(dimensions)
        if dimensions not in model.dimensions:
            raise Refused(Reason.DIMENSION, model=model.short_name, allowed=sorted(model.dimensions))
        form = form or Form()
        digests = tuple(text_digest(text) for text in texts)
        self.books.received(form.space(model, dimensions), digests)
        seen, tokens = zip(*(self._measured(model, text) for text in texts), strict=True)
        total = sum(tokens)
        most = self.settings.tokens_per_request
        if most is not None and total > most:
            raise Refused(Reason.LENGTH, limit=most, given=total)
        for text in texts:
            self._inspect(model, text)
        self.books.sized(total)
        return Order(account, model, dimensions, form, seen, digests, total)

    async def admit(self, job: Job, wait_timeout_s: float = 0.0) -> Damage | None:
        """The damage to do to the answer, or None, after the latency of the answer has passed.

        `wait_timeout_s`: how long to queue rather than refuse for growth (`X-DashScope-Wait-Timeout`).
        Raises Refused: a limit, or an error of the fault plan.
        """
        limit = await self._limit_hit(job, wait_timeout_s)
        if limit is not None:
            self.books.throttle(limit)
            raise Refused(REASON_OF_LIMIT[limit], **job.details)
        self._answers += 1
        fault = fault_of(self.settings.faults, self._answers, self.clock.now() - self._started_at)
        if fault is not None:
            self.books.fault(fault)
        await self._take_time()
        if isinstance(fault, Reason):
            raise Refused(fault, **{"method": "POST", "given": 99_999, "what": "as planned.", **job.details})
        return fault

    def bill(self, job: Job, fault: Fault | None) -> None:
        """Enter the answer to `job` in the books."""
        sound = fault is None or fault in LEGAL_DAMAGE
        job.enter(self.books, self.clock.now(), sound=sound)
        if isinstance(job, Order):
            self.state.write({"bill": job.bill_event(sound=sound, pool="realtime", yuan=job.yuan)})

    async def refuse(self, reason: Reason) -> None:
        """Enter a refusal in the books and let its time pass."""
        self.books.refuse(self.clock.now(), reason)
        if self.settings.latency.refusal_s:
            await self.clock.sleep(self.settings.latency.refusal_s)

    def seen(self, model: Model, text: str) -> str:
        """`text` as the model sees it, if it did not refuse it."""
        # No token has less than one byte, so that most texts need not be counted again.
        return self._measured(model, text)[0] if len(text.encode()) >= model.tokens_per_text else text

    def _measured(self, model: Model, text: str) -> tuple[str, int]:
        """The text as the model sees it, and what it bills for it."""
        settings = self.settings
        if not text.strip():
            raise Refused(Reason.LENGTH, limit=model.tokens_per_text, given=0)
        # Whether the end mark counts towards the limit is not documented; the strict reading is simulated.
        tokens = bpe_tokens(text) + model.end_tokens
        if tokens > model.tokens_per_text:
            if settings.over_long == "refuse":
                raise Refused(Reason.LENGTH, limit=model.tokens_per_text, given=tokens)
            text, tokens = truncated(text, model.tokens_per_text - model.end_tokens), model.tokens_per_text
        return text, max(tokens + settings.token_offset, 0)

    def _inspect(self, model: Model, text: str) -> None:
        settings = self.settings
        if any(word in text for word in settings.inspection_words):
            raise Refused(Reason.INSPECTION)
        if settings.is_poisoned(text):
            raise Refused(Reason(settings.poison_as), limit=model.tokens_per_text, given=bpe_tokens(text))

    async def _limit_hit(self, job: Job, wait_timeout_s: float) -> LimitName | None:
        key = job.account, job.model_name
        waits_until = self.clock.now() + wait_timeout_s
        while True:
            limits = self._limits(job.quota)
            limiter = self._limiters.get(key)
            if limiter is None:
                limiter = self._limiters[key] = Limiter(limits)
            elif limiter.limits is not limits:
                limiter.change(limits)
            limit = limiter.decide(self.clock.now(), 1, job.tokens)
            if limit != "growth_per_second" or self.clock.now() >= waits_until:
                return limit
            await self.clock.sleep(_BURST_POLL_S)

    def _limits(self, quota: Quota) -> Limits:
        match quota:
            case "embeddings":
                return self.settings.limits
            case "rerank":
                return self.settings.rerank.limits
            case "iflytek":
                return self.settings.iflytek.limits
            case "openai":
                return self.settings.openai.limits

    async def _take_time(self) -> None:
        latency = self.settings.latency
        seconds = latency.fixed_s + latency.jitter_s * self.draws.uniform(-1, 1)
        if latency.tail_share and self.draws.random() < latency.tail_share:
            seconds += latency.tail_s
        if seconds > 0:
            await self.clock.sleep(seconds)
