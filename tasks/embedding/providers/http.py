"""One HTTP endpoint of a provider: JSON in, bytes out, every failure translated to our errors. One try per request.

The openai SDK provides connections, headers and exceptions. Its retries are off, because they would bypass the rate
limiter; its parsing is not used, because it costs ten times as much as our validation.
"""

import asyncio
import logging
import math
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import orjson

from millrace.tasks.embedding.providers.client import READ_TIMEOUT_S, BilledInvalidResponse, Unreachable
from millrace.tasks.embedding.providers.error_rules import (
    DASHSCOPE_RULES,
    Rule,
    error_for,
    lost_answer,
    quoted,
    read_refusal,
)
from millrace.tasks.errors import ConfigurationError, MillraceError
from millrace.tasks.secrets import remember

CONNECT_TIMEOUT_S = 10.0
# Longer than the gateway keeps a connection costs a retry; shorter costs a handshake after every pause.
KEEPALIVE_S = 45.0

_CONNECTIONS_PER_POOL = 8
"""httpcore checks every idle connection of its pool, with a system call each, at each request and each answer."""

# Failures before the request was sent: it cannot have been billed.
_NOT_SENT = (
    *(httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout),
    *(httpx2.ProxyError, httpx2.UnsupportedProtocol),
)

_REFUSAL_BYTES = 64 << 10
"""As much of an error's body is read; the rest says nothing more."""

_max_bytes: ContextVar[int] = ContextVar("max_bytes")
"""Bound on the answer of the request that this task sends; 0 for one that is read as a stream."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with a status below 400 whose body is not validated yet."""

    status: int
    body: bytes
    request_id: str


class _TooLong(Exception):
    """An answer is longer than the bound; the message says which."""


class _BoundedClient(httpx2.AsyncClient):
    """Reads and decompresses answers itself, up to a bound: httpx makes a gigabyte of a megabyte of gzip."""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """The answer with its whole body, decompressed. Raises _TooLong, and what httpx raises."""
        if not _max_bytes.get():  # who asked reads it piece by piece
            return await super().send(request, **options)
        response = await super().send(request, **{**options, "stream": True})
        try:
            body = await _read(response, _max_bytes.get())
        except zlib.error as error:
            raise httpx2.DecodingError(str(error)) from None
        finally:
            await response.aclose()
        headers = [(name, value) for name, value in response.headers.raw if name.lower() not in _BODY_HEADERS]
        return httpx2.Response(response.status_code, headers=headers, content=body, request=request)


_BODY_HEADERS = frozenset([b"content-encoding", b"content-length", b"transfer-encoding"])


async def _read(response: httpx2.Response, max_bytes: int) -> bytes:
    """The body, decompressed; of an error only its beginning."""
    refused = response.status_code >= 400
    bound = min(max_bytes, _REFUSAL_BYTES) if refused else max_bytes
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
        message = f"it is encoded as {quoted(encoding, 40)}, which was not asked for"
        raise httpx2.DecodingError(message)
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding not in {"", "identity"} else None
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk if inflate is None else inflate.decompress(chunk, bound + 1 - len(body))
        if len(body) > bound:
            if refused:
                return bytes(body[:bound])
            message = f"it is longer than {bound:,} bytes, and no answer to this request can be"
            raise _TooLong(message)
    if inflate is not None and not inflate.eof and not refused:
        message = "its compressed body ends too early"
        raise httpx2.DecodingError(message)
    return bytes(body)


@dataclass(slots=True)
class _Pool:
    """A client with its own connections."""

    client: openai.AsyncOpenAI
    in_flight: int = 0


