"""Settings to components: opens each component of `tasks` with the options that the configuration gives it."""

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from millrace.configs.settings import Settings
from millrace.flows.wiring.embedding_model import API_KEY_VARIABLES
from millrace.flows.wiring.embedding_model import Model as Model  # noqa: PLC0414 - others open it from here, as all the rest
from millrace.flows.wiring.embedding_model import load_model as load_model  # noqa: PLC0414
from millrace.flows.wiring.embedding_model import query_space as query_space  # noqa: PLC0414
from millrace.flows.wiring.embedding_model import search_notes as search_notes  # noqa: PLC0414
from millrace.flows.wiring.lake_location import lake_path as lake_path  # noqa: PLC0414
from millrace.tasks.chunking import ChunkOptions, Tokenizer, tokenizer_identity
from millrace.tasks.documents import (
    DEFAULT_INCLUDE,
    PICTURES,
    RECOGNIZER,
    DocumentOptions,
    ExternalCommand,
    ParsedFiles,
)
from millrace.tasks.embedding import (
    Budget,
    Dispatcher,
    EmbeddingClient,
    Event,
    LearnedLimits,
    RateLimiter,
    Reranker,
    RerankSpec,
    Usage,
    VectorSink,
    check_capabilities,
    find_reranker,
    make_client,
    make_reranker,
    probe,
    require_installed,
    rerank_url,
)
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.lake import PARSED_FOLDER, Lake, LakePath, ParsedFolder
from millrace.tasks.secrets import read_secret
from millrace.tasks.stages.chunk import ChunkSettings, ChunkStage
from millrace.tasks.stages.part_writer import PART_CHUNKS, PartContext
from millrace.tasks.stages.scan import fingerprint_of

READING_VERSION = 5
"""Raised when documents are read or cut differently than before, so that a run makes their rows anew."""


@dataclass(frozen=True, slots=True)
class Spending:
    """What a run has used, over all its roads, and the budget that none of them may exceed."""

    usage: Usage
    budget: Budget

    @classmethod
    def of(cls, settings: Settings, model: Model) -> Self:
        """Nothing spent yet."""
        spec = model.spec
        usage = Usage(
            price_cny_per_1k_tokens=spec.price_cny_per_1k_tokens,
            batch_price_cny_per_1k_tokens=spec.batch_price_cny_per_1k_tokens,
        )
        return cls(usage, Budget(settings.budget.max_cny, spec.price_cny_per_1k_tokens))


def require_api_key(settings: Settings, model: Model, environment: Mapping[str, str] | None = None) -> str:
    """The API key, "" where none is needed.

    Raises `ConfigurationError` when it is needed and not there; or for a model of this machine that is not installed.
    """
    require_installed(model.spec)
    return api_key_of(model.spec.provider, settings.embedding.api_key_env, environment)


def api_key_of(
    provider: str, variable: str, environment: Mapping[str, str] | None, *, setting: str = "embedding.api_key_env"
) -> str:
    """The key of `provider` in the environment variable `variable`, "" for its usual one; "" where none is needed.

    Raises `ConfigurationError` when it is needed, or the variable is named, and it is not there.
    """
    if provider == "local":
        return ""
    named = variable or API_KEY_VARIABLES[provider]
    api_key = read_secret(os.environ if environment is None else environment, named)
    if not api_key and (variable or provider != "openai"):
        raise ConfigurationError(
            f"provider {provider} needs an API key: set the environment variable {named} ({setting} names it)"
        )
    return api_key


def open_client(
    settings: Settings, model: Model, environment: Mapping[str, str] | None = None, *, query: bool = False
) -> EmbeddingClient:
    """A client of the model's provider, for documents or for queries.

    Raises `ConfigurationError` when the key is not in the environment, or the model has no such option for queries.
    """
    embedding, space = settings.embedding, query_space(settings, model) if query else model.space
    section = "search" if query else "embedding"
    check_capabilities(
        model.spec, api=embedding.api, text_type=space.text_type, instruct=space.instruct, section=section
    )
    return make_client(
        model.spec,
        base_url=embedding.base_url,
        api_key=require_api_key(settings, model, environment),
        dimensions=space.dimensions,
        api=embedding.api,
        text_type=space.text_type,
        instruct=space.instruct,
        sparse=space.sparse,
        ask_dimensions=embedding.ask_dimensions,
        timeout_s=embedding.timeout_s,
        max_connections=model.max_in_flight,
    )


