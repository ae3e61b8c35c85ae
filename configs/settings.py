"""Settings: frozen models filled from the defaults, a TOML file, the environment and `--set`, in rising precedence.

The defaults and the meaning of every key are in `default.toml` beside this file; here are the types and the bounds.
Nothing is read at import. Secrets are never settings: a setting only names the environment variable that holds one.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from millrace.tasks.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ENVIRONMENT_PREFIX = "MILLRACE_"

_ADDRESSES = {
    "milvus.uri": "milvus.token_env",
    "embedding.base_url": "embedding.api_key_env",
    "rerank.base_url": "rerank.api_key_env",
}
"""Keys whose value ends up in run records and messages, and the key that names the variable with the secret."""

Name = Annotated[str, Field(min_length=1)]
BaseUrl = Annotated[str, Field(pattern=r"^(https?://[^\s@]+)?$")]
Provider = Literal["local", "dashscope", "iflytek", "openai"]
LimitOrCatalogue = Annotated[float, Field(ge=0)]
CountOrCatalogue = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A frozen section; unknown keys are refused before validation, with the nearest known name."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EmbeddingSettings(Section):
    """Which model makes the vectors, and where it is reached."""

    provider: Provider
    api: Literal["compatible", "native"]
    model: str
    region: str
    base_url: BaseUrl
    dimensions: CountOrCatalogue
    ask_dimensions: Literal["auto", "always", "never"]
    text_type: Literal["document", "query"]
    instruct: str
    tokenizer: str
    api_key_env: str
    timeout_s: Annotated[float, Field(gt=0, le=600)]


class RerankSettings(Section):
    """Which model orders what a search retrieved, and where it is reached."""

    provider: Literal["", "none", "dashscope", "iflytek", "openai"]
    api: Literal["compatible", "native"]
    model: str
    base_url: BaseUrl
    instruct: str
    api_key_env: str
    timeout_s: Annotated[float, Field(gt=0, le=600)]


class ChunkingSettings(Section):
    """How long a chunk may be, in tokens."""

    max_tokens: Annotated[int, Field(ge=1, le=8191)]
    overlap_tokens: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> "ChunkingSettings":
        if self.overlap_tokens > self.max_tokens // 2:
            raise ValueError(f"overlap_tokens must be at most half of max_tokens, {self.max_tokens // 2}")
        return self


class LimitSettings(Section):
    """The provider's limits for this account; 0 is what the catalogue says."""

    requests_per_second: LimitOrCatalogue
    tokens_per_second: LimitOrCatalogue
    requests_per_minute: LimitOrCatalogue
    tokens_per_minute: LimitOrCatalogue
    texts_per_request: CountOrCatalogue
    tokens_per_request: CountOrCatalogue
    max_in_flight: CountOrCatalogue
    shared_as: str


class BudgetSettings(Section):
    """What a run may cost, in yuan; None is no cap."""

    max_cny: Annotated[float, Field(ge=0)] | None = None


class LakeSettings(Section):
    """Where the Parquet files are kept."""

    path: Name
    endpoint: BaseUrl
    region: str
    virtual_hosting: bool
    local_dir: str


class MilvusSettings(Section):
    """The collection, and how it is reached."""

    uri: Annotated[str, Field(min_length=1, pattern=r"^[^@]+$|^[^:]+$")]
    collection: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")]
    alias: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]{0,254})?$")]
    database: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$", max_length=255)]
    token_env: Name
    tls_ca: str
    bulk_path: str
    bulk_server_path: str
    bulk_rows: Annotated[int, Field(ge=1)]
    timeout_s: Annotated[float, Field(gt=0)]
    content_max_bytes: Annotated[int, Field(ge=64, le=65535)]
    metric: Literal["COSINE", "IP", "L2"]
    index: Literal["HNSW", "IVF_FLAT", "DISKANN", "AUTOINDEX", "FLAT"]
    hnsw_m: Annotated[int, Field(ge=2, le=2048)]
    hnsw_ef_construction: Annotated[int, Field(ge=1)]
    hnsw_ef: Annotated[int, Field(ge=0, le=32768)]
    ivf_nlist: Annotated[int, Field(ge=1, le=65536)]
    ivf_nprobe: Annotated[int, Field(ge=0, le=65536)]
    diskann_search_list: Annotated[int, Field(ge=0, le=65535)]
    scalar_fields: tuple[str, ...]
    partition_key: str
    hybrid: Literal["none", "sparse", "bm25"]
    analyzer: Literal["standard", "english", "chinese"]


