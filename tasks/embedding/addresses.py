"""The URLs of a model's APIs, and the embedding space: which vectors are comparable."""

from urllib.parse import urlsplit

from millrace.tasks.embedding.models import ModelSpec, all_providers, find_provider
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.records import EmbeddingSpace

_NATIVE_ROOT = "/api/v1"


def provider_url(provider: str, region: str = "") -> str:
    """The official endpoint of the provider in `region` ("": its first); "" for a provider without a host of its own.

    Raises ConfigurationError for an unknown provider or region.
    """
    known = find_provider(provider)
    return known.url_in(known.region_named(region))


def official_endpoint(base_url: str, provider: str = "") -> bool:
    """Whether `base_url` is at one of the hosts of `provider` ("": of any); "" stands for the default one."""
    known = [find_provider(provider)] if provider else list(all_providers().values())
    return not base_url or any(one.region_of(base_url) is not None for one in known)


def endpoint_url(spec: ModelSpec, base_url: str) -> str:
    """The URL below which `/embeddings` is, without a slash at its end.

    `base_url` is "" for the model's official endpoint, an official host with or without its path
    (`https://dashscope.aliyuncs.com/compatible-mode/v1`), or any URL that ends in `/v1`; for provider `openai` any
    path will do. Raises ConfigurationError for anything else.
    """
    if not base_url:
        if spec.provider == "openai":
            message = f"provider {spec.provider} needs embedding.base_url, the address of its API, such as http://HOST:8000/v1"
            raise ConfigurationError(message)
        return spec.base_url
    url = base_url.rstrip("/")
    parts = urlsplit(url)
    if _is_plain(url):
        if official_endpoint(url, spec.provider) and parts.path in {"", _NATIVE_ROOT}:
            return f"{parts.scheme}://{parts.netloc}{find_provider(spec.provider).path}"
        if spec.provider == "openai" and not parts.path.endswith("/embeddings"):
            return url
        if parts.path.rsplit("/", 1)[-1] in {"v1", "v2", "v3"}:
            return url
    message = (
        f"embedding.base_url is {base_url!r}; expected a URL that ends in /v1, such as {spec.base_url or 'http://HOST/v1'}"
        " (the path /embeddings is added to it)"
    )
    raise ConfigurationError(message)


def native_url(spec: ModelSpec, base_url: str) -> str:
    """The root of DashScope's native API, `https://HOST/api/v1`, on the host of `base_url`.

    `base_url` is either that root or what `endpoint_url` takes. On a host that is not official, with a path that ends
    in `/v1`, the native API is assumed to be below the host's root. Raises ConfigurationError for anything else.

    >>> from millrace.tasks.embedding.models import find_model
    >>> native_url(find_model("dashscope", "text-embedding-v4"), "https://gateway/dashscope/compatible-mode/v1")
    'https://gateway/dashscope/api/v1'
    """
    url = (base_url or spec.base_url).rstrip("/")
    parts = urlsplit(url)
    if _is_plain(url):
        if parts.path.endswith(_NATIVE_ROOT):
            return url
        compatible = find_provider(spec.provider).path
        if parts.path.endswith(compatible):
            return url.removesuffix(compatible) + _NATIVE_ROOT
        if parts.path.rsplit("/", 1)[-1] == "v1" or (not parts.path and official_endpoint(url, spec.provider)):
            return f"{parts.scheme}://{parts.netloc}{_NATIVE_ROOT}"
    message = (
        f"embedding.base_url is {base_url!r}; expected the root of the native API, which ends in {_NATIVE_ROOT}, or a "
        "URL that ends in /compatible-mode/v1, from which it is derived"
    )
    raise ConfigurationError(message)


def embedding_space(
    spec: ModelSpec,
    base_url: str,
    dimensions: int,
    *,
    api: str = "compatible",
    text_type: str = "",
    instruct: str = "",
    sparse: bool = False,
) -> EmbeddingSpace:
    """The space of the vectors that `spec` gives at `base_url`.

    All official hosts of a provider count as one endpoint, so that changing the region embeds nothing again; any other
    host is an endpoint of its own. With `api` "native" there is always a `text_type`, "document" by default.
    """
    native = api == "native"
    endpoint = spec.provider
    if not _is_official(spec, base_url):
        endpoint = native_url(spec, base_url) if native else endpoint_url(spec, base_url)
    return EmbeddingSpace(
        endpoint=endpoint,
        model=spec.name,
        dimensions=dimensions,
        text_type=(text_type or "document") if native else text_type,
        instruct=instruct,
        sparse=sparse,
    )


def _is_official(spec: ModelSpec, base_url: str) -> bool:
    """Whether the provider itself answers there. `local` needs no host; `openai` has no official one."""
    return spec.provider == "local" or (spec.provider != "openai" and official_endpoint(base_url, spec.provider))


def _is_plain(url: str) -> bool:
    """Whether `url` is an HTTP address with nothing after its path."""
    parts = urlsplit(url)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query and not parts.fragment
