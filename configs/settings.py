"""Settings: frozen models filled from the defaults, a TOML file, the environment and `--set`, in rising precedence.

The defaults and the meaning of every key are in `default.toml` beside this file; here are the types and the bounds.
Nothing is read at import. Secrets are never settings: a setting only names the environment variable that holds one.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from millrace.configs.deadline import deadline_of
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.secrets import looks_like_secret, mask

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ENVIRONMENT_PREFIX = "MILLRACE_"

ASSIGNED = "--set"
ENVIRONMENT = "environment"
CALL = "the program"
"""Where a setting is from, beside the path of a file: an override, the environment, or arguments in Python."""

_CREDENTIALS_GO = {
    "milvus.uri": "put them in the variable that milvus.token_env names",
    "embedding.base_url": "put them in the variable that embedding.api_key_env names",
    "rerank.base_url": "put them in the variable that rerank.api_key_env names",
    "lake.endpoint": "put them in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "reports.url": "the page of a run needs none",
    "documents.dask_scheduler": "Dask takes certificates, from its own configuration",
}
"""Keys whose value ends up in run records and messages, and where a user and a password go instead."""

_VARIABLES = frozenset({"milvus.token_env", "embedding.api_key_env", "rerank.api_key_env"})
"""Keys that name the environment variable with a secret, and that are given the secret itself by mistake."""


def _words(value: object) -> object:
    """A TOML array, or words parted by commas: `a, b` is `["a", "b"]`, nothing is `[]`; what is no text is left."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        return _toml(text, 'not a list; write ["a", "b"] or a,b')
    return [word.strip() for word in text.split(",") if word.strip()]


def _columns(value: object) -> object:
    """One column, a TOML array of them, or a TOML table of globs; what is no text is left."""
    if isinstance(value, str) and value.startswith(("[", "{")):
        return _toml(value, 'not columns; write a, ["a", "b"] or {"*.csv" = "a", "*.tsv" = ["b", "c"]}')
    return value


def _commands(value: object) -> object:
    """A TOML table of suffixes and commands, as text or as it is."""
    example = '{ ".doc" = "soffice --headless --convert-to docx --outdir {out} {in}" }'
    return _toml(value, f"not commands by suffix; write {example}") if isinstance(value, str) and value else value or {}


