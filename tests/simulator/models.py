"""The models that the simulated provider offers, with their published figures."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


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
    ),
    Model(
        name="text-embedding-v3",
        dimensions=(64, 128, 256, 512, 768, 1024),
        default_dimensions=1024,
        texts_per_request=10,
        tokens_per_text=8192,
        gives_sparse=True,
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
        )
        for name in ("text-embedding-v2", "text-embedding-v1")
    ),
)
