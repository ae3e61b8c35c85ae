"""DashScope's native embeddings API: text types, instructions and sparse vectors, which the compatible API lacks.

Source: Model Studio, text embedding: synchronous API reference (help.aliyun.com), read 2026-11; recorded bodies in
cnblogs/dashscope-sdk.
"""

from collections.abc import Sequence

from millrace.tasks.embedding.models import ModelSpec
from millrace.tasks.embedding.providers.client import READ_TIMEOUT_S, EmbeddingResponse
from millrace.tasks.embedding.providers.error_rules import is_refusal
from millrace.tasks.embedding.providers.http import Endpoint, max_answer_bytes
from millrace.tasks.embedding.providers.openai_compatible import require_key, sends_dimensions
from millrace.tasks.embedding.providers.validation import decode, validate_native

PATH = "/services/embeddings/text-embedding/text-embedding"


class NativeClient:
    """Embeddings of one model with one key; implements `EmbeddingClient`.

    `root_url` is what `native_url` returns; `check_capabilities` has approved the options.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        root_url: str,
        api_key: str,
        dimensions: int,
        text_type: str = "document",
        instruct: str = "",
        sparse: bool = False,
        ask_dimensions: str = "auto",
        timeout_s: float = READ_TIMEOUT_S,
        max_connections: int = 100,
    ) -> None:
        target = f"{spec.name} at {root_url}"
        require_key(target, api_key)
        self._dimensions = dimensions
        self._sparse = sparse
        parameters: dict[str, object] = {"text_type": text_type}
        # The compatible API calls it `dimensions`.
        if sends_dimensions(spec, dimensions, ask_dimensions, always=True):
            parameters["dimension"] = dimensions
        if instruct:
            parameters["instruct"] = instruct
        if sparse:
            parameters["output_type"] = "dense&sparse"
        self._constant: dict[str, object] = {"model": spec.name, "parameters": parameters}
        self._endpoint = Endpoint(
            root_url + PATH, api_key=api_key, target=target, timeout_s=timeout_s, max_connections=max_connections
        )

    async def embed(self, texts: Sequence[str]) -> EmbeddingResponse:
        """The vectors of `texts`, from one request that is tried once. Raises as `EmbeddingClient.embed`."""
        answer = await self._endpoint.post(
            {**self._constant, "input": {"texts": list(texts)}},
            max_bytes=max_answer_bytes(len(texts), self._dimensions, sparse=self._sparse),
        )
        body = decode(answer.body)
        if is_refusal(body):
            raise self._endpoint.refusal(answer, body)
        return validate_native(
            body,
            texts=len(texts),
            dimensions=self._dimensions,
            sparse=self._sparse,
            request_id=answer.request_id,
        )

    async def close(self) -> None:
        """Close every connection; requests in flight fail."""
        await self._endpoint.close()

    def __repr__(self) -> str:
        return f"NativeClient({self._endpoint.target}, dimensions={self._dimensions}, api_key=***)"