def _toml(text: str, problem: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{problem} ({error})") from None


def _no_secret(name: str) -> str:
    if looks_like_secret(name):
        raise ValueError("a secret")
    return name


def _no_secret_in_address(address: str) -> str:
    if mask(address) != address:
        raise ValueError("it carries a key")
    return address


def _deadline(text: str) -> str:
    """A moment that has passed is for the run to refuse: what was set in the morning is read at night."""
    if text:
        deadline_of(text, datetime(1, 1, 2, tzinfo=UTC))
    return text


Name = Annotated[str, Field(min_length=1)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Columns = Name | Annotated[tuple[Name, ...], Field(min_length=1)]
TextColumns = Annotated[Columns | dict[Name, Columns], NoDecode, BeforeValidator(_columns)]
Commands = Annotated[dict[Name, Name], NoDecode, BeforeValidator(_commands)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), AfterValidator(_no_secret)]
BaseUrl = Annotated[str, Field(pattern=r"^(https?://[^\s@]+)?$"), AfterValidator(_no_secret_in_address)]
Provider = Literal["local", "dashscope", "iflytek", "openai"]
FailOn = Literal["any", "new", "none"]
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
    api_key_env: Literal[""] | Variable
    timeout_s: Annotated[float, Field(gt=0, le=600)]
    allow_change: bool
    batch: Literal["", "never", "auto", "always"]
    deadline: Annotated[str, AfterValidator(_deadline)]
    detach: bool
    batch_window: Annotated[str, Field(pattern=r"^[1-9][0-9]*[hd]$")]
    batch_poll_s: Annotated[float, Field(gt=0)]

    @property
    def road(self) -> Literal["never", "auto", "always"]:
        """`batch`, with what "" stands for."""
        return self.batch or ("auto" if self.deadline or self.detach else "never")


class RerankSettings(Section):
    """Which model orders what a search retrieved, and where it is reached."""

    provider: Literal["", "none", "dashscope", "iflytek", "openai"]
    api: Literal["compatible", "native"]
    model: str
    base_url: BaseUrl
    instruct: str
    api_key_env: Literal[""] | Variable
    timeout_s: Annotated[float, Field(gt=0, le=600)]


class ChunkingSettings(Section):
    """How long a chunk may be, in tokens, and whether sections share one."""

    max_tokens: Annotated[int, Field(ge=1, le=8191)]
    overlap_tokens: Annotated[int, Field(ge=0)]
    sections: Literal["pack", "apart"]
    context: Literal["none", "headings"]

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
    readable_by: Literal["owner", "group", "everyone"]


class MilvusSettings(Section):
    """The collection, and how it is reached."""

    uri: Annotated[str, Field(min_length=1, pattern=r"^[^@]+$|^[^:]+$"), AfterValidator(_no_secret_in_address)]
    collection: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")]
    alias: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]{0,254})?$")]
    claim: Literal["sole", "share", "take_over"]
    database: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$", max_length=255)]
    token_env: Variable
    tls_ca: str
    bulk_path: str
    bulk_server_path: str
    bulk_rows: Annotated[int, Field(ge=1)]
    timeout_s: Annotated[float, Field(gt=0)]
    wait_s: Annotated[float, Field(ge=0)]
    content_max_bytes: Annotated[int, Field(ge=64, le=65535)]
    metric: Literal["COSINE", "IP", "L2"]
    index: Literal["HNSW", "IVF_FLAT", "DISKANN", "AUTOINDEX", "FLAT"]
    lite_flat_rows: Annotated[int, Field(ge=0)]
    hnsw_m: Annotated[int, Field(ge=2, le=2048)]
    hnsw_ef_construction: Annotated[int, Field(ge=1)]
    hnsw_ef: Annotated[int, Field(ge=0, le=32768)]
    ivf_nlist: Annotated[int, Field(ge=1, le=65536)]
    ivf_nprobe: Annotated[int, Field(ge=0, le=65536)]
    diskann_search_list: Annotated[int, Field(ge=0, le=65535)]
    scalar_fields: Words
    partition_key: str
    hybrid: Literal["none", "sparse", "bm25"]
    analyzer: Literal["auto", "standard", "english", "chinese"]


class SourceSettings(Section):
    """Which files of a source are documents, and how many may go missing."""

    include: Words
    exclude: Words
    base: str
    follow_links: bool
    unknown: Literal["report", "reject"]
    max_removed_share: Annotated[float, Field(ge=0, le=1)]


class DocumentSettings(Section):
    """How documents are read, and the bounds of the processes that read them."""

    encoding: str
    text_column: TextColumns
    id_column: Name
    title_column: Name
    metadata_columns: Words
    timeout_s: Annotated[float, Field(gt=0)]
    pdf_engine: Literal["pypdf", "pdfium"]
    sheets: Literal["tables", "records"]
    ocr: Literal["off", "pages", "all"]
    external: Commands
    external_timeout_s: Annotated[float, Field(gt=0)]
    max_memory_mb: Annotated[int, Field(ge=512)]
    workers: CountOrCatalogue
    dask_scheduler: Annotated[str, Field(pattern=r"^((tcp|tls)://[^\s@/]+:\d+)?$")]


class RejectSettings(Section):
    """What rejects mean for a run that has finished."""

    fail_on: FailOn


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


_Sources = tuple[tuple[PydanticBaseSettingsSource, ...], dict[str, Any]]


