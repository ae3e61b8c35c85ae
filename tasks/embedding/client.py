"""What an embedding client is: one request, one try. Waiting, retrying and splitting are the dispatcher's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tasks.embedding.addresses import endpoint_url, native_url
from tasks.embedding.catalogue import ModelSpec, choose_dimensions
from tasks.embedding.offers import check_offer
from tasks.errors import ConfigurationError, ProviderUnavailable, ResponseUnproven, TextsRefused, Transient

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
    api: str = "compatible",
    text_type: str = "",
    instruct: str = "",
    sparse: bool = False,
    ask_dimensions: str = "auto",
    timeout_s: float = READ_TIMEOUT_S,
    max_connections: int = 100,
) -> EmbeddingClient:
    """A client for the model's provider.

    `base_url` as `endpoint_url`, or for `api` "native" `native_url`, takes it; `dimensions` None is the model's
    default; `timeout_s` is how long an answer may stay silent. `text_type` is the native API's, "" for "document".
    `instruct` is a parameter there, and goes before the texts for iflytek and openai; it is for queries. With `sparse`
    every answer has sparse vectors too. Raises ConfigurationError for what cannot be right: a base URL, a key, a number
    of dimensions, or something the model or this API of it has not.
    """
    chosen = choose_dimensions(spec, dimensions)
    check_offer(spec, api=api, text_type=text_type, instruct=instruct, sparse=sparse)
    if spec.provider == "local":
        from tasks.embedding.local import LocalClient

        return LocalClient(dimensions=chosen, sparse=sparse)
    if api == "native":
        from tasks.embedding.native import NativeClient

        return NativeClient(
            spec,
            root_url=native_url(spec, base_url),
            api_key=api_key,
            dimensions=chosen,
            text_type=text_type or "document",
            instruct=instruct,
            sparse=sparse,
            ask_dimensions=ask_dimensions,
            timeout_s=timeout_s,
            max_connections=max_connections,
        )
    from tasks.embedding.compatible import CompatibleClient

    return CompatibleClient(
        spec,
        base_url=endpoint_url(spec, base_url),
        api_key=api_key,
        dimensions=chosen,
        instruct=instruct,
        ask_dimensions=ask_dimensions,
        timeout_s=timeout_s,
        max_connections=max_connections,
    )


async def probe(client: EmbeddingClient) -> None:
    """Embed one word, to learn before anything is made whether key, model and dimensions are right.

    A provider that is busy or not up yet says nothing of them, and is let pass: a run waits for it.

    Raises:
        ConfigurationError: vectors of another length, or not even one word is taken.
        ProviderStopped: what waiting cannot heal, as a wrong key or an unknown model.
    """
    try:
        await client.embed(["millrace"])
    except Transient:
        return
    except TextsRefused as refusal:
        message = f"not even one word is embedded: {refusal}; check embedding.model and embedding.base_url"
        raise ConfigurationError(message) from refusal
