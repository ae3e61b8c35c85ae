"""Texts in, durable vectors out: packs, paces, sends, retries, splits and pays, on one event loop.

A sender task takes the next request (a retry before a new one), waits for a slot, the budget and the pacing, and starts
a try. A try ends in vectors that are on disk, in a wait and another try, in two halves, or in a refusal.

Requests under way and requests that wait for their next try, each with the task it lives in.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from types import TracebackType
from typing import Any, Self

from millrace.tasks.embedding.dispatch.queue import (
    Activity,
    Event,
    Outcome,
    PendingText,
    Request,
    RequestQueue,
    Text,
    VectorSink,
)
from millrace.tasks.embedding.dispatch.retry_policy import ProviderHealth, RetryPolicy
from millrace.tasks.embedding.dispatch.usage import Budget, Usage, split_tokens
from millrace.tasks.embedding.providers.client import EmbeddingClient, EmbeddingResponse
from millrace.tasks.embedding.rate_limit.clock import Clock, LoopClock, happens
from millrace.tasks.embedding.rate_limit.concurrency import ConcurrencyLimit
from millrace.tasks.embedding.rate_limit.limiter import RateLimiter
from millrace.tasks.errors import MillraceError, RunStopped, TextsRefused, Throttled, Transient

Ended = Callable[[Request, BaseException | None], None]
"""Told when a request's task has ended, with what it raised; a task that was cancelled raised nothing."""


class InFlightRequests:
    """A set of requests that leave it by themselves when their tasks end."""

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._requests: dict[asyncio.Task[None], Request] = {}

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def requests(self) -> Collection[Request]:
        """The requests in it."""
        return self._requests.values()

    def start(self, request: Request, doing: Coroutine[Any, Any, None]) -> None:
        """Begin `doing` for `request`."""
        task = asyncio.create_task(doing)
        self._requests[task] = request
        task.add_done_callback(self._leave)

    def cancel(self) -> None:
        """End every task; each leaves as soon as the loop comes to it."""
        for task in self._requests:
            task.cancel()

    async def end(self, *, grace_s: float) -> None:
        """Wait up to `grace_s` seconds for every task to end by itself, then cancel those that have not."""
        try:
            if self._requests:
                await asyncio.wait(set(self._requests), timeout=grace_s)
        finally:
            tasks = set(self._requests)
            self.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._ended(self._requests.pop(task), None if task.cancelled() else task.exception())


PROBE = Text(b"", "millrace", tokens=8, source="probe")
"""Sent, rarely, to see whether the provider is up; its vector is not kept. `tokens` is more than it can cost."""


