"""What searches use when `milvus.alias` is set: the collection that the alias stands for, and how it was made.

A search need not know when the alias is moved, nor to what: a collection of another model or shape is queried with the
`[embedding]` and the shape of the last run that filled it, which its lake records.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from millrace.configs.settings import Settings
from millrace.flows.wiring import milvus
from millrace.flows.wiring.lake_location import lake_path
from millrace.tasks.errors import CollectionError, ConfigurationError, LakeError
from millrace.tasks.lake import Lake, RunRecord

T = TypeVar("T")

_BUILT_WITH: Mapping[str, tuple[str, ...]] = {
    "embedding": (
        "provider", "api", "model", "region", "base_url", "dimensions", "ask_dimensions", "text_type", "instruct",
        "tokenizer", "api_key_env",
    ),
    "milvus": (
        "content_max_bytes", "metric", "index", "hnsw_m", "hnsw_ef_construction", "ivf_nlist", "scalar_fields",
        "partition_key", "hybrid", "analyzer",
    ),
}  # fmt: skip
"""What the rows of a collection, and its shape, are made by, and with which it can be searched."""

_FILLING = frozenset({"ingest", "retry", "repair", "rebuild", "switch"})
_WHOLE = frozenset({0, 3})  # exit codes
_LOOKED_BACK = 100  # runs


def required_alias(settings: Settings) -> str:
    """`milvus.alias`. Raises `ConfigurationError` when there is none, or it is the collection's own name."""
    milvus = settings.milvus
    if not milvus.alias:
        raise ConfigurationError(
            "milvus.alias is not set: it is the name that searches use, and that stands for one collection after the "
            f"other, e.g. --set milvus.alias={milvus.collection}_live"
        )
    if milvus.alias == milvus.collection:
        raise ConfigurationError(
            f"milvus.alias and milvus.collection are both {milvus.alias!r}; an alias needs another name than the "
            "collections that it stands for"
        )
    return milvus.alias


def with_alias_resolved(settings: Settings, ask: Callable[[Settings, list[str]], T]) -> T:
    """What `ask` returns, given the settings of the collection that searches use, and notes about it.

    That is the one behind `milvus.alias`, if it is set and stands for one, else `milvus.collection`. When it fails and
    the alias has been moved meanwhile, the new one is asked. The connection that knows the alias stays open all the
    while, which for Milvus Lite saves opening it again.
    """
    if not settings.milvus.alias or milvus.milvus_is_missing(settings):
        return ask(settings, [])
    alias = required_alias(settings)
    with milvus.open_aliases(settings) as aliases:
        target = aliases.target(alias)
        while True:
            try:
                return ask(*_behind(settings, target))
            except CollectionError:
                before, target = target, aliases.target(alias)
                if target == before:
                    raise


def _behind(settings: Settings, target: str) -> tuple[Settings, list[str]]:
    milvus = settings.milvus
    if not target:
        note = f"warning: milvus.alias {milvus.alias} stands for nothing yet, so {milvus.collection} was searched"
        return settings, [f"{note}; `millrace switch` lets it stand for that"]
    if target == milvus.collection:
        return settings, []
    named = settings.with_overrides([f"milvus.collection={target}"])
    built_with = _settings_of(named)
    return (named, []) if built_with is None else (named.with_values(built_with), [])


def _settings_of(settings: Settings) -> Mapping[str, Mapping[str, object]] | None:
    """The settings in `_BUILT_WITH` of the last run that filled the collection; None where the lake has none."""
    milvus = settings.milvus
    try:
        runs = Lake.open(lake_path(settings), milvus.collection, read_only=True).runs.newest(_LOOKED_BACK)
    except LakeError:  # a search can do without a lake
        return None
    filling = (run for run in runs if run.command in _FILLING and run.exit in _WHOLE)
    return next(
        (built_with for run in filling if (built_with := _settings_it_was_built_with(run, milvus.collection))), None
    )


def _settings_it_was_built_with(run: RunRecord, collection: str) -> Mapping[str, Mapping[str, object]] | None:
    sections = {name: section for name, section in run.settings.items() if isinstance(section, dict)}
    if sections.get("milvus", {}).get("collection") != collection:
        return None
    return {
        name: {key: sections[name][key] for key in keys if key in sections[name]}
        for name, keys in _BUILT_WITH.items()
        if name in sections
    }
