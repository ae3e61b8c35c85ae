"""The interface of an embedding client: one request, one try. The dispatcher waits, retries and splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from millrace.tasks.errors import InvalidResponse, ProviderUnavailable

Vectors = npt.NDArray[np.float32]

READ_TIMEOUT_S = 60.0
"""For a whole answer. A full request is answered in about one second, so after a minute the answer is lost."""


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingResponse:
    """A validated answer. `vectors`: float32, shape (n_texts, dim), row i belongs to texts[i].

    `billed_tokens` is the sum over all texts, None if the answer reports none, or a number that cannot be. `sparse`, if
    requested, holds one sparse vector per text, as encoded by `records.sparse_bytes`.
    """

    vectors: Vectors
    billed_tokens: int | None
    request_id: str
    sparse: tuple[bytes, ...] | None = None


class Unreachable(ProviderUnavailable):
    """No provider at this address: no connection could be made, or something else answered."""


class LostAnswer(ProviderUnavailable):
    """The request was sent, but its answer did not arrive complete: it may have been billed."""


class BilledInvalidResponse(InvalidResponse):
    """An unusable answer that was billed all the same; `billed_tokens` is None if it does not say how much."""

    def __init__(self, message: str, *, billed_tokens: int | None) -> None:
        super().__init__(message)
        self.billed_tokens = billed_tokens


class EmbeddingClient(Protocol):
    """Embeds texts with one model of one provider; several requests may be in flight at once."""

    async def embed(self, texts: Sequence[str]) -> EmbeddingResponse:
        """The vectors of `texts`, from one request that is tried once.

        Raises Throttled, ProviderUnavailable, InvalidResponse, TextsRefused, ProviderStopped or ConfigurationError.
        """
        ...

    async def close(self) -> None:
        """Close connections and threads; requests in flight fail."""
        ...