async def try_provider(settings: Settings, model: Model) -> None:
    """Ask a provider with models of unknown properties for one vector, before a collection is made for it.

    Raises `ConfigurationError` or `ProviderStopped` when key, model or dimensions are wrong.
    """
    if model.spec.provider in {"openai", "iflytek"}:
        client = open_client(settings, model)
        try:
            await probe(client)
        finally:
            await client.close()


def find_rerank_spec(settings: Settings) -> RerankSpec | None:
    """The reranker of the settings; None where reranking is off.

    It is off for `local`, and for providers without a default reranker unless `rerank.model` is set. Raises
    `ConfigurationError` when there is no such reranker.
    """
    rerank = settings.rerank
    provider = rerank.provider or settings.embedding.provider
    if provider in {"none", "local"} or (provider != "dashscope" and not rerank.model):
        return None
    return find_reranker(provider, rerank.model, api=rerank.api)


def open_reranker(settings: Settings, environment: Mapping[str, str] | None = None) -> Reranker | None:
    """The reranker of the settings, or None where reranking is off.

    With the provider of the embeddings it has their address and key, unless `[rerank]` names others. Raises
    `ConfigurationError` for a model, an address or a key that cannot be right.
    """
    spec = find_rerank_spec(settings)
    if spec is None:
        return None
    rerank, embedding = settings.rerank, settings.embedding
    beside = spec.provider == embedding.provider
    url = rerank_url(
        spec,
        base_url=rerank.base_url,
        embedding_base_url=embedding.base_url if beside else "",
        region=embedding.region if beside else "",
    )
    variable = rerank.api_key_env or (embedding.api_key_env if beside else "")
    setting = "rerank.api_key_env" if rerank.api_key_env or not beside else "embedding.api_key_env"
    return make_reranker(
        spec,
        base_url=url,
        api_key=api_key_of(spec.provider, variable, environment, setting=setting),
        instruct=rerank.instruct,
        count=Tokenizer.load(spec.tokenizer).count if spec.tokenizer else None,
        timeout_s=rerank.timeout_s,
    )


def existing_lake(settings: Settings) -> Lake:
    """The lake of the settings, to be read. Raises `ConfigurationError` when it knows nothing of the collection."""
    path = lake_path(settings)
    lake = Lake.open(path, settings.milvus.collection, read_only=True)
    if not lake.collection_dir.is_dir():
        raise ConfigurationError(
            f"there is no lake of collection {settings.milvus.collection} at {path}; "
            "run `millrace ingest` first, or say where it is with --set lake.path=..."
        )
    return lake


def open_rate_limiter(model: Model, learned: LearnedLimits | None = None) -> RateLimiter:
    """The rate limiter for the model's limits, and for what earlier runs learned of them."""
    spec = model.spec
    return RateLimiter(
        requests_per_second=spec.requests_per_second,
        tokens_per_second=spec.tokens_per_second,
        requests_per_minute=spec.requests_per_minute,
        tokens_per_minute=spec.tokens_per_minute,
        learned=learned,
    )


def open_dispatcher(
    settings: Settings,
    model: Model,
    client: EmbeddingClient,
    store: VectorSink,
    *,
    limiter: RateLimiter,
    on_event: Callable[[Event], None] | None = None,
    spending: Spending | None = None,
) -> Dispatcher:
    """The dispatcher that fills `store` at the rate of `limiter` and within the budget."""
    spec = model.spec
    spending = spending or Spending.of(settings, model)
    return Dispatcher(
        client,
        limiter,
        store=store,
        texts_per_request=spec.texts_per_request,
        tokens_per_request=spec.tokens_per_request,
        max_in_flight=model.max_in_flight,
        budget=spending.budget,
        on_event=on_event,
        usage=spending.usage,
    )


def check_prefect(settings: Settings, environment: Mapping[str, str] | None = None) -> None:
    """Raise `ConfigurationError` when a setting needs a Prefect API and none is set."""
    environment = os.environ if environment is None else environment
    if settings.limits.shared_as and not environment.get("PREFECT_API_URL"):
        raise ConfigurationError(
            f"limits.shared_as = {settings.limits.shared_as!r} needs a Prefect server, where the processes that share "
            "the account meet: set PREFECT_API_URL, or leave limits.shared_as empty"
        )
    if settings.documents.dask_scheduler and not environment.get("PREFECT_API_URL"):
        raise ConfigurationError(
            "documents.dask_scheduler needs a Prefect server that all machines reach: set PREFECT_API_URL, or leave"
            " documents.dask_scheduler empty"
        )