class Settings(BaseSettings):
    """Every setting, by section.

    `Settings(embedding={"provider": "dashscope"})` takes what is not named from the environment, then from the
    defaults; `load_settings` reads a file and assignments too.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", hide_input_in_errors=True
    )

    embedding: EmbeddingSettings
    chunking: ChunkingSettings
    limits: LimitSettings
    budget: BudgetSettings
    lake: LakeSettings
    milvus: MilvusSettings
    sources: SourceSettings
    documents: DocumentSettings
    rejects: RejectSettings
    search: SearchSettings
    rerank: RerankSettings
    metrics: MetricsSettings
    reports: ReportSettings

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    def __init__(self, _build_sources: _Sources | None = None, **sections: Any) -> None:
        own = (InitSettingsSource(Settings, sections), _Environment(Settings, os.environ))
        super().__init__(_build_sources=_build_sources or ((*own, _defaults()), {}))
        self._origins = {} if _build_sources else _origins_of(zip((CALL, ENVIRONMENT), own, strict=True))

    @property
    def given(self) -> frozenset[str]:
        """Each `section.key` that a file, the environment or an assignment has set; the others are defaults."""
        return frozenset(self._origins)

    @property
    def origins(self) -> Mapping[str, str]:
        """Where each of `given` is from: `ASSIGNED`, `ENVIRONMENT`, `CALL`, or the path of the file."""
        return self._origins

    def with_overrides(self, overrides: Iterable[str]) -> "Settings":
        """The same settings with `section.key=value` applied on top."""
        return self._with(_assigned(overrides), ASSIGNED)

    def with_values(self, values: Mapping[str, Mapping[str, object]], *, given: bool = True) -> "Settings":
        """The same settings with these values, by section and key, in place of theirs.

        With `given` they count as set by the user.
        """
        return self._with(values, CALL if given else "")

    def _with(self, values: Mapping[str, Mapping[str, object]], origin: str) -> "Settings":
        merged = {name: section | values.get(name, {}) for name, section in self.model_dump().items()}
        new = dict.fromkeys(_keys_of(values), origin) if origin else {}
        return _validated([InitSettingsSource(Settings, merged)], origins={**self._origins, **new})


class _Environment(EnvSettingsSource):
    """The variables `MILLRACE_SECTION__KEY` of a mapping; a misspelt one is an error, and others are not ours."""

    def __init__(self, settings_cls: type[BaseSettings], environment: Mapping[str, str]) -> None:
        self._environment = environment
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        found = {}
        for variable, text in sorted(self._environment.items()):
            if variable.startswith(ENVIRONMENT_PREFIX) and "__" in variable:
                name = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1)
                _require_known(name, origin=f"environment variable {variable}")
                found[variable.lower()] = text.strip()
        return found


def load_settings(
    config: Path | str | None = None, overrides: Iterable[str] = (), environment: Mapping[str, str] | None = None
) -> Settings:
    """Settings from the defaults, the TOML file `config`, the environment and `section.key=value` overrides.

    `environment` is that of this process when it is None. Raises `ConfigurationError` for a missing or malformed file,
    an unknown key (naming the nearest known one) or a value out of bounds.
    """
    sources: list[tuple[str, PydanticBaseSettingsSource]] = [
        (ASSIGNED, InitSettingsSource(Settings, _assigned(overrides))),
        (ENVIRONMENT, _Environment(Settings, os.environ if environment is None else environment)),
        *([(str(config), InitSettingsSource(Settings, _file(Path(config))))] if config is not None else []),
    ]
    return _validated([*(source for _, source in sources), _defaults()], origins=_origins_of(sources))


def choose_settings(settings: Settings | None, config: Path | str | None, overrides: Iterable[str]) -> Settings:
    """The settings of a call from Python: `settings` or those of the file `config`, with `overrides` on top.

    Raises `ConfigurationError` as `load_settings`, and when both are there.
    """
    if settings is None:
        return load_settings(config, overrides)
    if config is not None:
        raise ConfigurationError("give settings, or the file to load them from (config), not both")
    return settings.with_overrides(overrides)


def known_keys() -> list[str]:
    """Every `section.key`, in the order of the models."""
    return [f"{section}.{key}" for section, model in _sections().items() for key in model.model_fields]


def _sections() -> dict[str, type[Section]]:
    sections: dict[str, type[Section]] = {}
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type), name
        sections[name] = field.annotation
    return sections


def _keys_of(values: Mapping[str, Mapping[str, object]]) -> frozenset[str]:
    return frozenset(f"{section}.{key}" for section, keys in values.items() for key in keys)


def _origins_of(sources: Iterable[tuple[str, PydanticBaseSettingsSource]]) -> dict[str, str]:
    """The origin of each key that is in one of the sources, the first of which comes first."""
    return {key: origin for origin, source in reversed([*sources]) for key in _keys_of(source())}


def _defaults() -> PydanticBaseSettingsSource:
    text = files("millrace.configs").joinpath("default.toml").read_text(encoding="utf-8")
    return InitSettingsSource(Settings, tomllib.loads(text))


def _file(config: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"configuration file {config} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"configuration file {config} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"configuration file {config} is not valid TOML: {error}") from error
    for section, keys in values.items():
        if not isinstance(keys, dict):
            raise ConfigurationError(f"{config}: '{section}' stands outside a section; write it under [section]")
        if section not in _sections():
            raise ConfigurationError(f"{config}: unknown section [{section}]{_nearest(section, list(_sections()))}")
        for key in keys:
            _require_known(f"{section}.{key}", origin=str(config))
    return values


def _assigned(overrides: Iterable[str]) -> dict[str, dict[str, str]]:
    """The values of `section.key=value`, as text."""
    values: dict[str, dict[str, str]] = {}
    for assignment in overrides:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        origin = "--set ***" if looks_like_secret(name) else f"--set {name}"  # and never its value
        if not equals or looks_like_secret(name):
            raise ConfigurationError(f"{origin}: expected section.key=value")
        _require_known(name, origin=origin)
        section, _, key = name.partition(".")
        values.setdefault(section, {})[key] = text.strip()
    return values


def _require_known(name: str, *, origin: str) -> None:
    if name not in known_keys():
        raise ConfigurationError(f"{origin}: unknown key '{name}'{_nearest(name, known_keys())}")


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    if not near:  # perhaps the key is right and the section is not
        near = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]]
    return f"; did you mean '{near[0]}'?" if near else f"; known are: {', '.join(known)}"


def _validated(sources: Sequence[PydanticBaseSettingsSource], *, origins: Mapping[str, str]) -> Settings:
    """The settings of these sources, the first of which comes first, with where the user has set what of them."""
    try:
        settings = Settings(_build_sources=(tuple(sources), {}))
    except ValidationError as error:
        raise ConfigurationError("wrong settings: " + "; ".join(map(_problem, error.errors()))) from None
    settings._origins = origins  # noqa: SLF001 - as the class itself would, if sources could be given to it otherwise
    return settings


def _problem(problem: "ErrorDetails") -> str:
    """What is wrong with one key; what may be a secret is not repeated."""
    key, given = ".".join(str(part) for part in problem["loc"][:2]), str(problem["input"])
    if key in _VARIABLES:
        return (
            f"{key} is the name of the environment variable that holds the secret, such as MY_API_KEY: what was given "
            "is no such name, and not repeated here, because it may be the secret itself"
        )
    if key in _CREDENTIALS_GO and "@" in given:
        return f"{key} carries a user or a password; leave them out: {_CREDENTIALS_GO[key]}"
    if key in _CREDENTIALS_GO and mask(given) != given:
        return f"{key} carries what looks like a key, not repeated here; leave it out: {_CREDENTIALS_GO[key]}"
    return f"{key} = {problem['input']!r}: {problem['msg']}"
