"""Rerankers: their limits, prices and addresses, from `configs/models.toml`."""

from dataclasses import dataclass, fields, replace
from functools import cache
from urllib.parse import urlsplit

from millrace.tasks.embedding.addresses import official_endpoint, provider_url
from millrace.tasks.embedding.models import find_provider, models_toml, unknown_name
from millrace.tasks.errors import ConfigurationError

_ANY = "*"
_DASHSCOPE_PATHS = {
    "compatible": "/compatible-api/v1/reranks",
    "native": "/api/v1/services/rerank/text-rerank/text-rerank",
}
# Paths of DashScope's APIs, or of a gateway to it, that a configured address may end in; reranking is beside them.
_DASHSCOPE_ROOTS = (*_DASHSCOPE_PATHS.values(), "/compatible-api/v1", "/compatible-mode/v1", "/api/v1", "/v1")
_OWN_PATHS = ("/rerank", "/reranks")  # an address that ends in one of these is complete


@dataclass(frozen=True, slots=True)
class RerankSpec:
    """One reranker. A limit of 0 means none, or none published; the price is yuan per 1,000 tokens.

    `api` is the API to use, "compatible" or "native". `tokens_per_request` bounds the query's tokens times the number
    of documents, plus the documents' tokens. `tokenizer` is "" if unknown.
    """

    provider: str
    api: str
    name: str
    takes_instruct: bool
    documents_per_request: int
    tokens_per_text: int
    tokens_per_request: int
    requests_per_minute: float
    tokens_per_minute: float
    price_cny_per_1k_tokens: float
    tokenizer: str


@dataclass(frozen=True, slots=True)
class _Entry:
    spec: RerankSpec
    apis: tuple[str, ...]


def find_reranker(provider: str, model: str, *, api: str = "compatible") -> RerankSpec:
    """The figures of the provider's reranker `model`; "" is the provider's first one.

    Raises ConfigurationError for a provider without reranking, an unknown or missing model, or an API that it lacks.
    """
    offered = [entry for entry in _entries() if entry.spec.provider == provider]
    if not offered:
        providers = ", ".join(dict.fromkeys(entry.spec.provider for entry in _entries()))
        message = f"rerank.provider is {provider!r}, which has no reranker; use one of {providers}, or none"
        raise ConfigurationError(message)
    if offered[0].spec.name == _ANY:
        if not model:
            message = f"rerank.model is empty; name the reranker of the {provider} endpoint"
            raise ConfigurationError(message)
        # Only DashScope has a second API, so `api` means nothing here.
        return replace(offered[0].spec, name=model)
    named = {entry.spec.name: entry for entry in offered}
    found = named.get(model or offered[0].spec.name)
    if found is None:
        raise ConfigurationError(unknown_name(f"rerank.model of provider {provider}", model, list(named)))
    if api not in found.apis:
        message = f'{found.spec.name} has no {api} API; set rerank.api = "{found.apis[0]}"'
        raise ConfigurationError(message)
    return replace(found.spec, api=api)


def rerank_url(spec: RerankSpec, *, base_url: str = "", embedding_base_url: str = "", region: str = "") -> str:
    """The URL of the reranker.

    Taken from `base_url`, else from `embedding_base_url` (the same provider's embeddings), else the provider's official
    address in `region` ("": its first). For dashscope the first two are a host, alone or with any of its roots
    (`/compatible-mode/v1`, `/v1`, `/api/v1`), from which it is derived. For the others they are a root to which
    `/rerank` is added (`http://HOST/v1`, or `http://HOST` for a server without versions, such as TEI), or the complete
    address. Raises ConfigurationError for anything else.
    """
    given = base_url or embedding_base_url or provider_url(spec.provider, region)
    url = given.rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        setting = "rerank.base_url" if base_url or not embedding_base_url else "embedding.base_url"
        message = (
            f"{setting} is {given!r}, from which the address of {spec.name} cannot be derived; set rerank.base_url to "
            "the root of its API, such as http://HOST:8000/v1 (/rerank is added), or to the complete address"
        )
        raise ConfigurationError(message)
    if spec.provider == "dashscope":
        return _beside(url, spec.api)
    if parts.path.endswith(_OWN_PATHS):
        return url
    if not parts.path and official_endpoint(url, spec.provider):
        url += find_provider(spec.provider).path
    return f"{url}/rerank"


def _beside(url: str, api: str) -> str:
    root = next((url.removesuffix(known) for known in _DASHSCOPE_ROOTS if url.endswith(known)), url)
    return url if root == url and url.endswith(_OWN_PATHS) else root + _DASHSCOPE_PATHS[api]


@cache
def _entries() -> tuple[_Entry, ...]:
    figures = {field.name for field in fields(RerankSpec)} - {"provider", "api", "name"}
    entries = []
    for given in models_toml()["reranker"]:
        unsourced = ({"apis"} | figures) - given["source"].keys()
        if unsourced:
            named = f"reranker {given['name']} of {given['provider']}"
            message = f"models.toml: {named} gives no source for {', '.join(sorted(unsourced))}"
            raise ConfigurationError(message)
        spec = RerankSpec(
            provider=given["provider"],
            api=given["apis"][0],
            name=given["name"],
            **{key: given[key] for key in figures},
        )
        entries.append(_Entry(spec, tuple(given["apis"])))
    return tuple(entries)
