"""A dispatcher with its state in the lake: learned limits, usage, and the share of a shared account.

While it is open, usage and limits are written every few seconds, so that they survive when the run is killed.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial

from millrace.configs.settings import Settings
from millrace.flows.wiring import components
from millrace.flows.wiring.components import Model, Spending
from millrace.flows.wiring.late_bills import save_bill
from millrace.tasks.embedding import Dispatcher, Event, LearnedLimits, RateLimiter, VectorSink, endpoint_url
from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Lake, RunUsage

_log = logging.getLogger(__name__)

_WRITE_EVERY_S = 10.0


@contextlib.asynccontextmanager
async def open_embedder(
    settings: Settings,
    model: Model,
    lake: Lake,
    store: VectorSink,
    *,
    run: str,
    query: bool = False,
    on_event: Callable[[Event], None] | None = None,
    spending: Spending | None = None,
) -> AsyncIterator[Dispatcher]:
    """The dispatcher that embeds documents, or queries, for `store` in `run`; closed at the end of the block.

    It goes on with `spending`, where there was something before it.

    Raises `ConfigurationError` when the key or the account's shared limit is missing.
    """
    account = account_of(settings, model)
    limiter = components.open_rate_limiter(model, LearnedLimits.from_values(lake.limits.read(account)))
    async with contextlib.AsyncExitStack() as stack:
        client = components.open_client(settings, model, query=query)
        stack.push_async_callback(client.close)
        if settings.limits.shared_as:
            components.check_prefect(settings)
            from millrace.flows.wiring.prefect_slots import shared_account

            await stack.enter_async_context(shared_account(settings.limits.shared_as, limiter.set_share))
        dispatcher = components.open_dispatcher(
            settings, model, client, store, limiter=limiter, on_event=on_event, spending=spending
        )
        writer = UsageWriter(
            lake, RunUsage(run, settings.milvus.collection, model.spec.name), account, dispatcher, limiter
        )
        await stack.enter_async_context(writer.written())
        stack.push_async_callback(dispatcher.close)
        yield dispatcher


def account_of(settings: Settings, model: Model) -> str:
    """The name of the account and model in the lake's list of learned limits."""
    return f"{endpoint_url(model.spec, settings.embedding.base_url)} {model.spec.name}"


class UsageWriter:
    """Writes the usage of a dispatcher, and the limits that were learned, to the lake."""

    def __init__(self, lake: Lake, usage: RunUsage, account: str, dispatcher: Dispatcher, limiter: RateLimiter) -> None:
        self._lake = lake
        self._usage = usage
        self._account = account
        self._dispatcher = dispatcher
        self._limiter = limiter

    @contextlib.asynccontextmanager
    async def written(self) -> AsyncIterator[None]:
        """Write every few seconds, and once more at the end.

        What the disk refuses is tried again, since it may have room then. Raises LakeError as `save_bill` at the end.
        """
        over = asyncio.Event()
        writing = asyncio.create_task(self._write_until(over), name="usage")
        try:
            yield
        finally:
            over.set()
            await writing

    async def _write_until(self, over: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), _WRITE_EVERY_S)
            if over.is_set():
                break
            try:
                await asyncio.to_thread(self._write, self._lake.usage.save, *self._state())
            except LakeError as error:
                _log.warning("usage is not written for now: %s", error)
        await asyncio.to_thread(self._write, partial(save_bill, self._lake), *self._state())

    def _state(self) -> tuple[RunUsage, LearnedLimits]:
        sent = self._dispatcher.usage
        usage = RunUsage(
            run=self._usage.run,
            collection=self._usage.collection,
            model=self._usage.model,
            requests=sent.requests_sent,
            tokens_counted=sent.tokens_counted,
            tokens_billed=sent.tokens_billed,
            tokens_in_doubt=sent.tokens_in_doubt,
            cost_cny=sent.cost_cny,
            batch_tokens_billed=sent.batch_tokens_billed,
            batch_saved_cny=sent.batch_saved_cny,
            updated=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return usage, self._limiter.learned

    def _write(self, save: Callable[[RunUsage], object], usage: RunUsage, learned: LearnedLimits) -> None:
        if usage.requests or usage.tokens_billed:
            save(usage)
            self._lake.limits.save(self._account, {name: v for name, v in learned.as_values().items() if v})
