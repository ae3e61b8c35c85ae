"""Everything about the simulated provider that can be set, at the start or while it runs.

Unknown keys are refused. The figures are the published ones of text-embedding-v1 to v4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from tests.simulator.batch.settings import BatchSettings, FilesSettings
from tests.simulator.dialects.openai_settings import OpenAiSettings
from tests.simulator.faults import FaultRule
from tests.simulator.limits import Limits
from tests.simulator.model.models import MODELS, RERANKERS, Model, RerankModel

API_KEY = "sk-simulator"
"""The key that is right unless `keys` says otherwise."""


class Latency(BaseModel):
    """How long an answer takes, in seconds: `fixed_s` +- `jitter_s`, and for `tail_share` of answers `tail_s` on top."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fixed_s: float = Field(default=0.0, ge=0)
    jitter_s: float = Field(default=0.0, ge=0)
    tail_share: float = Field(default=0.0, ge=0, le=1)
    tail_s: float = Field(default=0.0, ge=0)
    refusal_s: float = Field(default=0.0, ge=0)
    """How long a refusal (429, a bad request) takes: the gateway answers it, not the model."""


class NativeSettings(BaseModel):
    """What is not known of DashScope's native embeddings endpoint, and so can be either."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    misplaced_instruct: Literal["refuse", "ignore"] = "refuse"
    """An `instruct` without text_type "query", or to a model that takes none."""
    sparse_only_embedding: Literal["absent", "null"] = "absent"
    """The `embedding` of an item whose output_type is "sparse"."""
    duplicate_sparse_indices: bool = False
    """Every third index of a sparse vector twice, the second time with a lesser value."""


class RerankSettings(BaseModel):
    """DashScope's rerank endpoints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[RerankModel, ...] = RERANKERS
    limits: Limits = Limits()
    """Published for qwen3-rerank: 5,400 requests a minute."""

    def model(self, name: str) -> RerankModel | None:
        """The reranker of that name, if it is offered."""
        return next((model for model in self.models if model.name == name), None)


class IflytekSettings(BaseModel):
    """iFlytek's MaaS. It documents no limit and no error body: each of them is a guess that can be set otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    services: Mapping[str, tuple[str, int]] = Field(
        default_factory=lambda: {"sde0a5839": ("xop3qwen0b6embedding", 1024)}
    )
    """Id of a service -> name and dimensions of its model."""
    rerank_services: Mapping[str, str] = Field(default_factory=lambda: {"s7c31fe02": "xop3qwen0b6reranker"})
    dimensions: Literal["honour", "ignore", "refuse"] = "honour"
    """What to do with `dimensions`; honoured from 32 to the model's own."""
    texts_per_request: int = Field(default=16, ge=1)
    tokens_per_text: int = Field(default=8192, ge=1)
    documents_per_request: int = Field(default=500, ge=1)
    template_tokens: int = Field(default=4, ge=0)
    """Billed with each text: the documented sample bills 10 for a text of 6."""
    error_body: Literal["empty", "text", "message"] = "empty"
    """Nothing, the status in words, or `{"message": ...}`."""
    limits: Limits = Limits()
    """Of each service, as 429."""


class SimulatorSettings(BaseModel):
    """The provider as it behaves now. `patched` gives it changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int = Field(default=0, ge=0, le=65535)
    """0: any free port. Cannot be changed while it runs."""
    seed: int = 0
    """Of latency and shuffling."""

    keys: Mapping[str, str] = Field(default_factory=lambda: {API_KEY: "main"})
    """API key -> account. Keys of one account share its limits."""
    any_key: bool = False
    """Every key is right and belongs to the account `main`."""
    models: tuple[Model, ...] = MODELS
    unsupported_models: tuple[str, ...] = ("qwen3-vl-embedding", "multimodal-embedding-v1")
    """Known names that these endpoints do not serve."""

    native: NativeSettings = NativeSettings()
    rerank: RerankSettings = RerankSettings()
    iflytek: IflytekSettings = IflytekSettings()
    openai: OpenAiSettings = OpenAiSettings()
    files: FilesSettings = FilesSettings()
    batch: BatchSettings = BatchSettings()

    seconds_per_second: float = Field(default=1.0, ge=0)
    """How fast the calendar runs, by which Batch jobs live; latency and the limits of answers go by the clock."""
    starts_at: float | None = None
    """The date at the start, in seconds since 1970; None is the machine's. Cannot be changed while it runs."""
    state_file: str | None = None
    """Keeps files, jobs and purchases over a restart (batch/state.py). Cannot be changed while it runs."""

    token_offset: int = 0
    """Added to each text's bill: a tokenizer that drifted."""
    tokens_per_request: int | None = Field(default=None, ge=1)
    over_long: Literal["refuse", "truncate"] = "refuse"
    encoding_format: Literal["ignore", "honour", "refuse"] = "ignore"
    """What to do with `encoding_format="base64"`: answer floats, answer base64, or 400."""
    max_body_bytes: int = Field(default=16 << 20, ge=1)

    inspection_words: tuple[str, ...] = ()
    """A text with one of these fails content inspection."""
    poison_words: tuple[str, ...] = ()
    """A text with one of these is refused as `poison_as`, whatever it is sent with."""
    poison_share: float = Field(default=0.0, ge=0, le=1)
    """Share of all texts that are poisoned, by their hash."""
    poison_as: Literal["inspection", "length", "internal_error"] = "inspection"

    limits: Limits = Limits()
    """Of DashScope's embedding models, each by itself."""
    retry_after_s: int | None = Field(default=None, ge=0)
    """Sent as `Retry-After` with a 429; the real provider sends none."""
    latency: Latency = Latency()
    faults: tuple[FaultRule, ...] = ()
    shuffled: bool = False
    """Every answer's items in random order, each with its right index: legal."""
    gzip: bool = False
    """Compress for clients that accept it, as the real gateway does; about 2 ms of CPU more an answer."""
    rendered_texts_kept: int = Field(default=512, ge=0)
    """Rendered vectors remembered, about 22 KB each."""

    def model(self, name: str) -> Model | None:
        """The model of that name, if it is offered."""
        return next((model for model in self.models if model.name == name), None)

    def is_poisoned(self, text: str) -> bool:
        """Whether `text` can never be embedded."""
        if any(word in text for word in self.poison_words):
            return True
        if not self.poison_share:
            return False
        drawn = int.from_bytes(hashlib.sha256(b"poison\0" + text.encode()).digest()[:8])
        return drawn < self.poison_share * 2**64

    def patched(self, patch: Mapping[str, object]) -> Self:
        """These settings with `patch` over them; groups are merged, lists and `keys` replaced.

        Raises pydantic.ValidationError on an unknown key or a value out of bounds.
        """
        return type(self).model_validate(_merged(self, patch))


def _merged(model: BaseModel, patch: Mapping[str, object]) -> dict[str, object]:
    merged: dict[str, object] = model.model_dump()
    for key, value in patch.items():
        old = getattr(model, key, None)
        if isinstance(old, BaseModel) and isinstance(value, Mapping):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged
