"""What every endpoint does with a request, whatever its words: read it, let it in, bill it, answer it or refuse it."""

from __future__ import annotations

import re
import time
import uuid
from abc import ABC, abstractmethod
from dataclasses import replace
from http import HTTPStatus
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import orjson

from tests.simulator.faults import USAGE_DAMAGE, Damage
from tests.simulator.provider import Job, Provider
from tests.simulator.refusals import THROTTLES, Reason, Refused
from tests.simulator.wire import Request, Response

HTML_STATUS = {Reason.HTML_502: HTTPStatus.BAD_GATEWAY, Reason.HTML_503: HTTPStatus.SERVICE_UNAVAILABLE}

_TOKENS = re.compile(rb'("[a-z]+_tokens":\s*)\d+')

JobT = TypeVar("JobT", bound=Job)


class Voice(Protocol):
    """How one family of endpoints puts its refusals, and the headers that go with its answers."""

    def refusal(self, refused: Refused, request_id: str) -> Response: ...

    def headers(self, request_id: str, arrived_ms: int) -> dict[str, str]: ...

    def error_in_200(self, request_id: str) -> bytes: ...


class Endpoint(Protocol):
    """What the server asks of whatever is at a path."""

    @property
    def routes(self) -> tuple[str, ...]: ...

    async def answer(self, request: Request) -> Response: ...

    def refusal(self, refused: Refused) -> Response: ...


class Dialect(ABC, Generic[JobT]):
    """One endpoint. A subclass reads requests (`read`) and writes sound answers (`body`)."""

    routes: ClassVar[tuple[str, ...]]
    method: ClassVar[str] = "POST"

    def __init__(self, provider: Provider, voice: Voice) -> None:
        self.provider = provider
        self._voice = voice

    @abstractmethod
    def read(self, request: Request) -> JobT:
        """What is asked for. Checks in the order that the real server is taken to have. Raises Refused."""

    @abstractmethod
    def body(self, job: JobT, damage: Damage | None, request_id: str) -> bytes:
        """The body of the answer. Only damage to its items is done here."""

    async def answer(self, request: Request) -> Response:
        """The answer to `request`, an error answer included; the books know of it when this returns."""
        request_id = str(uuid.uuid4())
        arrived_ms = time.time_ns() // 1_000_000
        try:
            if request.method != self.method:
                raise Refused(Reason.BAD_METHOD, method=request.method)
            job = self.read(request)
            wait_text = request.headers.get("x-dashscope-wait-timeout", "")
            damage = await self.provider.admit(job, float(wait_text) if wait_text.isdecimal() else 0.0)
        except Refused as refused:
            await self.provider.refuse(refused.reason)
            return self.refusal(refused, request_id)
        self.provider.bill(job, damage)
        if damage is Damage.ERROR_IN_200:
            body = self._voice.error_in_200(request_id)
        else:
            body = self.body(job, damage, request_id)
        if damage in USAGE_DAMAGE:
            body = _TOKENS.sub(rb"\g<1>" + USAGE_DAMAGE[damage], body)
        if damage is Damage.TRUNCATED:
            body = body[: len(body) * 2 // 3]
        return Response(HTTPStatus.OK, body, headers=self._voice.headers(request_id, arrived_ms), damage=damage)

    def refusal(self, refused: Refused, request_id: str | None = None) -> Response:
        """The error answer for `refused`."""
        html_status = HTML_STATUS.get(refused.reason)
        if html_status is not None:
            title = f"{html_status.value} {html_status.phrase}"
            page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><center><h1>{title}</h1></center></body>\r\n</html>\r\n"
            return Response(html_status, page.encode(), content_type="text/html")
        response = self._voice.refusal(refused, request_id or str(uuid.uuid4()))
        retry_after_s = self.provider.settings.retry_after_s
        if refused.reason in THROTTLES and retry_after_s is not None:
            response = replace(response, headers={**response.headers, "retry-after": str(retry_after_s)})
        return response


def json_object(request: Request) -> dict[str, Any]:
    """The body of a request. Raises Refused if it is not a JSON object."""
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise Refused(Reason.BAD_BODY)
    return body


def listed_texts(given: object) -> list[str]:
    """`given` as texts: a list of them, or one. Raises Refused."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refused(Reason.NOT_TEXTS)
    return texts
