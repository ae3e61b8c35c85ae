"""The slots of an account as a Prefect global concurrency limit, each held by a lease.

Importing it imports Prefect, which takes seconds; only a run that shares its account does.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import httpx  # the HTTP client of Prefect's own, whose errors it passes on
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.responses import ConcurrencyLimitWithLeaseResponse
from prefect.exceptions import ObjectNotFound

from millrace.flows.wiring.shared_limits import SlotLost, SlotServerUnreachable, sharing
from millrace.tasks.errors import ConfigurationError

_LEASE_S = 60.0  # the shortest that Prefect grants; a slot whose holder was killed expires after it
_LOCKED, _GONE = 423, 410


@contextlib.asynccontextmanager
async def shared_account(name: str, set_share: Callable[[float], None]) -> AsyncIterator[None]:
    """As `sharing`, with the slots of the global concurrency limit `name`."""
    async with get_client() as client, sharing(PrefectSlots(client, name), set_share):
        yield


class PrefectSlots:
    """The slots of one global concurrency limit; implements `ConcurrencySlots`."""

    def __init__(self, client: PrefectClient, name: str) -> None:
        self._client = client
        self._name = name
        self._lease: ConcurrencyLimitWithLeaseResponse | None = None

    async def acquire(self) -> bool:
        """As `ConcurrencySlots.acquire`. A missing limit is an error: Prefect itself would let every process pass."""
        with self._reached():
            try:
                response = await self._client.increment_concurrency_slots_with_lease(
                    names=[self._name], slots=1, mode="concurrency", lease_duration=_LEASE_S
                )
            except httpx.HTTPStatusError as refusal:
                if refusal.response.status_code == _LOCKED:
                    return False
                raise
        lease = ConcurrencyLimitWithLeaseResponse.model_validate(response.json())
        if not lease.limits:
            raise self._missing()
        self._lease = lease
        return True

    async def renew(self) -> int:
        """As `ConcurrencySlots.renew`."""
        if self._lease is None:
            raise SlotLost
        with self._reached():
            try:
                await self._client.renew_concurrency_lease(self._lease.lease_id, _LEASE_S)
                limit = await self._client.read_global_concurrency_limit_by_name(self._name)
            except ObjectNotFound:
                raise self._missing() from None
            except httpx.HTTPStatusError as refusal:
                if refusal.response.status_code != _GONE:
                    raise
                self._lease = None
                raise SlotLost from None
        return limit.active_slots

    async def release(self) -> None:
        """As `ConcurrencySlots.release`."""
        lease, self._lease = self._lease, None
        if lease is not None:
            with self._reached():
                await self._client.release_concurrency_slots_with_lease(lease.lease_id)

    def _missing(self) -> ConfigurationError:
        return ConfigurationError(
            f"limits.shared_as = {self._name!r}: Prefect knows no such global concurrency limit; make it with "
            f"`prefect gcl create {self._name} --limit 8`, where 8 is the most processes that may share the account"
        )

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise SlotServerUnreachable(f"the Prefect API does not answer as it should ({error})") from error
