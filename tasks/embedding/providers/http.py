"""One HTTP endpoint of a provider: JSON in, bytes out, every failure translated to our errors. One try per request.

The openai SDK provides connections, headers and exceptions. Its retries are off, because they would bypass the rate
limiter; its parsing is not used, because it costs ten times as much as our validation.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2
import openai
import orjson

from millrace.tasks.embedding.providers.client import READ_TIMEOUT_S, Unreachable
from millrace.tasks.embedding.providers.error_rules import (
    DASHSCOPE_RULES,
    Rule,
    error_for,
    lost_answer,
    mask_keys,
    read_refusal,
)
from millrace.tasks.errors import ConfigurationError, MillraceError

CONNECT_TIMEOUT_S = 10.0
# Longer than the gateway keeps a connection costs a retry; shorter costs a handshake after every pause.
KEEPALIVE_S = 45.0

_CONNECTIONS_PER_POOL = 8
"""httpcore checks every idle connection of its pool, with a system call each, at each request and each answer."""

_LOOPBACK = frozenset(["127.0.0.1", "localhost", "::1"])
# Failures before the request was sent: it cannot have been billed.
_NOT_SENT = (
    *(httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout),
    *(httpx2.ProxyError, httpx2.UnsupportedProtocol),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with a status below 400 whose body is not validated yet."""

    status: int
    body: bytes
    request_id: str


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
        self._trust_env = urlsplit(url).hostname not in _LOOPBACK
        self._tls = httpx2.create_ssl_context(trust_env=self._trust_env)
        self._pools = [self._new_pool()]

    def _new_pool(self) -> "_Pool":
        client = openai.AsyncOpenAI(
            api_key=self._api_key,
            base_url=self._url,
            max_retries=0,
            http_client=httpx2.AsyncClient(
                timeout=httpx2.Timeout(self._timeout_s, connect=CONNECT_TIMEOUT_S),
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

    async def post(self, body: Mapping[str, object]) -> Answer:
        """The answer to one request, tried once. Raises as `EmbeddingClient.embed`, but for InvalidResponse."""
        pool = self._pool()
        pool.in_flight += 1
        try:
            response = await pool.client.post(
                self._url, body=dict(body), cast_to=httpx2.Response, options=self._options
            )
        except openai.APIStatusError as error:
            raise self._refused(error) from None
        except openai.APIConnectionError as error:
            raise self._disconnected(error) from None
        finally:
            pool.in_flight -= 1
        return Answer(response.status_code, response.content, response.headers.get("x-request-id", ""))

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
        body: object = response.text
        with suppress(orjson.JSONDecodeError):
            body = orjson.loads(response.content)
        refusal = read_refusal(response.status_code, body, response.headers.get("x-request-id", ""))
        wait_s = retry_after_s(response.headers)
        return error_for(refusal, target=self.target, retry_after_s=wait_s, rules=self._rules)

    def _disconnected(self, error: openai.APIConnectionError) -> MillraceError:
        cause = error.__cause__ or error
        why = mask_keys(f"{type(cause).__name__}: {cause}".rstrip(": "))
        if isinstance(cause, _NOT_SENT):
            message = f"{self.target} cannot be reached ({why}); check {self._url_setting} and the network"
            return Unreachable(message)
        if isinstance(cause, httpx2.TimeoutException):
            why = f"nothing came for {self._timeout_s:g} s"
        return lost_answer(self.target, why)


def retry_after_s(headers: httpx2.Headers) -> float | None:
    """The wait that the provider asks for, in seconds; None where it asks for none, or for a date.

    DashScope is not known to send one; gateways in front of it may.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait_s = float(headers.get(name, "")) * unit_s
        except ValueError:
            continue
        if 0.0 <= wait_s < float("inf"):
            return wait_s
    return None
