"""Providers and embedding models: regions, hosts, limits, prices and optional features, from `configs/models.toml`."""

import tomllib
from dataclasses import MISSING, dataclass, fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from millrace.tasks.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Region:
    """A region of a provider; `hosts` are patterns."""

    name: str
    hosts: tuple[str, ...]

    @property
    def host(self) -> str:
        """The host that needs no workspace; "" if there is none."""
        return next((host for host in self.hosts if "*" not in host), "")


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider. Its OpenAI-compatible API is at `path` on its hosts; without regions it has no hosts."""

    name: str
    path: str
    regions: tuple[Region, ...]

    def region_of(self, url: str) -> Region | None:
        """The region that the host of `url` belongs to; None for "" and for any other host."""
        host = _host(url)
        return next((r for r in self.regions if any(fnmatchcase(host, pattern) for pattern in r.hosts)), None)

    def region_named(self, name: str) -> Region | None:
        """The region called `name` ("": the first); None for a provider without regions.

        Raises ConfigurationError for an unknown region.
        """
        names = [region.name for region in self.regions]
        if not name:
            return self.regions[0] if names else None
        if names and name not in names:
            message = unknown_name(f"embedding.region of provider {self.name}", name, names, always_list=True)
            raise ConfigurationError(message)
        if not names:
            message = f"embedding.region is {name!r}, but provider {self.name} has no regions; leave it empty"
            raise ConfigurationError(message)
        return self.regions[names.index(name)]

    def url_in(self, region: Region | None, base_url: str = "") -> str:
        """The OpenAI-compatible endpoint on the official host of `base_url`, or of `region`; "" where there is none."""
        if self.region_of(base_url) is not None:
            return f"https://{_host(base_url)}{self.path}"
        return f"https://{region.host}{self.path}" if region is not None and region.host else ""


def find_provider(name: str) -> Provider:
    """The provider called `name`. Raises ConfigurationError for an unknown one, naming the nearest."""
    providers = all_providers()
    if name not in providers:
        raise ConfigurationError(unknown_name("embedding.provider", name, sorted(providers)))
    return providers[name]


@cache
def all_providers() -> dict[str, Provider]:
    """Every provider by its name."""
    return {
        p["name"]: Provider(
            p["name"], p.get("path", ""), tuple(Region(r["name"], tuple(r["hosts"])) for r in p.get("region", ()))
        )
        for p in models_toml()["provider"]
    }


@cache
def models_toml() -> dict[str, Any]:
    """The content of `configs/models.toml`."""
    # Read as a resource, not imported: components do not import `configs`, and in a wheel it may not be a folder.
    return tomllib.loads(files("millrace.configs").joinpath("models.toml").read_text(encoding="utf-8"))


def unknown_name(setting: str, given: str, names: list[str], *, always_list: bool = False) -> str:
    """The error message for an unknown name: it suggests the nearest of `names`, or lists them all."""
    near = get_close_matches(given, names, n=1, cutoff=0.5)
    hints = [f"did you mean {near[0]!r}?"] if near else []
    if always_list or not near:
        hints.append("known: " + ", ".join(names))
    return f"{setting} is {given!r}, which is not known; {' '.join(hints)}"


def _host(base_url: str) -> str:
    return (urlsplit(base_url).hostname or "") if base_url else ""


_ANY = "*"
"""The name of the entry for every model of a provider that has no entry of its own."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model in one region. A limit of 0 means none, or none published; prices are yuan per 1,000 input tokens.

    `base_url` is the region's official endpoint ("" without a host of its own). `end_mark_tokens` are billed for each
    text beyond its own tokens. `dimensions` are the vector lengths it is known to give (empty: unknown); if
    `least_dimensions` is not 0, any length from there to the largest can be requested. `default_dimensions` is its own
    length, 0 if unknown. `sparse` and `instruct` say what its native API supports. `priced` is False where the price
    is unknown. `remark` is shown to whoever uses the model.
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
    least_dimensions: int = 0
    sparse: bool = False
    instruct: bool = False
    priced: bool = True
    remark: str = ""

    @property
    def takes_dimensions(self) -> bool:
        """Whether a number of dimensions can be requested; text-embedding-v1 and v2 silently ignore it."""
        return len(self.dimensions) > 1 or self.least_dimensions > 0

    def supports_dimensions(self, dimensions: int) -> bool:
        """Whether the model gives vectors of that length, as far as is known."""
        if not self.dimensions:
            return dimensions > 0
        shortened = self.least_dimensions and self.least_dimensions <= dimensions <= max(self.dimensions)
        return dimensions in self.dimensions or bool(shortened)


@dataclass(frozen=True, slots=True)
class _Entry:
    spec: ModelSpec
    patterns: tuple[str, ...]

    def is_named(self, model: str) -> bool:
        short = model.lower().rsplit("/", 1)[-1]
        return model == self.spec.name or any(fnmatchcase(short, pattern) for pattern in self.patterns)


