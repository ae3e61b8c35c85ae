"""The models that the simulated provider offers, with their published figures."""

from __future__ import annotations

import sys
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

Quota = Literal["embeddings", "rerank", "iflytek", "openai"]
"""Which limits of the settings a model is sold under."""
Endpoint = Literal["compatible", "native"]

LEAST_DIMENSIONS = 32
"""To which models of the Qwen3-Embedding family shorten their vectors, at the least."""
UNLIMITED = sys.maxsize


class Model(BaseModel):
    """One embedding model as it is offered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dimensions: tuple[int, ...]
    default_dimensions: int
    texts_per_request: int
    tokens_per_text: int
    end_tokens: int = 1
    """Tokens billed per text beyond its own."""
    ignores_dimensions: bool = False
    gives_sparse: bool = False
    """On the native endpoint."""
    takes_instruct: bool = False
    """On the native endpoint."""
    quota: Quota = "embeddings"
    yuan_per_1k_tokens: float = 0.0

    @classmethod
    def of_one_length(
        cls,
        name: str,
        dimensions: int,
        *,
        texts_per_request: int = UNLIMITED,
        tokens_per_text: int = UNLIMITED,
        end_tokens: int = 1,
        quota: Quota,
    ) -> Self:
        """A model as one request uses it, where the endpoint itself has looked at the dimensions asked for."""
        return cls(
            name=name,
            dimensions=(dimensions,),
            default_dimensions=dimensions,
            texts_per_request=texts_per_request,
            tokens_per_text=tokens_per_text,
            end_tokens=end_tokens,
            quota=quota,
        )

    def length(self, asked: int | None) -> int:
        """The length of its vectors when `asked` is asked for."""
        return self.default_dimensions if asked is None or self.ignores_dimensions else asked

    @property
    def short_name(self) -> str:
        """`v4`, as error messages have it."""
        return self.name.removeprefix("text-embedding-")


MODELS = (
    Model(
        name="text-embedding-v4",
        dimensions=(64, 128, 256, 512, 768, 1024, 1536, 2048),
        default_dimensions=1024,
        texts_per_request=10,
        tokens_per_text=8192,
        gives_sparse=True,
        takes_instruct=True,
        yuan_per_1k_tokens=0.0005,
    ),
    Model(
        name="text-embedding-v3",
        dimensions=(64, 128, 256, 512, 768, 1024),
        default_dimensions=1024,
        texts_per_request=10,
        tokens_per_text=8192,
        gives_sparse=True,
        yuan_per_1k_tokens=0.0005,
    ),
    *(
        Model(
            name=name,
            dimensions=(1536,),
            default_dimensions=1536,
            texts_per_request=25,
            tokens_per_text=2048,
            end_tokens=0,
            ignores_dimensions=True,
            yuan_per_1k_tokens=0.0007,
        )
        for name in ("text-embedding-v2", "text-embedding-v1")
    ),
)


class RerankModel(BaseModel):
    """One reranker as it is offered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    endpoints: tuple[Endpoint, ...] = ("compatible", "native")
    documents_per_request: int = 500
    tokens_per_text: int = 4000
    """Of the query and of each document."""
    over_long: Literal["cut", "refuse"] = "cut"
    """Cut off what is too much, without a word; or refuse a query and a document that are too much together."""
    tokens_per_request: int = UNLIMITED
    """The query's tokens, once for each document, and those of the documents."""
    end_tokens: int = 0
    """Tokens billed beyond its own for the query and for each document."""
    takes_instruct: bool = False
    quota: Quota = "rerank"


RERANKERS = (
    RerankModel(name="qwen3-rerank", tokens_per_request=120_000, takes_instruct=True),
    RerankModel(name="gte-rerank-v2", endpoints=("native",), tokens_per_request=30_000),
)
