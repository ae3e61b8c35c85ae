"""Texts in, durable vectors out: packs, paces, sends, retries, splits and pays, on one event loop.

A sender task takes the next request (a retry before a new one), waits for a slot, the budget and the pacing, and starts
a try. A try ends in vectors that are on disk, in a wait and another try, in two halves, or in a refusal.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice
from types import TracebackType
from typing import Self

from tasks.embedding.bill import Budget, Tally, apportion
from tasks.embedding.client import AnswerLost, AnswerUnproven, EmbeddingClient, EmbeddingResponse
from tasks.embedding.pacing import Clock, LoopClock, Pacer
from tasks.embedding.packing import fitting_texts
from tasks.embedding.patience import Health, Patience
from tasks.embedding.purchases import Activity, Event, Outcome, Purchase, Request, TextItem, VectorSink
from tasks.errors import MillraceError, ResponseUnproven, RunStopped, TextsRefused, Throttled, Transient


class Dispatcher:
    """Buys vectors for texts and makes them durable. Use as `async with`: leaving drains, or after an error closes.

    A request that is not full waits for more texts. It goes when `flush` says that no more come, or when nothing else
    is under way and no text has come for `patience.linger_s`: a caller that waits for its texts before it brings others
    is slow, never stuck.
    """

    def __init__(
        self,
        client: EmbeddingClient,
        pacer: Pacer,
        *,
        texts_per_request: int,
        tokens_per_request: int,
        store: VectorSink,
        max_in_flight: int = 64,
        budget: Budget | None = None,
        tally: Tally | None = None,
        patience: Patience | None = None,
        on_event: Callable[[Event], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.tally = tally or Tally()
        self._client = client
        self._pacer = pacer
        self._store = store
        self._budget = budget or Budget(None, 0.0)
        self._patience = patience or Patience()
        self._tell = on_event or _tell_nobody
        self._clock = clock or LoopClock()
        self._health = Health(self._patience)
        self._texts_per_request = texts_per_request
        self._tokens_per_request = tokens_per_request
        self._max_in_flight = max_in_flight
        # Enough to pack the next requests from, and a bound on what waits in memory.
        self._most_waiting = texts_per_request * (max_in_flight + 2)

        self._purchases: dict[bytes, Purchase] = {}  # everything not settled
        self._waiting: deque[Purchase] = deque()  # in no request yet
        self._ready: deque[Request] = deque()  # retries and halves, to go before what waits
        self._in_flight: dict[asyncio.Task[None], Request] = {}
        self._backing_off: dict[asyncio.Task[None], Request] = {}
        self._sender: asyncio.Task[None] | None = None
        self._flushing = False
        self._error: BaseException | None = None
        self._changed = asyncio.Event()  # something happened that the sender may wait for
        self._room = asyncio.Event()  # fewer texts wait
        self._idle = asyncio.Event()  # everything is settled, or failed
        self._idle.set()

    async def submit(self, item: TextItem) -> asyncio.Future[Outcome]:
        """A future that ends when the text's vector is durable (None) or refused (the refusal, not raised).

        Waits while too many texts wait already. A text that is under way is not bought twice. The future raises what
        stops the run; so does `submit` after that.
        """
        while self._error is None and len(self._waiting) >= self._most_waiting:
            self._room.clear()
            await self._room.wait()
        if self._error is not None:
            raise self._error
        purchase = self._purchases.get(item.key)
        if purchase is not None:
            return purchase.promise()
        purchase = Purchase(item)
        future = purchase.promise()
        self._purchases[item.key] = purchase
        self._idle.clear()
        if item.text.strip():
            self._waiting.append(purchase)
            self._changed.set()
            if self._sender is None:
                self._sender = asyncio.create_task(self._send_requests(), name="embedding-sender")
                self._sender.add_done_callback(self._stop_if_failed)
        else:
            remedy = "leave it out; it says nothing"
            self._refuse(purchase, TextsRefused("the text is blank", reason="text_empty", remedy=remedy))
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
        try:
            if self._in_flight:
                await asyncio.wait(set(self._in_flight), timeout=self._patience.grace_s)
        finally:
            tasks = set(self._in_flight)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

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
        held_up = "slots" if len(self._in_flight) >= self._max_in_flight else self._pacer.waiting_for
        return Activity(len(self._waiting), len(self._in_flight), len(self._backing_off), held_up)

    # Sending

    async def _send_requests(self) -> None:
        while True:
            request = await self._next_request()
            # The slot comes before the pacing, so that leave to send is used at the moment it is given.
            while len(self._in_flight) >= self._max_in_flight:
                await self._change()
            while self._in_flight and not self._budget.fits(request.tokens):
                # What is under way may cost less than is held for it.
                await self._change()
            held = self._budget.reserve(request.tokens)
            sent_at = await self._pacer.acquire(request.tokens)
            self.tally.requests_sent += 1
            self.tally.requests_retried += request.tries > 0
            task = asyncio.create_task(self._try(request, held, sent_at))
            self._in_flight[task] = request
            task.add_done_callback(self._tried)

    async def _next_request(self) -> Request:
        while True:
            if self._ready:
                return self._ready.popleft()
            texts, full = fitting_texts(
                (purchase.item.tokens for purchase in islice(self._waiting, self._texts_per_request + 1)),
                texts_per_request=self._texts_per_request,
                tokens_per_request=self._tokens_per_request,
            )
            if full or (texts and self._flushing):
                self._room.set()
                return Request([self._waiting.popleft() for _ in range(texts)])
            self._flushing = False
            alone = texts > 0 and not self._in_flight and not self._backing_off
            if not await self._change(self._patience.linger_s if alone else None):
                self._flushing = True

    async def _change(self, timeout_s: float | None = None) -> bool:
        """Wait until something happens; False if nothing did for `timeout_s` seconds."""
        self._changed.clear()
        if timeout_s is None:
            return await self._changed.wait()
        change, timeout = (
            asyncio.ensure_future(waiting) for waiting in (self._changed.wait(), self._clock.sleep(timeout_s))
        )
        try:
            await asyncio.wait((change, timeout), return_when=asyncio.FIRST_COMPLETED)
            return change.done()
        finally:
            change.cancel()
            timeout.cancel()

    # One try and what comes of it

    async def _try(self, request: Request, held: int, sent_at: float) -> None:
        billed = 0
        try:
            answer = await self._client.embed([purchase.item.text for purchase in request.purchases])
            billed = answer.billed_tokens
            self._budget.settle(held, billed, counted=request.tokens)
        except Transient as failure:
            self._budget.settle(held, self._charge(request, failure))
            self._after_failure(request, failure, sent_at)
        except TextsRefused as refusal:
            self._budget.settle(held, 0)
            self._after_refusal(request, refusal)
        except MillraceError as error:
            self._budget.settle(held, 0)
            self._stop(error)
        else:
            await self._keep(request, answer)

    async def _keep(self, request: Request, answer: EmbeddingResponse) -> None:
        """Make the vectors durable; only then do their texts count as bought."""
        if self._health.in_outage:
            self._end_outage()
        self._health.answered(self._clock.now())
        counted = [purchase.item.tokens for purchase in request.purchases]
        self.tally.tokens_billed += answer.billed_tokens
        keys = [purchase.item.key for purchase in request.purchases]
        await self._store.append(keys, answer.vectors, apportion(answer.billed_tokens, counted))
        self.tally.texts_bought += len(counted)
        self.tally.tokens_counted += request.tokens
        for purchase in request.purchases:
            del self._purchases[purchase.item.key]
            purchase.settle(None)

    def _charge(self, request: Request, failure: Transient) -> int:
        """Count a failure; the tokens that it cost, or may have cost."""
        tally = self.tally
        match failure:
            case Throttled():
                tally.throttled_by[failure.limit] += 1
                return 0
            case AnswerUnproven():
                tally.unproven += 1
                if failure.billed_tokens is not None:
                    tally.tokens_billed += failure.billed_tokens
                    return failure.billed_tokens
            case AnswerLost():
                tally.unavailable += 1
            case _:
                tally.unavailable += 1
                return 0
        tally.tokens_in_doubt += request.tokens
        return request.tokens

    def _after_failure(self, request: Request, failure: Transient, sent_at: float) -> None:
        now = self._clock.now()
        request.tries += 1
        request.unproven += isinstance(failure, ResponseUnproven)
        request.in_vain += self._health.answered_since(sent_at)
        if isinstance(failure, Throttled):
            self._pacer.slow_down(failure.limit, sent_at=sent_at)
        stop = self._health.failed(failure, now=now, sent_at=sent_at)
        if stop is not None:
            self._stop(stop)
        if self._error is not None:
            return
        patience = self._patience
        if request.unproven >= patience.unproven_tries or request.in_vain >= patience.tries_in_vain:
            # Either the texts are the cause, and one of them is found by halves; or the request is too large to pass.
            if len(request.purchases) > 1:
                self._split(request, str(failure))
                return
            if not isinstance(failure, Throttled):
                remedy = "run again later; if it fails again, look at the text"
                reason = "answer_unproven" if isinstance(failure, ResponseUnproven) else "provider_fails_on_text"
                self._refuse(request.purchases[0], TextsRefused(str(failure), reason=reason, remedy=remedy))
                return
        wait_s = max(patience.backoff_s(request.tries), failure.retry_after_s or 0.0)
        pause_s = self._health.pause_s()
        if isinstance(failure, Throttled):
            pause_s = max(pause_s, failure.retry_after_s or 0.0)
        if pause_s:
            self._pacer.pause_until(now + pause_s)
        self._tell(Event("throttled" if isinstance(failure, Throttled) else "retrying", str(failure), wait_s))
        task = asyncio.create_task(self._clock.sleep(wait_s))
        self._backing_off[task] = request
        task.add_done_callback(self._backed_off)

    def _after_refusal(self, request: Request, refusal: TextsRefused) -> None:
        if self._error is not None:
            return
        if refusal.reason == "refused_by_provider":
            # A refusal that names no text may mean every request; then each text would be rejected for nothing.
            stop = self._health.useless(str(refusal), unless_answered=True)
            if stop is not None:
                self._stop(stop)
                return
        if len(request.purchases) > 1:
            self._split(request, str(refusal))
        else:
            self._refuse(request.purchases[0], refusal)

    def _split(self, request: Request, why: str) -> None:
        self._ready.extendleft(reversed(request.halves()))
        self._changed.set()
        self._tell(Event("split", f"{len(request.purchases)} texts are tried in halves: {why}"))

    def _refuse(self, purchase: Purchase, refusal: TextsRefused) -> None:
        del self._purchases[purchase.item.key]
        self.tally.texts_refused += 1
        self._tell(Event("refused", f"{purchase.item.source}: {refusal}"))
        purchase.settle(refusal)
        self._settled()

    def _end_outage(self) -> None:
        """Let everything that waits for the provider's return go on at once."""
        self._pacer.resume()
        for task in self._backing_off:
            task.cancel()

    # Ends

    def _tried(self, task: asyncio.Task[None]) -> None:
        request = self._in_flight.pop(task)
        self._stop_if_failed(task)
        if self._error is not None:
            self._fail([purchase.item.key for purchase in request.purchases])
        self._changed.set()
        self._settled()

    def _backed_off(self, task: asyncio.Task[None]) -> None:
        request = self._backing_off.pop(task)
        if self._error is None:
            self._ready.append(request)
            self._changed.set()

    def _stop_if_failed(self, task: asyncio.Task[None]) -> None:
        """A budget that is used up, a full disk, a defect: whatever a task did not handle itself stops the run."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        """Send nothing more. Requests under way may still end well; everything else fails with `error`."""
        if self._error is None:
            self._error = error
            self._tell(Event("stopped", str(error)))
        if self._sender is not None:
            self._sender.cancel()
        for task in self._backing_off:
            task.cancel()
        self._waiting.clear()
        self._ready.clear()
        under_way = {purchase.item.key for request in self._in_flight.values() for purchase in request.purchases}
        self._fail([key for key in self._purchases if key not in under_way])
        self._room.set()
        self._settled()

    def _fail(self, keys: list[bytes]) -> None:
        assert self._error is not None
        for key in keys:
            purchase = self._purchases.pop(key, None)
            if purchase is not None:
                purchase.fail(self._error)

    def _settled(self) -> None:
        if not self._purchases and not self._in_flight:
            self._idle.set()


def _tell_nobody(event: Event) -> None:
    """What `on_event` is when nobody listens."""
