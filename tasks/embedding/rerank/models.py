"""What each reranker takes and costs, read from `configs/models.toml`, and where it is reached."""

from dataclasses import dataclass, fields, replace
from functools import cache
from urllib.parse import urlsplit

from millrace.tasks.embedding.addresses import official_endpoint, provider_url
from millrace.tasks.embedding.models import find_provider, models_toml, unknown
from millrace.tasks.errors import ConfigurationError

_ANY = "*"
_DASHSCOPE_PATHS = {
    "compatible": "/compatible-api/v1/reranks",
    "native": "/api/v1/services/rerank/text-rerank/text-rerank",
}
# What may follow a host of DashScope, or a gateway to it, in an address that somebody has: reranking is beside it.
_DASHSCOPE_ROOTS = (*_DASHSCOPE_PATHS.values(), "/compatible-api/v1", "/compatible-mode/v1", "/api/v1", "/v1")
_OWN_PATHS = ("/rerank", "/reranks")  # what ends in these is the whole address, of a gateway perhaps


@dataclass(frozen=True, slots=True)
class RerankSpec:
    """One reranker. A limit of 0 is none, or none published; the price is yuan per 1,000 tokens.

    `api` is the one to be spoken, of those it has: "compatible" or "native". `tokens_per_request` bounds the query's
    tokens times the documents, plus the documents' tokens. `tokenizer` is "" where it is not known.
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
    """The figures of the provider's reranker `model`; "" is the first one of a provider that has named ones.

    Raises ConfigurationError for a provider without reranking, an unknown or missing model, or an API that it has not.
    """
    offered = [entry for entry in _entries() if entry.spec.provider == provider]
    if not offered:
        providers = ", ".join(dict.fromkeys(entry.spec.provider for entry in _entries()))
        message = f"rerank.provider is {provider!r}, which has no reranker; use one of {providers}, or none"
        raise ConfigurationError(message)
    if offered[0].spec.name == _ANY:
        if not model:
            message = f"rerank.model is empty; name the reranker that the {provider} endpoint is to use"
            raise ConfigurationError(message)
        # Of the two APIs only DashScope has the second, so nobody can mean anything by it here.
        return replace(offered[0].spec, name=model)
    named = {entry.spec.name: entry for entry in offered}
    found = named.get(model or offered[0].spec.name)
    if found is None:
        raise ConfigurationError(unknown(f"rerank.model of provider {provider}", model, list(named)))
    if api not in found.apis:
        message = f'{found.spec.name} has no {api} API; set rerank.api = "{found.apis[0]}"'
        raise ConfigurationError(message)
    return replace(found.spec, api=api)


def rerank_url(spec: RerankSpec, *, base_url: str = "", embedding_base_url: str = "", region: str = "") -> str:
    """The URL that requests go to.

    `base_url` comes first, `embedding_base_url` is where the same provider's embeddings are, and with neither it is the
    provider's own address in `region` ("" for its first). For dashscope each is a host, alone or with any of its roots
    (`/compatible-mode/v1`, `/v1`, `/api/v1`): reranking is beside them. For the others it is a root, to which `/rerank`
    is added (`http://HOST/v1`, or `http://HOST` for a server without versions, such as TEI), or the whole address.
    Raises ConfigurationError for anything else.
    """
    given = base_url or embedding_base_url or provider_url(spec.provider, region)
    url = given.rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        setting = "rerank.base_url" if base_url or not embedding_base_url else "embedding.base_url"
        message = (
            f"{setting} is {given!r}, which does not tell where {spec.name} is; set rerank.base_url to the root of its "
            "API, such as http://HOST:8000/v1 (/rerank is added), or to the whole address, which ends in /rerank"
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
            message = f"models.toml: {named} does not say where it has {', '.join(sorted(unsourced))} from"
            raise ConfigurationError(message)
        spec = RerankSpec(
            provider=given["provider"],
            api=given["apis"][0],
            name=given["name"],
            **{key: given[key] for key in figures},
        )
        entries.append(_Entry(spec, tuple(given["apis"])))
    return tuple(entries)
