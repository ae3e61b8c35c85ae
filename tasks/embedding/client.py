"""What an embedding client is: one request, one try. Waiting, retrying and splitting are the dispatcher's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tasks.embedding.addresses import endpoint_url
from tasks.embedding.catalogue import ModelSpec, choose_dimensions
from tasks.errors import ConfigurationError, ProviderUnavailable, ResponseUnproven

Vectors = npt.NDArray[np.float32]

READ_TIMEOUT_S = 60.0
"""The SDK's own is 600 s; a full request is answered in about one, so a silent minute means a lost answer."""


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingResponse:
    """A proven answer. `vectors`: float32, shape (n_texts, dim), row i belongs to texts[i]; `billed_tokens` of all."""

    vectors: Vectors
    billed_tokens: int
    request_id: str


class Unreachable(ProviderUnavailable):
    """Nothing there speaks the protocol: no connection could be made, or what came is not the provider's."""


class AnswerLost(ProviderUnavailable):
    """The request was sent and its answer did not arrive whole: it may have been billed."""


class AnswerUnproven(ResponseUnproven):
    """An answer that cannot be used and was billed all the same; `billed_tokens` is None if it does not say."""

    def __init__(self, message: str, *, billed_tokens: int | None) -> None:
        super().__init__(message)
        self.billed_tokens = billed_tokens


class EmbeddingClient(Protocol):
    """A provider's embeddings, one request at a time; several may be under way at once."""

    async def embed(self, texts: Sequence[str]) -> EmbeddingResponse:
        """The vectors of `texts`, from one request that is tried once.

        Raises Throttled, ProviderUnavailable, ResponseUnproven, TextsRefused, ProviderStopped or ConfigurationError.
        """
        ...

    async def close(self) -> None:
        """Give up connections and threads; requests under way fail."""
        ...


def make_client(
    spec: ModelSpec,
    *,
    base_url: str = "",
    api_key: str = "",
    dimensions: int | None = None,
    timeout_s: float = READ_TIMEOUT_S,
    max_connections: int = 100,
) -> EmbeddingClient:
    """A client for the model's provider.

    `base_url` as `endpoint_url` takes it; `dimensions` None is the model's default; `timeout_s` is how long an answer
    may stay silent. Raises ConfigurationError for a base URL, key or number of dimensions that cannot be right.
    """
    chosen = choose_dimensions(spec, dimensions)
    match spec.provider:
        case "local":
            from tasks.embedding.local import LocalClient

            return LocalClient(dimensions=chosen)
        case "dashscope":
            from tasks.embedding.dashscope import DashScopeClient

            return DashScopeClient(
                spec,
                base_url=endpoint_url(spec, base_url),
                api_key=api_key,
                dimensions=chosen,
                timeout_s=timeout_s,
                max_connections=max_connections,
            )
        case _:
            message = f"embedding.provider {spec.provider!r} has no client; use dashscope or local"
            raise ConfigurationError(message)
