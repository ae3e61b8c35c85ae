"""Provider `dashscope`: Qwen's text-embedding models on the OpenAI-compatible endpoint, through the openai SDK.

The SDK gives the connection, the headers and its exceptions; its retries are off, because they know nothing of the
pacing, and its parsing is passed by, because it costs ten times what the proof does.
"""

from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import httpx2
import openai
import orjson

from tasks.embedding.catalogue import ModelSpec
from tasks.embedding.client import READ_TIMEOUT_S, EmbeddingResponse, Unreachable
from tasks.embedding.proof import decode, prove
from tasks.embedding.translate import hide_keys, is_refusal, lost, read_refusal, translate
from tasks.errors import ConfigurationError, MillraceError

CONNECT_TIMEOUT_S = 10.0
# A connection kept longer than the gateway keeps it costs a retry; kept shorter, a handshake after every pause.
KEEPALIVE_S = 45.0

_LOOPBACK = frozenset(["127.0.0.1", "localhost", "::1"])
# What went wrong before the request was out: it cannot have been billed.
_NOT_SENT = (
    *(httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout),
    *(httpx2.ProxyError, httpx2.UnsupportedProtocol),
)


class DashScopeClient:
    """Embeddings of one model with one key; implements `EmbeddingClient`."""

    def __init__(
        self,
        spec: ModelSpec,
        *,
        base_url: str,
        api_key: str,
        dimensions: int,
        timeout_s: float = READ_TIMEOUT_S,
        max_connections: int = 100,
    ) -> None:
        if not api_key.strip() or not api_key.isascii():
            message = f"{spec.name} at {base_url} needs an API key in the variable that embedding.api_key_env names"
            raise ConfigurationError(message)
        self._model = spec.name
        self._dimensions = dimensions
        self._asked_dimensions = dimensions if spec.takes_dimensions else openai.omit
        self._asked = f"{spec.name} at {base_url}"
        self._timeout_s = timeout_s
        self._openai = openai.AsyncOpenAI(
            api_key=api_key.strip(),
            base_url=base_url,
            max_retries=0,
            http_client=httpx2.AsyncClient(
                timeout=httpx2.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
                limits=httpx2.Limits(
                    max_connections=max_connections,
                    max_keepalive_connections=max_connections,
                    keepalive_expiry=KEEPALIVE_S,
                ),
                # A proxy from the environment never knows the way to this machine's own servers.
                trust_env=urlsplit(base_url).hostname not in _LOOPBACK,
            ),
        )

    async def embed(self, texts: Sequence[str]) -> EmbeddingResponse:
        """The vectors of `texts`, from one request that is tried once. Raises as `EmbeddingClient.embed`."""
        try:
            raw = await self._openai.embeddings.with_raw_response.create(
                model=self._model,
                input=list(texts),
                dimensions=self._asked_dimensions,
                # Left out, the SDK asks for base64, which the provider does not document.
                encoding_format="float",
            )
        except openai.APIStatusError as error:
            raise self._refused(error) from None
        except openai.APIConnectionError as error:
            raise self._disconnected(error) from None
        request_id = raw.headers.get("x-request-id", "")
        answer = decode(raw.content)
        if is_refusal(answer):
            raise translate(read_refusal(raw.status_code, answer, request_id), asked=self._asked)
        return prove(answer, texts=len(texts), dimensions=self._dimensions, request_id=request_id)

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        await self._openai.close()

    def __repr__(self) -> str:
        return f"DashScopeClient({self._asked}, dimensions={self._dimensions}, api_key=***)"

    def _refused(self, error: openai.APIStatusError) -> MillraceError:
        # Not `error.body`: the SDK keeps only the inner object of a compatible body, and the request id is outside it.
        response = error.response
        body: object = response.text
        with suppress(orjson.JSONDecodeError):
            body = orjson.loads(response.content)
        refusal = read_refusal(response.status_code, body, response.headers.get("x-request-id", ""))
        return translate(refusal, asked=self._asked, retry_after_s=retry_after_s(response.headers))

    def _disconnected(self, error: openai.APIConnectionError) -> MillraceError:
        cause = error.__cause__ or error
        why = hide_keys(f"{type(cause).__name__}: {cause}".rstrip(": "))
        if isinstance(cause, _NOT_SENT):
            message = f"{self._asked} cannot be reached ({why}); check embedding.base_url and the network"
            return Unreachable(message)
        if isinstance(cause, httpx2.TimeoutException):
            why = f"nothing came for {self._timeout_s:g} s"
        return lost(self._asked, why)


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
