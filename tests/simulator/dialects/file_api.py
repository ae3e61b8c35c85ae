"""What the endpoints of files and of batches share: the key, their rates, the requests that fail, and refusals.

The bodies of their refusals are not public, but for the purpose of an upload and the two of its capacity: they are put
in OpenAI's words. What holds an answer up is done in threads, so that the server goes on.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import ClassVar

import orjson

from tests.simulator.batch.refusal import ApiRefusal
from tests.simulator.batch.settings import Lost
from tests.simulator.batch.store import Store
from tests.simulator.dialects.compatible import PREFIXES
from tests.simulator.dialects.compatible_errors import CompatibleVoice
from tests.simulator.faults import Damage
from tests.simulator.limits import Limiter, Limits
from tests.simulator.refusals import Reason, Refused
from tests.simulator.wire import Request, Response

Handler = Callable[[str, Request], Response]
_LOST = {"408": Reason.REQUEST_TIMEOUT, "500": Reason.INTERNAL_ERROR, "504": Reason.GATEWAY_TIMEOUT}


class FileApi(ABC):
    """Endpoints of one resource. A subclass names its operations and answers them."""

    paths: ClassVar[tuple[str, ...]]

    def __init__(self, store: Store) -> None:
        self.store = store
        self._voice = CompatibleVoice()
        self._limiters: dict[tuple[str, str], Limiter] = {}

    @property
    def routes(self) -> tuple[str, ...]:
        return tuple(prefix + path for prefix in PREFIXES for path in self.paths)

    @abstractmethod
    def operations(self) -> Mapping[tuple[str, str], tuple[str, Handler]]:
        """Method and path -> the name of the operation and what answers it, given account and request."""

    @abstractmethod
    def limits(self, operation: str) -> tuple[str, Limits]:
        """The name of what limits `operation`, and how."""

    @abstractmethod
    def failures(self) -> Mapping[str, int]:
        """So many requests of an operation fail."""

    async def answer(self, request: Request) -> Response:
        """The answer to `request`, an error answer included."""
        request_id, arrived_ms = str(uuid.uuid4()), time.time_ns() // 1_000_000
        provider = self.store.provider
        path = next(request.route.removeprefix(prefix) for prefix in PREFIXES[::-1] if request.route.startswith(prefix))
        try:
            found = self.operations().get((request.method, path))
            if found is None:
                raise Refused(Reason.BAD_METHOD, method=request.method)
            operation, handler = found
            account = provider.account_of(request.headers.get("authorization"))
            self._admit(account, operation)
            response = await asyncio.to_thread(handler, account, request)
        except Refused as refused:
            await provider.refuse(refused.reason)
            return self._voice.refusal(refused, request_id)
        except ApiRefusal as refused:
            self.store.counts.refused[f"{refused.status} {request.method} {request.route}"] += 1
            return self._refusal(refused, request_id)
        headers = self._voice.headers(request_id, arrived_ms)
        return Response(response.status, response.body, headers=headers, damage=response.damage, chunks=response.chunks)

    def refusal(self, refused: Refused) -> Response:
        """The error answer for `refused`."""
        return self._voice.refusal(refused, str(uuid.uuid4()))

    def lost(self, knob: str, lost: Lost, times: int | None, response: Response) -> Response:
        """`response`, or what comes instead of it, while that knob is played."""
        if lost == "none" or not self.store.played.plays(knob, times):
            return response
        if lost == "reset":
            return Response(HTTPStatus.OK, b"", damage=Damage.DROP)
        return self.refusal(Refused(_LOST[lost]))

    def _admit(self, account: str, operation: str) -> None:
        name, limits = self.limits(operation)
        limiter = self._limiters.setdefault((account, name), Limiter(limits))
        if limiter.limits != limits:
            limiter.change(limits)
        limit = limiter.decide(self.store.now, 1, 0)
        if limit is not None:
            self.store.provider.books.throttle(limit)
            raise Refused(Reason.LIMIT_REQUESTS)
        times = self.failures().get(operation, 0)
        if times and self.store.played.plays(f"{type(self).__name__}.{operation}", times):
            raise Refused(Reason.INTERNAL_ERROR)

    def _refusal(self, refused: ApiRefusal, request_id: str) -> Response:
        error = {"message": refused.message, "type": "invalid_request_error", "param": refused.param, "code": None}
        return Response(refused.status, orjson.dumps({"error": error}), headers={"x-request-id": request_id})


def json_response(content: object) -> Response:
    """`content` as the body of a 200."""
    return Response(HTTPStatus.OK, orjson.dumps(content))


def page_limit(text: str, default: int, most: int) -> int:
    """The length of a page that a query asks for. Raises ApiRefusal."""
    limit = int(text) if text.isdecimal() else default if not text else 0
    if not 1 <= limit <= most:
        raise ApiRefusal(400, f"limit must be from 1 to {most}.", "limit")
    return limit
