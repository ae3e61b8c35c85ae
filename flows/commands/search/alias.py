"""What searches use when `milvus.alias` is set: the collection that the alias stands for, and how it was made.

A search need not know when the alias is moved, nor to what: a collection of another model or shape is queried with the
`[embedding]` and the shape of the last run that filled it, which its lake records.
"""

import contextlib
from collections.abc import Callable
from typing import TypeVar

from millrace.configs.settings import Settings
from millrace.flows.wiring import milvus
from millrace.flows.wiring.collection_settings import remembered_values, with_remembered
from millrace.tasks.errors import CollectionError, ConfigurationError, LakeError

T = TypeVar("T")


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
    with contextlib.suppress(LakeError):  # a search can do without a lake
        settings = with_remembered(settings)
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
    with contextlib.suppress(LakeError):
        named = named.with_values(remembered_values(named))
    return named, []