class SourceSettings(Section):
    """Which files of a source are documents, and how many may go missing."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    base: str
    max_removed_share: Annotated[float, Field(ge=0, le=1)]


class DocumentSettings(Section):
    """How documents are read, and the bounds of the processes that read them."""

    encoding: str
    text_column: Name
    id_column: Name
    title_column: Name
    metadata_columns: tuple[str, ...]
    timeout_s: Annotated[float, Field(gt=0)]
    pdf_engine: Literal["pypdf", "pdfium"]
    max_memory_mb: Annotated[int, Field(ge=512)]
    workers: CountOrCatalogue
    dask_scheduler: Annotated[str, Field(pattern=r"^((tcp|tls)://[^\s@/]+:\d+)?$")]


class SearchSettings(Section):
    """How many rows a search asks for and shows."""

    top_k: Annotated[int, Field(ge=1, le=16384)]
    top_n: Annotated[int, Field(ge=1, le=16384)]
    text_type: Literal["query", "document"]
    instruct: str
    rrf_k: Annotated[int, Field(ge=1, le=16384)]


class MetricsSettings(Section):
    """Where a scraper finds the metrics of a run."""

    port: Annotated[int, Field(ge=0, le=65535)]
    host: Name
    textfile_dir: str


class ReportSettings(Section):
    """Where the reports of runs are seen."""

    url: BaseUrl


class Settings(Section):
    """Every setting, by section."""

    embedding: EmbeddingSettings
    chunking: ChunkingSettings
    limits: LimitSettings
    budget: BudgetSettings
    lake: LakeSettings
    milvus: MilvusSettings
    sources: SourceSettings
    documents: DocumentSettings
    search: SearchSettings
    rerank: RerankSettings
    metrics: MetricsSettings
    reports: ReportSettings

    def with_overrides(self, overrides: Iterable[str]) -> "Settings":
        """The same settings with `section.key=value` applied on top."""
        values = self.model_dump()
        for assignment in overrides:
            _assign(values, assignment, origin=f"--set {assignment}")
        return _validated(values)

    def with_values(self, values: Mapping[str, Mapping[str, object]]) -> "Settings":
        """The same settings with these values, by section and key, in place of theirs."""
        return _validated({name: section | values.get(name, {}) for name, section in self.model_dump().items()})


def load_settings(
    config: Path | None = None,
    overrides: Iterable[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Settings from the defaults, the TOML file `config`, the environment and `section.key=value` overrides.

    Raises `ConfigurationError` for a missing or malformed file, an unknown key (naming the nearest known one) or a
    value out of bounds.
    """
    values: dict[str, Any] = tomllib.loads(
        files("millrace.configs").joinpath("default.toml").read_text(encoding="utf-8")
    )
    if config is not None:
        _merge_file(values, config)
    for variable, text in sorted(environment.items()):
        if variable.startswith(ENVIRONMENT_PREFIX) and "__" in variable:
            section, _, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
            _assign(values, f"{section}.{key}={text}", origin=f"environment variable {variable}")
    for assignment in overrides:
        _assign(values, assignment, origin=f"--set {assignment}")
    return _validated(values)


def known_keys() -> list[str]:
    """Every `section.key`, in the order of the models."""
    return [f"{section}.{key}" for section, model in _sections().items() for key in model.model_fields]


def _sections() -> dict[str, type[Section]]:
    sections: dict[str, type[Section]] = {}
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type), name
        sections[name] = field.annotation
    return sections


def _merge_file(values: dict[str, Any], config: Path) -> None:
    try:
        given = tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"configuration file {config} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"configuration file {config} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"configuration file {config} is not valid TOML: {error}") from error
    for section, keys in given.items():
        if not isinstance(keys, dict):
            raise ConfigurationError(f"{config}: '{section}' stands outside a section; write it under [section]")
        if section not in values:
            raise ConfigurationError(f"{config}: unknown section [{section}]{_nearest(section, list(values))}")
        for key, value in keys.items():
            _require_known(f"{section}.{key}", origin=str(config))
            values[section][key] = value


def _assign(values: dict[str, Any], assignment: str, *, origin: str) -> None:
    name, equals, text = assignment.partition("=")
    if not equals:
        raise ConfigurationError(f"{origin}: expected section.key=value")
    name = name.strip()
    _require_known(name, origin=origin)
    section, _, key = name.partition(".")
    annotation = _sections()[section].model_fields[key].annotation
    values[section][key] = _parse_list(text, origin=origin) if get_origin(annotation) is tuple else text.strip()


def _parse_list(text: str, *, origin: str) -> list[str]:
    """A TOML array, or words parted by commas: `a, b` is `["a", "b"]`, nothing is `[]`."""
    text = text.strip()
    if not text.startswith("["):
        return [word.strip() for word in text.split(",") if word.strip()]
    try:
        words = tomllib.loads(f"words = {text}")["words"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f'{origin}: not a list; write ["a", "b"] or a,b ({error})') from error
    return [str(word) for word in words]


def _require_known(name: str, *, origin: str) -> None:
    if name not in known_keys():
        raise ConfigurationError(f"{origin}: unknown key '{name}'{_nearest(name, known_keys())}")


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    if not near:  # perhaps the key is right and the section is not
        near = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]]
    return f"; did you mean '{near[0]}'?" if near else f"; known are: {', '.join(known)}"


def _validated(values: dict[str, Any]) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError("wrong settings: " + "; ".join(map(_problem, error.errors()))) from None


def _problem(problem: "ErrorDetails") -> str:
    """What is wrong with one key; a password that stands in a URL is not repeated."""
    key, given = ".".join(str(part) for part in problem["loc"][:2]), repr(problem["input"])
    if key in _ADDRESSES and "@" in given:
        where = _ADDRESSES[key]
        return f"{key} carries a user or a password; leave them out, and put them in the variable that {where} names"
    return f"{key} = {given}: {problem['msg']}"
