"""The settings of a server that speaks OpenAI's embeddings API: OpenAI's own, or vLLM, TEI, Ollama, Infinity, Xinference."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tests.simulator.limits import Limits

Flavour = Literal["openai", "vllm", "vllm_flat", "tei", "ollama", "fastapi"]


class ServedModel(BaseModel):
    """One embedding model that the server has loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dimensions: int = Field(ge=1)
    shortens: bool = False
    """Whether its vectors can be shortened (Matryoshka)."""
    tokens_per_text: int = Field(default=8192, ge=1)


SERVED = (
    ServedModel(name="Qwen/Qwen3-Embedding-0.6B", dimensions=1024, shortens=True, tokens_per_text=32_768),
    ServedModel(name="BAAI/bge-m3", dimensions=1024),
)
SERVED_RERANKERS = ("Qwen/Qwen3-Reranker-0.6B", "BAAI/bge-reranker-v2-m3")


class OpenAiSettings(BaseModel):
    """How the server is started, and what kind of server it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flavour: Flavour = "vllm"
    """Whose words its errors are in. "tei" takes any model's name for its first model, as TEI does."""
    key_needed: bool = False
    models: tuple[ServedModel, ...] = Field(default=SERVED, min_length=1)
    rerankers: tuple[str, ...] = Field(default=SERVED_RERANKERS, min_length=1)
    embeddings_as: Literal["asked", "float", "base64"] = "asked"
    """Whether `encoding_format` is honoured, or what is answered whatever was asked for."""
    dimensions: Literal["by_model", "honour", "ignore", "refuse"] = "by_model"
    """What to do with `dimensions`. By model: honour where its vectors can be shortened, else refuse, even its own
    length; so does vLLM, for which that is few models unless it is told so (--hf-overrides)."""
    texts_per_request: int | None = Field(default=None, ge=1)
    """Of TEI 32 unless set, of OpenAI and Infinity 2,048, of vLLM any number. Also of the documents to rerank."""
    tokens_per_text: int | None = Field(default=None, ge=1)
    """Instead of the model's own. Of query and document together when it reranks."""
    usage: Literal["counted", "absent", "zero"] = "counted"
    """Older Ollama leaves it out or says 0."""
    returned_documents: Literal["asked", "always"] = "asked"
    """Whether reranked results hold their documents; vLLM's always do."""
    tei_validation_status: Literal[413, 422] = 413
    """Of TEI's refusals of too many texts and too long ones: 413 in its source, 422 before some proxies."""
    wallet_empty: bool = False
    """OpenAI's 429 insufficient_quota, to every request: nothing heals by waiting."""
    limits: Limits = Limits()
    """Of each model."""