class Endpoint:
    """The URL `url` with one key. `target` names it in messages ("text-embedding-v4 at https://...").

    `url_setting` and `key_setting` are the settings of address and key, for messages; `rules` give the meaning of the
    provider's refusals (see `error_rules`).
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str,
        target: str,
        url_setting: str = "embedding.base_url",
        key_setting: str = "embedding.api_key_env",
        rules: Sequence[Rule] = DASHSCOPE_RULES,
        timeout_s: float = READ_TIMEOUT_S,
        max_connections: int = 100,
    ) -> None:
        """Does not connect yet; `api_key` "" sends none. Raises ConfigurationError for a key that is not ASCII."""
        if not api_key.isascii():
            message = f"{target}: the key in the variable that {key_setting} names has characters that no key has"
            raise ConfigurationError(message)
        remember(api_key)
        if api_key.strip():
            _warn_of_plain_http(url)
        self.target = target
        self._url = url
        self._url_setting = url_setting
        self._rules = rules
        self._timeout_s = timeout_s
        # Per request, because the SDK ignores it among the client's default headers.
        self._options = openai.RequestOptions(headers={} if api_key.strip() else {"Authorization": openai.omit})
        self._api_key = api_key.strip() or "none"  # the SDK requires one
        self._most_pools = -(-max_connections // _CONNECTIONS_PER_POOL)
        # A proxy from the environment cannot reach servers on this machine.
        self._trust_env = not is_this_machine(urlsplit(url).hostname or "")
        self._tls = httpx2.create_ssl_context()  # by SSL_CERT_FILE and SSL_CERT_DIR, on this machine too
        self._pools = [self._new_pool()]

    def _new_pool(self) -> "_Pool":
        client = openai.AsyncOpenAI(
            api_key=self._api_key,
            base_url=self._url,
            max_retries=0,
            http_client=_BoundedClient(
                # Less than the deadline in `post`, so that a request that was not sent is known as such.
                timeout=httpx2.Timeout(self._timeout_s, connect=min(CONNECT_TIMEOUT_S, 0.8 * self._timeout_s)),
                headers={"accept-encoding": "gzip"},
                limits=httpx2.Limits(
                    max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE_S
                ),
                verify=self._tls,
                trust_env=self._trust_env,
            ),
        )
        return _Pool(client)

    def _pool(self) -> "_Pool":
        """The first pool with a free connection, so that few are open; else a new pool, or the least busy one."""
        for pool in self._pools:
            if pool.in_flight < _CONNECTIONS_PER_POOL:
                return pool
        if len(self._pools) < self._most_pools:
            self._pools.append(self._new_pool())
            return self._pools[-1]
        return min(self._pools, key=lambda pool: pool.in_flight)

    async def post(self, body: Mapping[str, object], *, max_bytes: int) -> Answer:
        """The answer to one request, tried once, complete within `timeout_s` and of at most `max_bytes`.

        Raises as `EmbeddingClient.embed`.
        """
        async with self.asked(max_bytes=max_bytes, timeout_s=self._timeout_s) as client:
            response = await client.post(self._url, body=dict(body), cast_to=httpx2.Response, options=self._options)
        return Answer(response.status_code, response.content, quoted(response.headers.get("x-request-id", ""), 100))

    @asynccontextmanager
    async def asked(self, *, max_bytes: int, timeout_s: float | None) -> AsyncIterator[openai.AsyncOpenAI]:
        """A client of the SDK to ask once with; the block is over within `timeout_s`, and fails with our errors.

        An answer may have `max_bytes` bytes; with 0 it is read as a stream. Raises as `EmbeddingClient.embed`.
        """
        pool = self._pool()
        pool.in_flight += 1
        _max_bytes.set(max_bytes)
        try:
            async with asyncio.timeout(timeout_s):
                yield pool.client
        except TimeoutError:
            raise self._too_late() from None
        except _TooLong as error:
            message = f"{self.target}: the answer cannot be used: {error}"
            raise BilledInvalidResponse(message, billed_tokens=None) from None
        except openai.APIStatusError as error:
            raise self._refused(error) from None
        except openai.APIConnectionError as error:
            raise self._disconnected(error) from None
        except httpx2.TransportError as error:  # while a stream is read, the SDK is not in between
            raise lost_answer(self.target, quoted(f"{type(error).__name__}: {error}".rstrip(": "))) from None
        finally:
            pool.in_flight -= 1

    def refusal(self, answer: Answer, body: Mapping[str, object]) -> MillraceError:
        """The error for an answer with a good status whose decoded `body` is an error."""
        refusal = read_refusal(answer.status, dict(body), answer.request_id)
        return error_for(refusal, target=self.target, rules=self._rules)

    async def close(self) -> None:
        """Close every connection; requests in flight fail."""
        for pool in self._pools:
            await pool.client.close()

    def _refused(self, error: openai.APIStatusError) -> MillraceError:
        # Not `error.body`: there the SDK keeps only the inner object of the body, without the request id.
        response = error.response
        body: object = response.content.decode("utf-8", "replace")
        with suppress(orjson.JSONDecodeError):
            body = orjson.loads(response.content)
        refusal = read_refusal(response.status_code, body, quoted(response.headers.get("x-request-id", ""), 100))
        wait_s = retry_after_s(response.headers)
        return error_for(refusal, target=self.target, retry_after_s=wait_s, rules=self._rules)

    def _disconnected(self, error: openai.APIConnectionError) -> MillraceError:
        cause = error.__cause__ or error
        why = quoted(f"{type(cause).__name__}: {cause}".rstrip(": "))
        if isinstance(cause, _NOT_SENT):
            message = f"{self.target} cannot be reached ({why}); check {self._url_setting} and the network"
            return Unreachable(message)
        return self._too_late() if isinstance(cause, httpx2.TimeoutException) else lost_answer(self.target, why)

    def _too_late(self) -> MillraceError:
        return lost_answer(self.target, f"it was not complete within {self._timeout_s:g} s")


def max_answer_bytes(texts: int, dimensions: int, *, sparse: bool = False) -> int:
    """A bound on the answer with the vectors of `texts` texts, generous: numbers have up to 25 characters."""
    per_text = 64 * dimensions + (1 << 20 if sparse else 16 << 10)
    return (1 << 20) + texts * per_text


def retry_after_s(headers: httpx2.Headers) -> float | None:
    """The wait that the provider asks for, in seconds, from a number or an HTTP date; None if it asks for none.

    DashScope is not known to send one; gateways in front of it may.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with suppress(ValueError):
            wait_s = float(headers.get(name, "")) * unit_s
            if 0.0 <= wait_s < math.inf:
                return wait_s
    until, now = _date(headers.get("retry-after", "")), _date(headers.get("date", ""))
    # By the provider's own clock, which may be wrong like ours, but not against itself.
    return max((until - (now or datetime.now(UTC))).total_seconds(), 0.0) if until else None


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return date.replace(tzinfo=date.tzinfo or UTC)


def is_this_machine(host: str) -> bool:
    """Whether `host` names this machine: what is sent there does not leave it."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


@cache
def _warn_of_plain_http(url: str) -> None:
    """Warn, once for each address, of a key that others on the way can read."""
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_this_machine(parts.hostname or ""):
        message = "the API key goes to %s over http, where others on the way can read it: use https, or set no key"
        _log.warning(message, parts.hostname)