def find_model(
    provider: str, model: str, *, base_url: str = "", region: str = "", dimensions: int | None = None
) -> ModelSpec:
    """The model's figures, in the region of `base_url` if its host is the provider's, else in `region`.

    `model` "" is the provider's first model, `region` "" its first region. For a model without an entry, at a provider
    that takes any name, `dimensions` become its default.

    Raises:
        ConfigurationError: an unknown provider, region or model (the message suggests the nearest known one); no model
            where one must be named; no `base_url` for a region without a host of its own; no `dimensions` for an
            unknown model.
    """
    known, entries = find_provider(provider), _entries_of(provider)
    fallback = next((entry.spec for entry in entries if entry.spec.name == _ANY), None)
    if not model:
        if fallback is not None:
            what = "the id of your service" if provider == "iflytek" else "the model's name on the server"
            message = f"embedding.model is empty; provider {provider} needs it: {what}"
            raise ConfigurationError(message)
        model = known_models(provider)[0]
    named = [entry.spec for entry in entries if entry.is_named(model)]
    if not named and fallback is None:
        message = unknown_name(f"embedding.model of provider {provider}", model, sorted(known_models(provider)))
        raise ConfigurationError(message)
    chosen = known.region_of(base_url) or known.region_named(region)
    if not base_url and chosen is not None and chosen.hosts and not chosen.host:
        message = (
            f"embedding.region {chosen.name} has a host for each workspace only: set embedding.base_url to "
            f"https://{chosen.hosts[0].replace('*', '{WorkspaceId}')}{known.path}"
        )
        raise ConfigurationError(message)
    if not named:
        assert fallback is not None
        own = fallback.default_dimensions or dimensions or 0
        named = [replace(fallback, name=model, default_dimensions=own)]
    if not named[0].default_dimensions:
        message = (
            f"the model {model!r} of provider {provider} is unknown, and so is the length of its vectors; set "
            "embedding.dimensions to it"
        )
        raise ConfigurationError(message)
    at = chosen.name if chosen is not None else ""
    spec = next((spec for spec in named if spec.region == at), named[0])
    return replace(spec, name=model, region=at, base_url=known.url_in(chosen, base_url))


def known_models(provider: str) -> tuple[str, ...]:
    """The names of the provider's models, as ordered in `models.toml`. Raises ConfigurationError as `find_model`."""
    find_provider(provider)
    names = (entry.spec.name for entry in _entries_of(provider))
    return tuple(dict.fromkeys(name for name in names if name != _ANY))


def choose_dimensions(spec: ModelSpec, dimensions: int | None) -> int:
    """The length of the vectors: `dimensions`, or the model's default for None.

    Raises ConfigurationError if the model does not offer it.
    """
    chosen = spec.default_dimensions if dimensions is None else dimensions
    if not spec.supports_dimensions(chosen):
        offered = "choose one of: " + ", ".join(map(str, sorted(spec.dimensions)))
        if spec.least_dimensions:
            offered = f"choose {spec.least_dimensions} to {max(spec.dimensions)}"
        region = f" in {spec.region}" if spec.region else ""
        message = f"embedding.dimensions is {chosen}, which {spec.name}{region} does not offer; {offered}"
        raise ConfigurationError(message)
    return chosen


def _entries_of(provider: str) -> list[_Entry]:
    return [entry for entry in _entries() if entry.spec.provider == provider]


@cache
def _entries() -> tuple[_Entry, ...]:
    entries: list[_Entry] = []
    for given in models_toml()["model"]:
        provider = given["provider"]
        inherited = next((e.spec for e in entries if e.spec.provider == provider and e.spec.name == _ANY), None)
        entries.append(_Entry(_model_spec(given, inherited), tuple(given.get("names", ()))))
    return tuple(entries)


def _model_spec(entry: dict[str, Any], inherited: ModelSpec | None) -> ModelSpec:
    figures = {key: entry[key] for key in _FIGURES if key in entry}
    unsourced = (figures.keys() - entry["source"].keys()) - {"remark"}
    missing = set() if inherited else _NECESSARY - figures.keys()
    if unsourced or missing:
        named = f"{entry['name']} in {entry['region']}" if entry["region"] else entry["name"]
        message = f"models.toml: {named} gives no source for {', '.join(sorted(unsourced | missing))}"
        raise ConfigurationError(message)
    if "dimensions" in figures:
        figures["dimensions"] = tuple(figures["dimensions"])
    if inherited:
        return replace(inherited, name=entry["name"], region=entry["region"], **figures)
    return ModelSpec(provider=entry["provider"], name=entry["name"], region=entry["region"], base_url="", **figures)


_FIGURES = {field.name for field in fields(ModelSpec)} - {"provider", "name", "region", "base_url"}
_NECESSARY = {field.name for field in fields(ModelSpec) if field.default is MISSING and field.name in _FIGURES}


def check_capabilities(
    spec: ModelSpec,
    *,
    api: str = "compatible",
    text_type: str = "",
    instruct: str = "",
    sparse: bool = False,
    section: str = "embedding",
) -> None:
    """Raise ConfigurationError if the model, through this API, lacks a requested feature.

    `section` names, in messages, the settings section of `text_type` and `instruct`.
    """
    native = api == "native"
    if native and spec.provider != "dashscope":
        message = f'embedding.api = "native" is for DashScope only; {spec.provider} needs embedding.api = "compatible"'
        raise ConfigurationError(message)
    if instruct and (why_not := _why_no_instruct(spec, native=native, text_type=text_type, section=section)):
        raise ConfigurationError(f"{section}.instruct is set, but {why_not}")
    if sparse and not (spec.sparse and (native or spec.provider == "local")):
        message = (
            f'milvus.hybrid is "sparse", but {spec.name} of provider {spec.provider} gives no sparse vectors over the '
            f'{api} API; DashScope\'s text-embedding-v4 and v3 do with embedding.api = "native", or use "bm25"'
        )
        raise ConfigurationError(message)


def _why_no_instruct(spec: ModelSpec, *, native: bool, text_type: str, section: str) -> str:
    if native and text_type != "query":
        return f'only queries take an instruction: it needs {section}.text_type = "query"'
    if native and not spec.instruct:
        return f"{spec.name} takes no instruction; text-embedding-v4 does"
    if spec.provider == "dashscope" and not native:
        return 'the compatible API takes no instruction: it needs embedding.api = "native"'
    return "provider local takes no instruction; leave it empty" if spec.provider == "local" else ""
