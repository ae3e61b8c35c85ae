"""The dispatcher: texts in, durable vectors out, on one event loop.

A sender task takes the next request (retries before new ones), waits for a free slot, the budget and the rate limiter,
and starts a try. A try ends in one of four ways: the vectors are on disk, the request is retried after a wait, it is
split in halves, or it is refused.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from fractions import Fraction
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
from millrace.tasks.embedding.dispatch.usage import Budget, Usage, is_absurdly_more, split_tokens
from millrace.tasks.embedding.providers.client import EmbeddingClient, EmbeddingResponse
from millrace.tasks.embedding.rate_limit.clock import Clock, LoopClock, wait_for_event
from millrace.tasks.embedding.rate_limit.concurrency import ConcurrencyLimit
from millrace.tasks.embedding.rate_limit.limiter import RateLimiter
from millrace.tasks.errors import MillraceError, ProviderUnavailable, RunStopped, TextsRefused, Throttled, Transient
from millrace.tasks.outages import Availability, Outage

OnEnd = Callable[[Request, BaseException | None], None]
"""Called when a request's task has ended, with what it raised (None for a cancelled task)."""


class InFlightRequests:
    """Requests with the task that each of them runs in; one whose task ends is removed."""

    def __init__(self, on_end: OnEnd) -> None:
        self._on_end = on_end
        self._requests: dict[asyncio.Task[None], Request] = {}

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def requests(self) -> Collection[Request]:
        """The requests whose tasks have not ended."""
        return self._requests.values()

    def start(self, request: Request, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` for `request` in a task."""
        task = asyncio.create_task(work)
        self._requests[task] = request
        task.add_done_callback(self._leave)

    def cancel(self) -> None:
        """Cancel every task."""
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
        self._on_end(self._requests.pop(task), None if task.cancelled() else task.exception())


PROBE = Text(b"", "millrace", tokens=8, source="probe")
"""Sent, rarely, to find out whether the provider is up; its vector is discarded. `tokens` is more than it can cost."""


class Dispatcher:
    """Embeds texts and makes their vectors durable. An `async with` block drains it at the end, or closes it on error.

    A request that is not full waits for more texts. It is sent when `flush` is called, or when nothing else is in
    flight and no text was submitted for `retry_policy.linger_s`: a caller that waits for its texts before it submits
    more is slow, never stuck.
    """

    def __init__(
        self,
        client: EmbeddingClient,
        limiter: RateLimiter,
        *,
        texts_per_request: int,
        tokens_per_request: int,
        store: VectorSink,
        max_in_flight: int = 128,
        budget: Budget | None = None,
        usage: Usage | None = None,
        retry_policy: RetryPolicy | None = None,
        on_event: Callable[[Event], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.usage = usage or Usage()
        self._client = client
        self._limiter = limiter
        self._store = store
        self._budget = budget or Budget(None, 0.0)
        self._retry_policy = retry_policy or RetryPolicy()
        self._on_event = on_event or _ignore_event
        self._clock = clock or LoopClock()
        self._health = ProviderHealth(self._retry_policy)
        self._availability = Availability("provider", self._tell_outage, clock=self._clock.now)
        self._concurrency = ConcurrencyLimit(max_in_flight)
        self._queue = RequestQueue(
            texts_per_request=texts_per_request,
            tokens_per_request=tokens_per_request,
            # Enough to pack the next requests, and a bound on memory.
            most_waiting=texts_per_request * (max_in_flight + 2),
        )
        self._in_flight = InFlightRequests(self._try_ended)
        self._backing_off = InFlightRequests(self._backoff_ended)
        self._sender: asyncio.Task[None] | None = None
        self._probe: Request | None = None
        self._waits_for_slot = False
        self._usage_doubted = False
        self._flushing = False
        self._error: BaseException | None = None
        self._changed = asyncio.Event()  # something happened that the sender may be waiting for
        self._idle = asyncio.Event()  # every text is settled or failed
        self._idle.set()

    async def submit(self, item: Text) -> asyncio.Future[Outcome]:
        """A future whose result is None once the text's vector is durable, or the refusal if there will be none.

        Blocks while too many texts are waiting. A text that is already pending is not embedded twice. The future
        raises the error that stops the run, as does `submit` from then on.
        """
        await self._queue.wait_for_room()
        if self._error is not None:
            raise self._error
        future, new = self._queue.add(item)
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
        """Send the waiting texts even if they do not fill a request: no more are coming for now."""
        self._flushing = True
        self._changed.set()

    async def drain(self) -> None:
        """Flush, and return when every text is settled; or raise what stopped the run, once nothing is in flight."""
        self.flush()
        await self._idle.wait()
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Send nothing more, and give requests in flight `retry_policy.grace_s` to be answered and made durable.

        Futures that are not done by then raise RunStopped. Does not close the client or the sink.
        """
        self._stop(RunStopped("embedding was interrupted; the vectors received until then are kept"))
        await self._in_flight.end(grace_s=self._retry_policy.grace_s)

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
        """The current state, for a progress display."""
        waiting_for = "slots" if self._waits_for_slot else self._limiter.waiting_for
        return Activity(self._queue.texts_waiting, len(self._in_flight), len(self._backing_off), waiting_for)

    @property
    def current_rates(self) -> tuple[float, float]:
        """Requests and tokens that may be sent per second now; infinite without a limit."""
        return self._limiter.rates

    # Sending

    async def _send_requests(self) -> None:
        while True:
            request = await self._next_request()
            # The slot comes before the rate limiter, so that a permission to send is used when it is given.
            await self._wait_for_slot(request)
            while self._in_flight and not self._budget.fits(request.tokens):
                # Requests in flight may cost less than is reserved for them.
                await self._wait_for_change()
            reserved = self._budget.reserve(request.tokens)
            sent_at = await self._limiter.acquire(request.tokens)
            self.usage.requests_sent += 1
            self.usage.requests_retried += request.tries > 0
            self._in_flight.start(request, self._try(request, reserved, sent_at))

    async def _next_request(self) -> Request:
        while True:
            request = self._queue.next_request(
                partial=self._flushing, most_tokens=self._limiter.tokens_per_request(self._queue.text_tokens)
            )
            if request is not None:
                return request
            self._flushing = False
            alone = self._queue.texts_waiting > 0 and not self._in_flight and not self._backing_off
            if not await self._wait_for_change(self._retry_policy.linger_s if alone else None):
                self._flushing = True

    async def _wait_for_slot(self, request: Request) -> None:
        while len(self._in_flight) >= self._most_in_flight(request):
            self._waits_for_slot = True
            await self._wait_for_change()
        self._waits_for_slot = False

    def _most_in_flight(self, request: Request) -> int:
        """How many requests may be in flight: a single one, as a probe, while the provider fails all of them."""
        return (
            1
            if self._health.circuit_open
            else self._concurrency.count(self._limiter.requests_per_second(request.tokens))
        )

    async def _wait_for_change(self, timeout_s: float | None = None) -> bool:
        """Whether something happened within `timeout_s` seconds; None waits for as long as it takes."""
        self._changed.clear()
        return await wait_for_event(self._changed, timeout_s, self._clock)

    # One try and its outcome

    async def _try(self, request: Request, reserved: Fraction, sent_at: float) -> None:
        try:
            answer = await self._client.embed([pending.item.text for pending in request.texts])
        except Transient as failure:
            self._budget.settle(reserved, self.usage.record_failure(failure, request.tokens))
            self._after_failure(request, failure, sent_at)
        except TextsRefused as refusal:
            self._budget.settle(reserved, 0)
            self._after_refusal(request, refusal, sent_at)
        except MillraceError as error:
            self._budget.settle(reserved, 0)
            self._stop(error)
        else:
            billed = self._billed_tokens(request, answer)
            self._budget.settle(reserved, billed, counted=request.tokens)
            self._limiter.answered(sent_at=sent_at)
            took_s = self._clock.now() - sent_at
            self._concurrency.record(took_s)
            self.usage.latencies.record(took_s)
            await self._store_vectors(request, answer, billed)

    def _billed_tokens(self, request: Request, answer: EmbeddingResponse) -> int:
        """What the answer was billed, by our own count where the provider reports nothing, or nothing plausible."""
        reported, counted = answer.billed_tokens, request.tokens
        # Where nothing is paid, as with `local`, nothing need be reported.
        free = self.usage.price_cny_per_1k_tokens == 0.0 and reported == 0
        if reported is not None and not is_absurdly_more(reported, counted):
            absurdly_less = not free and is_absurdly_more(counted, reported)
            if not absurdly_less:
                return reported
        if not self._usage_doubted:
            self._usage_doubted = True
            found = "reports no valid usage" if reported is None else f"reports {reported:,} tokens"
            message = f"the provider {found} for texts of {counted:,}; our own count stands for such answers"
            self._on_event(Event("usage", message))
        return counted

    async def _store_vectors(self, request: Request, answer: EmbeddingResponse, billed: int) -> None:
        """Make the vectors durable; only then do their texts count as embedded."""
        if self._health.circuit_open or request is self._probe:
            self._end_outage()
        self._health.answered(self._clock.now())
        self._availability.answered()
        self.usage.tokens_billed += billed
        if request is self._probe:
            self._probe = None
            return
        counted = [pending.item.tokens for pending in request.texts]
        keys = [pending.item.key for pending in request.texts]
        await self._store.append(keys, answer.vectors, split_tokens(billed, counted), answer.sparse)
        self.usage.texts_embedded += len(counted)
        self.usage.tokens_counted += request.tokens
        self.usage.tokens_billed_for_vectors += billed
        for pending in request.texts:
            self._queue.settle(pending, None)

    def _after_failure(self, request: Request, failure: Transient, sent_at: float) -> None:
        now, retry_policy = self._clock.now(), self._retry_policy
        last_tried_at = sent_at if request.failed_at is None else request.failed_at
        request.record_failure(failure, now=now, beside_success=self._health.answered_since(last_tried_at))
        if isinstance(failure, Throttled):
            self._limiter.refused(failure.limit, sent_at=sent_at, tokens=request.tokens)
        stop = self._health.failed(failure, now=now, sent_at=sent_at)
        if stop is not None:
            self._stop(stop)
        if self._error is not None:
            return
        if request is self._probe:
            self._probe = None
        elif len(request.texts) > 1 and retry_policy.blames_texts(request):
            self._split(request, str(failure))
        elif refusal := retry_policy.rejection(request, failure):
            self._refuse(request.texts[0], refusal)
        else:
            self._back_off(request, failure)

    def _back_off(self, request: Request, failure: Transient) -> None:
        if (
            request.tries > self._retry_policy.max_failures_beside_successes
            and not self._queue.texts_waiting
            and self._probe is None
        ):
            # With no other text to try, only a probe can tell a bad text from an outage.
            self._probe = Request([PendingText(PROBE)])
            self._queue.requeue([self._probe], first=True)
        if self._health.circuit_open and isinstance(failure, ProviderUnavailable):
            self._availability.failed(f"{failure}; it is waited for", since=self._health.failing_since)
        wait_s = self._retry_policy.wait_s(request, failure)
        if pause_s := self._health.pause_s(failure):
            self._limiter.pause_until(self._clock.now() + pause_s)
        self._on_event(Event("throttled" if isinstance(failure, Throttled) else "retrying", str(failure), wait_s))
        self._backing_off.start(request, self._clock.sleep(wait_s))

    def _after_refusal(self, request: Request, refusal: TextsRefused, sent_at: float) -> None:
        if self._error is not None or request is self._probe:
            self._probe = None
            return
        stop = self._health.refused(refusal, now=self._clock.now(), sent_at=sent_at)
        if stop is not None:
            self._stop(stop)
            return
        if len(request.texts) > 1:
            self._split(request, str(refusal))
        else:
            self._refuse(request.texts[0], refusal)

    def _split(self, request: Request, why: str) -> None:
        self._queue.requeue(request.halves(), first=True)
        self._changed.set()
        self._on_event(Event("split", f"{len(request.texts)} texts are tried in halves: {why}"))

    def _refuse(self, pending: PendingText, refusal: TextsRefused) -> None:
        self.usage.texts_refused += 1
        self._on_event(Event("refused", f"{pending.item.source}: {refusal}"))
        self._queue.settle(pending, refusal)

    def _tell_outage(self, outage: Outage) -> None:
        self._on_event(Event("outage", outage.message, outage=outage))

    def _end_outage(self) -> None:
        """Retry at once everything that waits for the provider's return."""
        self._limiter.resume()
        self._backing_off.cancel()

    # Ending

    def _try_ended(self, _: Request, error: BaseException | None) -> None:
        # A full disk or a defect: an error that the task did not handle stops the run.
        if error is not None:
            self._stop(error)
        if self._error is not None:
            self._queue.fail_all(self._error, except_in=self._in_flight.requests)
        self._changed.set()
        self._set_idle_when_done()

    def _backoff_ended(self, request: Request, _: BaseException | None) -> None:
        if self._error is None:
            self._queue.requeue([request])
            self._changed.set()

    def _sender_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        """Send nothing more. Requests in flight may still succeed; everything else fails with `error`."""
        if self._error is None:
            self._error = error
            if self._queue:
                self._on_event(Event("stopped", str(error)))
        if self._sender is not None:
            self._sender.cancel()
        self._backing_off.cancel()
        self._queue.fail_all(self._error, except_in=self._in_flight.requests)
        self._set_idle_when_done()

    def _set_idle_when_done(self) -> None:
        if not self._queue and not self._in_flight:
            self._idle.set()


def _ignore_event(event: Event) -> None:
    """The default `on_event`."""
