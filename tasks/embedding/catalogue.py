"""What each embedding model takes, allows and costs, read from `configs/models.toml`."""

import tomllib
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from tasks.errors import ConfigurationError
from tasks.records import EmbeddingSpace


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model in one region. A limit of 0 is none, or none published; prices are yuan per 1,000 input tokens.

    `base_url` is the region's official endpoint ("" where it has no host of its own); `end_mark_tokens` is what each
    text is billed beyond its own tokens.
    """

    provider: str
    name: str
    region: str
    base_url: str
    dimensions: tuple[int, ...]
    default_dimensions: int
    texts_per_request: int
    tokens_per_text: int
    tokens_per_request: int
    requests_per_second: float
    tokens_per_second: float
    requests_per_minute: float
    tokens_per_minute: float
    price_cny_per_1k_tokens: float
    batch_price_cny_per_1k_tokens: float
    end_mark_tokens: int
    tokenizer: str

    @property
    def takes_dimensions(self) -> bool:
        """Whether the number of dimensions can be asked for; text-embedding-v1 and v2 ignore it in silence."""
        return len(self.dimensions) > 1


@dataclass(frozen=True, slots=True)
class _Region:
    name: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Provider:
    name: str
    path: str
    regions: tuple[_Region, ...]

    def region_of(self, host: str) -> _Region | None:
        return next((r for r in self.regions if any(fnmatchcase(host, pattern) for pattern in r.hosts)), None)


@dataclass(frozen=True, slots=True)
class _Catalogue:
    providers: dict[str, _Provider]
    models: tuple[ModelSpec, ...]


def find_model(provider: str, model: str, *, base_url: str = "") -> ModelSpec:
    """The model's figures in the region of `base_url`'s host; in the provider's default region for a host not its own.

    `model` "" is the provider's first model. Raises ConfigurationError for an unknown provider or model, naming the
    nearest known one.
    """
    known = _known(provider)
    model = model or known_models(provider)[0]
    named = [spec for spec in _catalogue().models if spec.provider == provider and spec.name == model]
    if not named:
        names = sorted({spec.name for spec in _catalogue().models if spec.provider == provider})
        raise ConfigurationError(_unknown(f"embedding.model of provider {provider}", model, names))
    region = known.region_of(_host(base_url)) or known.regions[0]
    spec = next((spec for spec in named if spec.region == region.name), named[0])
    return replace(spec, region=region.name, base_url=_official_url(known, region, base_url))


def known_models(provider: str) -> tuple[str, ...]:
    """The names of the provider's models, in the order of the catalogue. Raises ConfigurationError as `find_model`."""
    _known(provider)
    return tuple(dict.fromkeys(spec.name for spec in _catalogue().models if spec.provider == provider))


def official_endpoint(base_url: str) -> bool:
    """Whether `base_url` is at one of a provider's own hosts; "" stands for the default one."""
    return not base_url or any(p.region_of(_host(base_url)) is not None for p in _catalogue().providers.values())


def endpoint_url(spec: ModelSpec, base_url: str) -> str:
    """The URL below which `/embeddings` is, without a slash at its end.

    `base_url` is "" for the model's official endpoint, an official host with or without its path
    (`https://dashscope.aliyuncs.com/compatible-mode/v1`), or any URL that ends in `/v1`.
    Raises ConfigurationError for anything else.
    """
    if not base_url:
        return spec.base_url
    url = base_url.rstrip("/")
    parts = urlsplit(url)
    if parts.scheme in {"http", "https"} and parts.hostname:
        if official_endpoint(url) and not parts.path:
            return url + _known(spec.provider).path
        if not parts.query and parts.path.rsplit("/", 1)[-1] in {"v1", "v2", "v3"}:
            return url
    message = (
        f"embedding.base_url is {base_url!r}; expected a URL that ends in /v1, such as {spec.base_url or 'http://HOST/v1'}"
        " (the path /embeddings is added to it)"
    )
    raise ConfigurationError(message)


def choose_dimensions(spec: ModelSpec, dimensions: int | None) -> int:
    """The length of the vectors: `dimensions`, or the model's default for None.

    Raises ConfigurationError if the model does not offer it.
    """
    chosen = spec.default_dimensions if dimensions is None else dimensions
    if chosen not in spec.dimensions:
        offered = ", ".join(map(str, sorted(spec.dimensions)))
        message = (
            f"embedding.dimensions is {chosen}, which {spec.name} in {spec.region} does not offer; "
            f"choose one of: {offered}"
        )
        raise ConfigurationError(message)
    return chosen


def embedding_space(spec: ModelSpec, base_url: str, dimensions: int) -> EmbeddingSpace:
    """The space of the vectors that `spec` gives at `base_url`.

    All official hosts of a provider are one endpoint, so that changing the region buys nothing again; any other host
    stands for itself.
    """
    official = official_endpoint(base_url)
    return EmbeddingSpace(
        endpoint=spec.provider if official else endpoint_url(spec, base_url), model=spec.name, dimensions=dimensions
    )


@cache
def _catalogue() -> _Catalogue:
    # Read as a resource, not imported: rooms do not import `configs`, and in a wheel it may not be a folder.
    data: dict[str, Any] = tomllib.loads(files("configs").joinpath("models.toml").read_text(encoding="utf-8"))
    providers = {
        p["name"]: _Provider(
            p["name"], p.get("path", ""), tuple(_Region(r["name"], tuple(r["hosts"])) for r in p["region"])
        )
        for p in data["provider"]
    }
    figures = {field.name for field in fields(ModelSpec)} - {"provider", "name", "region", "base_url"}
    models = []
    for entry in data["model"]:
        unsourced = figures - entry["source"].keys()
        if unsourced:
            named = f"{entry['name']} in {entry['region']}"
            message = f"models.toml: {named} does not say where it has {', '.join(sorted(unsourced))} from"
            raise ConfigurationError(message)
        figures_of = {key: entry[key] for key in figures}
        figures_of["dimensions"] = tuple(entry["dimensions"])
        models.append(
            ModelSpec(provider=entry["provider"], name=entry["name"], region=entry["region"], base_url="", **figures_of)
        )
    return _Catalogue(providers, tuple(models))


def _known(provider: str) -> _Provider:
    providers = _catalogue().providers
    if provider not in providers:
        raise ConfigurationError(_unknown("embedding.provider", provider, sorted(providers)))
    return providers[provider]


def _official_url(provider: _Provider, region: _Region, base_url: str) -> str:
    if provider.region_of(_host(base_url)) is not None:
        return f"https://{_host(base_url)}{provider.path}"
    fixed = [host for host in region.hosts if "*" not in host]
    return f"https://{fixed[0]}{provider.path}" if fixed else ""


def _host(base_url: str) -> str:
    return (urlsplit(base_url).hostname or "") if base_url else ""


def _unknown(setting: str, given: str, names: list[str]) -> str:
    near = get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else ""
    return f"{setting} is {given!r}, which is not known; {hint or 'known: ' + ', '.join(names)}"