class Dispatcher:
    """Buys vectors for texts and makes them durable. Use as `async with`: leaving drains, or after an error closes.

    A request that is not full waits for more texts. It goes when `flush` says that no more come, or when nothing else
    is under way and no text has come for `patience.linger_s`: a caller that waits for its texts before it brings others
    is slow, never stuck.
    """

    def __init__(
        self,
        client: EmbeddingClient,
        pacer: RateLimiter,
        *,
        texts_per_request: int,
        tokens_per_request: int,
        store: VectorSink,
        max_in_flight: int = 128,
        budget: Budget | None = None,
        tally: Usage | None = None,
        patience: RetryPolicy | None = None,
        on_event: Callable[[Event], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.tally = tally or Usage()
        self._client = client
        self._pacer = pacer
        self._store = store
        self._budget = budget or Budget(None, 0.0)
        self._patience = patience or RetryPolicy()
        self._tell = on_event or _tell_nobody
        self._clock = clock or LoopClock()
        self._health = ProviderHealth(self._patience)
        self._slots = ConcurrencyLimit(max_in_flight)
        self._backlog = RequestQueue(
            texts_per_request=texts_per_request,
            tokens_per_request=tokens_per_request,
            # Enough to pack the next requests from, and a bound on what waits in memory.
            most_waiting=texts_per_request * (max_in_flight + 2),
        )
        self._in_flight = InFlightRequests(self._tried)
        self._backing_off = InFlightRequests(self._backed_off)
        self._sender: asyncio.Task[None] | None = None
        self._probe: Request | None = None
        self._waits_for_slot = False
        self._flushing = False
        self._error: BaseException | None = None
        self._changed = asyncio.Event()  # something happened that the sender may wait for
        self._idle = asyncio.Event()  # everything is settled, or failed
        self._idle.set()

    async def submit(self, item: Text) -> asyncio.Future[Outcome]:
        """A future that ends when the text's vector is durable (None) or refused (the refusal, not raised).

        Waits while too many texts wait already. A text that is under way is not bought twice. The future raises what
        stops the run; so does `submit` after that.
        """
        await self._backlog.room()
        if self._error is not None:
            raise self._error
        future, new = self._backlog.add(item)
        if new is not None and not item.text.strip():
            remedy = "leave it out; it says nothing"
            self._refuse(new, TextsRefused("the text is blank", reason="text_empty", remedy=remedy))
        elif new is not None:
            self._idle.clear()
            self._changed.set()
            if self._sender is None:
                self._sender = asyncio.create_task(self._send_requests(), name="embedding-sender")
                self._sender.add_done_callback(self._sender_ended)
        return future

    def flush(self) -> None:
        """No more texts are coming for now: what waits goes, though it fill no request."""
        self._flushing = True
        self._changed.set()

    async def drain(self) -> None:
        """Flush, and return when every text is settled. Raises what stopped the run, once nothing is under way."""
        self.flush()
        await self._idle.wait()
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Send nothing more, and give requests under way `patience.grace_s` to be answered and made durable.

        Futures that are still open then raise RunStopped. Does not close the client or the sink.
        """
        self._stop(RunStopped("embedding was broken off; what was bought until then is kept"))
        await self._in_flight.end(grace_s=self._patience.grace_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.drain()
        finally:
            await self.close()

    @property
    def activity(self) -> Activity:
        """What is going on now, for a display."""
        held_up = "slots" if self._waits_for_slot else self._pacer.waiting_for
        return Activity(self._backlog.texts_waiting, len(self._in_flight), len(self._backing_off), held_up)

    @property
    def ceilings(self) -> tuple[float, float]:
        """Requests and tokens that may go a second now, with what was learned of the limits; infinite without one."""
        return self._pacer.rates

    # Sending

    async def _send_requests(self) -> None:
        while True:
            request = await self._next_request()
            # The slot comes before the pacing, so that leave to send is used at the moment it is given.
            await self._slot(request)
            while self._in_flight and not self._budget.fits(request.tokens):
                # What is under way may cost less than is held for it.
                await self._change()
            held = self._budget.reserve(request.tokens)
            sent_at = await self._pacer.acquire(request.tokens)
            self.tally.requests_sent += 1
            self.tally.requests_retried += request.tries > 0
            self._in_flight.start(request, self._try(request, held, sent_at))

    async def _next_request(self) -> Request:
        while True:
            request = self._backlog.next_request(
                partial=self._flushing, most_tokens=self._pacer.tokens_per_request(self._backlog.text_tokens)
            )
            if request is not None:
                return request
            self._flushing = False
            alone = self._backlog.texts_waiting > 0 and not self._in_flight and not self._backing_off
            if not await self._change(self._patience.linger_s if alone else None):
                self._flushing = True

    async def _slot(self, request: Request) -> None:
        while len(self._in_flight) >= self._most_in_flight(request):
            self._waits_for_slot = True
            await self._change()
        self._waits_for_slot = False

    def _most_in_flight(self, request: Request) -> int:
        """How many requests may be under way: one, as a probe, while the provider fails all of them."""
        return 1 if self._health.circuit_open else self._slots.count(self._pacer.requests_per_second(request.tokens))

    async def _change(self, timeout_s: float | None = None) -> bool:
        """Wait until something happens; False if nothing did for `timeout_s` seconds."""
        self._changed.clear()
        return await happens(self._changed, timeout_s, self._clock)

    # One try and what comes of it

    async def _try(self, request: Request, held: int, sent_at: float) -> None:
        try:
            answer = await self._client.embed([purchase.item.text for purchase in request.purchases])
        except Transient as failure:
            self._budget.settle(held, self.tally.charge(failure, request.tokens))
            self._after_failure(request, failure, sent_at)
        except TextsRefused as refusal:
            self._budget.settle(held, 0)
            self._after_refusal(request, refusal, sent_at)
        except MillraceError as error:
            self._budget.settle(held, 0)
            self._stop(error)
        else:
            self._budget.settle(held, answer.billed_tokens, counted=request.tokens)
            self._pacer.answered(sent_at=sent_at)
            took_s = self._clock.now() - sent_at
            self._slots.took(took_s)
            self.tally.latencies.took(took_s)
            await self._keep(request, answer)

    async def _keep(self, request: Request, answer: EmbeddingResponse) -> None:
        """Make the vectors durable; only then do their texts count as bought."""
        if self._health.circuit_open or request is self._probe:
            self._end_outage()
        self._health.answered(self._clock.now())
        self.tally.tokens_billed += answer.billed_tokens
        if request is self._probe:
            self._probe = None
            return
        counted = [purchase.item.tokens for purchase in request.purchases]
        keys = [purchase.item.key for purchase in request.purchases]
        await self._store.append(keys, answer.vectors, split_tokens(answer.billed_tokens, counted), answer.sparse)
        self.tally.texts_bought += len(counted)
        self.tally.tokens_counted += request.tokens
        self.tally.tokens_of_bought += answer.billed_tokens
        for purchase in request.purchases:
            self._backlog.settle(purchase, None)

    def _after_failure(self, request: Request, failure: Transient, sent_at: float) -> None:
        now, patience = self._clock.now(), self._patience
        last_tried_at = sent_at if request.failed_at is None else request.failed_at
        request.note(failure, now=now, in_vain=self._health.answered_since(last_tried_at))
        if isinstance(failure, Throttled):
            self._pacer.refused(failure.limit, sent_at=sent_at, tokens=request.tokens)
        stop = self._health.failed(failure, now=now, sent_at=sent_at)
        if stop is not None:
            self._stop(stop)
        if self._error is not None:
            return
        if request is self._probe:
            self._probe = None
        elif len(request.purchases) > 1 and patience.suspects(request):
            self._split(request, str(failure))
        elif refusal := patience.verdict(request, failure):
            self._refuse(request.purchases[0], refusal)
        else:
            self._back_off(request, failure)

    def _back_off(self, request: Request, failure: Transient) -> None:
        if (
            request.tries > self._patience.max_failures_beside_successes
            and not self._backlog.texts_waiting
            and self._probe is None
        ):
            # With no other text to try, only a probe can tell a bad text from a bad hour.
            self._probe = Request([PendingText(PROBE)])
            self._backlog.again([self._probe], first=True)
        wait_s = self._patience.wait_s(request, failure)
        if pause_s := self._health.pause_s(failure):
            self._pacer.pause_until(self._clock.now() + pause_s)
        self._tell(Event("throttled" if isinstance(failure, Throttled) else "retrying", str(failure), wait_s))
        self._backing_off.start(request, self._clock.sleep(wait_s))

    def _after_refusal(self, request: Request, refusal: TextsRefused, sent_at: float) -> None:
        if self._error is not None or request is self._probe:
            self._probe = None
            return
        stop = self._health.refused(refusal, now=self._clock.now(), sent_at=sent_at)
        if stop is not None:
            self._stop(stop)
            return
        if len(request.purchases) > 1:
            self._split(request, str(refusal))
        else:
            self._refuse(request.purchases[0], refusal)

    def _split(self, request: Request, why: str) -> None:
        self._backlog.again(request.halves(), first=True)
        self._changed.set()
        self._tell(Event("split", f"{len(request.purchases)} texts are tried in halves: {why}"))

    def _refuse(self, purchase: PendingText, refusal: TextsRefused) -> None:
        self.tally.texts_refused += 1
        self._tell(Event("refused", f"{purchase.item.source}: {refusal}"))
        self._backlog.settle(purchase, refusal)

    def _end_outage(self) -> None:
        """Let everything that waits for the provider's return go on at once."""
        self._pacer.resume()
        self._backing_off.cancel()

    # Ends

    def _tried(self, _: Request, error: BaseException | None) -> None:
        # A budget that is used up, a full disk, a defect: whatever a task did not handle itself stops the run.
        if error is not None:
            self._stop(error)
        if self._error is not None:
            self._backlog.fail(self._error, but=self._in_flight.requests)
        self._changed.set()
        self._rest()

    def _backed_off(self, request: Request, _: BaseException | None) -> None:
        if self._error is None:
            self._backlog.again([request])
            self._changed.set()

    def _sender_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        """Send nothing more. Requests under way may still end well; everything else fails with `error`."""
        if self._error is None:
            self._error = error
            if self._backlog:
                self._tell(Event("stopped", str(error)))
        if self._sender is not None:
            self._sender.cancel()
        self._backing_off.cancel()
        self._backlog.fail(self._error, but=self._in_flight.requests)
        self._rest()

    def _rest(self) -> None:
        if not self._backlog and not self._in_flight:
            self._idle.set()


def _tell_nobody(event: Event) -> None:
    """What `on_event` is when nobody listens."""
