"""What an embedding client is: one request, one try. Waiting, retrying and splitting are the dispatcher's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from millrace.tasks.errors import InvalidResponse, ProviderUnavailable

Vectors = npt.NDArray[np.float32]

READ_TIMEOUT_S = 60.0
"""The SDK's own is 600 s; a full request is answered in about one, so a silent minute means a lost answer."""


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingResponse:
    """A proven answer. `vectors`: float32, shape (n_texts, dim), row i belongs to texts[i]; `billed_tokens` of all.

    `sparse`, where it was asked for, holds one sparse vector a text, as `records.sparse_bytes` makes them.
    """

    vectors: Vectors
    billed_tokens: int
    request_id: str
    sparse: tuple[bytes, ...] | None = None


class Unreachable(ProviderUnavailable):
    """Nothing there speaks the protocol: no connection could be made, or what came is not the provider's."""


class LostAnswer(ProviderUnavailable):
    """The request was sent and its answer did not arrive whole: it may have been billed."""


class BilledInvalidResponse(InvalidResponse):
    """An answer that cannot be used and was billed all the same; `billed_tokens` is None if it does not say."""

    def __init__(self, message: str, *, billed_tokens: int | None) -> None:
        super().__init__(message)
        self.billed_tokens = billed_tokens


class EmbeddingClient(Protocol):
    """A provider's embeddings, one request at a time; several may be under way at once."""

    async def embed(self, texts: Sequence[str]) -> EmbeddingResponse:
        """The vectors of `texts`, from one request that is tried once.

        Raises Throttled, ProviderUnavailable, InvalidResponse, TextsRefused, ProviderStopped or ConfigurationError.
        """
        ...

    async def close(self) -> None:
        """Give up connections and threads; requests under way fail."""
        ...
