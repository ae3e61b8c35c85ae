"""Makes the client for a model, and checks key and address with a first request."""

from millrace.tasks.embedding.addresses import endpoint_url, native_url
from millrace.tasks.embedding.models import ModelSpec, check_capabilities, choose_dimensions
from millrace.tasks.embedding.providers.client import READ_TIMEOUT_S, EmbeddingClient
from millrace.tasks.errors import ConfigurationError, TextsRefused, Transient

SEMANTIC_MODEL = "semantic-v1"
"""The model of provider `local` that needs a package of its own."""

LEXICAL_MODELS = ("lexical-hashing-v2", "lexical-hashing-v1")
"""The models of provider `local` that match by words alone, that of new lakes first."""


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
    default. `text_type` is for the native API, "" is "document". `instruct`, for queries, is a parameter there, and a
    prefix of the texts for iflytek and openai. With `sparse` answers have sparse vectors too. Raises
    ConfigurationError for an invalid base URL, key or number of dimensions, a feature that the model lacks, or a model
    that is not installed.
    """
    chosen = choose_dimensions(spec, dimensions)
    check_capabilities(spec, api=api, text_type=text_type, instruct=instruct, sparse=sparse)
    if spec.provider == "local":
        return _local_client(spec, dimensions=chosen, sparse=sparse)
    if api == "native":
        from millrace.tasks.embedding.providers.dashscope_native import NativeClient

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
    from millrace.tasks.embedding.providers.openai_compatible import CompatibleClient

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


def _local_client(spec: ModelSpec, *, dimensions: int, sparse: bool) -> EmbeddingClient:
    from millrace.tasks.embedding.providers.local import LocalClient, first_lexical_vectors, lexical_vectors

    vectors = lexical_vectors if spec.name == LEXICAL_MODELS[0] else first_lexical_vectors
    if spec.name == SEMANTIC_MODEL:
        from millrace.tasks.embedding.providers.semantic import semantic_vectors

        require_installed(spec)
        vectors = semantic_vectors
    return LocalClient(vectors, dimensions=dimensions, sparse=sparse)


def is_installed(spec: ModelSpec) -> bool:
    """Whether what the model needs of packages is there."""
    try:
        require_installed(spec)
    except ConfigurationError:
        return False
    return True


def require_installed(spec: ModelSpec) -> None:
    """Raise ConfigurationError if the model runs on this machine, and its package is not installed."""
    if spec.provider == "local" and spec.name == SEMANTIC_MODEL:
        from millrace.tasks.embedding.providers.semantic import require_encoder

        require_encoder()


async def probe(client: EmbeddingClient) -> None:
    """Embed one word, to check key, model and dimensions before anything is created.

    A provider that is busy or not up yet passes: a run waits for it.

    Raises:
        ConfigurationError: vectors of another length, or even one word is refused.
        ProviderStopped: a wrong key, an unknown model, or anything else that waiting cannot cure.
    """
    try:
        await client.embed(["millrace"])
    except Transient:
        return
    except TextsRefused as refusal:
        message = f"not even one word is embedded: {refusal}; check embedding.model and embedding.base_url"
        raise ConfigurationError(message) from refusal
