"""Provider `dashscope`: Qwen's text-embedding models on the OpenAI-compatible endpoint."""

from collections.abc import Sequence

from tasks.embedding.catalogue import ModelSpec
from tasks.embedding.client import READ_TIMEOUT_S, EmbeddingResponse
from tasks.embedding.endpoint import Endpoint
from tasks.embedding.proof import decode, prove
from tasks.embedding.translate import is_refusal
from tasks.errors import ConfigurationError


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
        asked = f"{spec.name} at {base_url}"
        if not api_key.strip():
            message = f"{asked} needs an API key in the variable that embedding.api_key_env names"
            raise ConfigurationError(message)
        self._dimensions = dimensions
        # Left out, the SDK asks for base64, which the provider does not document.
        self._constant: dict[str, object] = {"model": spec.name, "encoding_format": "float"}
        if spec.takes_dimensions:
            self._constant["dimensions"] = dimensions
        self._endpoint = Endpoint(
            f"{base_url}/embeddings",
            api_key=api_key,
            asked=asked,
            timeout_s=timeout_s,
            max_connections=max_connections,
        )

    async def embed(self, texts: Sequence[str]) -> EmbeddingResponse:
        """The vectors of `texts`, from one request that is tried once. Raises as `EmbeddingClient.embed`."""
        answer = await self._endpoint.post({**self._constant, "input": list(texts)})
        body = decode(answer.body)
        if is_refusal(body):
            raise self._endpoint.refusal(answer, body)
        return prove(body, texts=len(texts), dimensions=self._dimensions, request_id=answer.request_id)

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        await self._endpoint.close()

    def __repr__(self) -> str:
        return f"DashScopeClient({self._endpoint.asked}, dimensions={self._dimensions}, api_key=***)"