def document_options(settings: Settings) -> DocumentOptions:
    """How documents are read."""
    documents = settings.documents
    return DocumentOptions(
        encoding=documents.encoding or None,
        text_column=documents.text_column,
        id_column=documents.id_column,
        title_column=documents.title_column,
        metadata_columns=documents.metadata_columns,
        pdf_engine=documents.pdf_engine,
        sheets=documents.sheets,
        ocr=documents.ocr,
        external=external_commands(tuple(sorted(documents.external.items()))),
        external_timeout_s=documents.external_timeout_s,
    )


@functools.cache
def external_commands(commands: tuple[tuple[str, str], ...]) -> tuple[ExternalCommand, ...]:
    """The user's parsers. Raises ConfigurationError as `ExternalCommand.of`."""
    return tuple(ExternalCommand.of(suffix, command) for suffix, command in commands)


def chunk_options(settings: Settings) -> ChunkOptions:
    """Both bounds of a chunk, and the overlap."""
    return ChunkOptions(
        max_tokens=settings.chunking.max_tokens,
        overlap_tokens=settings.chunking.overlap_tokens,
        max_bytes=settings.milvus.content_max_bytes,
        sections=settings.chunking.sections,
        context=settings.chunking.context,
    )


def chunk_stage_options(
    settings: Settings,
    model: Model,
    chunks_dir: LakePath,
    *,
    run: str,
    part_chunks: int = PART_CHUNKS,
    read_only: bool = False,
) -> ChunkSettings:
    """The options of the reading processes of `run`, which write their parts to `chunks_dir`.

    With `read_only`, what was parsed before is taken from the lake, and nothing is put there.
    """
    parsed = ParsedFolder(lake_path(settings) / PARSED_FOLDER, read_only=read_only)
    documents = replace(document_options(settings), may_recognize=not read_only)
    return ChunkSettings(
        documents=documents,
        chunking=chunk_options(settings),
        tokenizer=model.spec.tokenizer,
        origin=PartContext(chunks_dir, run, fingerprint(settings, model), model.space.name, part_chunks),
        parsed=ParsedFiles(parsed, fingerprint_of(*_reading(documents))),
        reject_unknown=rejects_unknown(settings),
    )


def open_readers(settings: Settings, options: ChunkSettings, jobs: int) -> ChunkStage:
    """The reading processes of this machine for so many jobs; none is started yet."""
    documents = settings.documents
    return ChunkStage(
        options,
        jobs=jobs,
        workers=documents.workers or os.cpu_count() or 1,
        deadline_s=documents.timeout_s,
        memory_mb=documents.max_memory_mb,
    )


def _reading(documents: DocumentOptions) -> tuple[object, ...]:
    """All that shapes what is read of a file."""
    return READING_VERSION, documents, *((RECOGNIZER,) if documents.ocr != "off" else ())


def fingerprint(settings: Settings, model: Model) -> str:
    """A short name for all that shapes the rows of a document: reading, chunking and the embedding space."""
    tokenizer = tokenizer_identity(model.spec.tokenizer)
    chunking = settings.chunking
    packed = ("pack",) if chunking.sections == "pack" else ()  # "apart" is older than the choice
    headed = ("headings",) if chunking.context == "headings" else ()  # so is "none"
    return fingerprint_of(
        *_reading(document_options(settings)), chunk_options(settings), tokenizer, model.space.name, *packed, *headed
    )


def included(settings: Settings) -> tuple[str, ...]:
    """The globs of the files that are read."""
    commands = tuple(f"*{suffix.lower()}" for suffix in settings.documents.external)
    pictures = tuple(f"*{suffix}" for suffix in PICTURES) if settings.documents.ocr == "all" else ()
    return tuple(settings.sources.include) or (*DEFAULT_INCLUDE, *commands, *pictures)


def rejects_unknown(settings: Settings) -> bool:
    """Whether a file that no reader takes is a reject; one that `sources.include` does not name never is."""
    return settings.sources.unknown == "reject" and not settings.sources.include


def sources_base(settings: Settings) -> Path | None:
    """The folder that document names are relative to, if any."""
    return Path(settings.sources.base).absolute() if settings.sources.base else None


def document_name(settings: Settings, source: Path) -> str:
    """The name of `source` in the names of documents: its absolute path, or its path below `sources.base`."""
    base = sources_base(settings)
    return source.as_posix() if base is None else source.relative_to(base).as_posix()
