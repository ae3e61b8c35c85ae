"""Whose a collection is: the lake that fills it is marked in the collection, and another one is refused.

Rows that a lake does not know may be those of another lake. They are deleted only from a collection that the mark says
is this lake's alone.
"""

import logging
from dataclasses import dataclass

from millrace.configs.settings import Settings
from millrace.flows.wiring.milvus import milvus_is_missing, open_aliases, redacted_uri
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.lake import Lake
from millrace.tasks.milvus import Collection, Waiting
from millrace.tasks.reconcile.compare import IdInventory
from millrace.tasks.reconcile.expected_rows import expected_rows

_log = logging.getLogger(__name__)

_UNKNOWN = "unknown"
"""In a mark: the lake, if there is one, of rows that were there before the collection had a mark."""

_BOTH_WAYS = (
    "If both lakes are to fill it, and no document is in both, say so once with --share (milvus.claim = share): rows "
    "that a lake does not know are then never deleted. If this lake is to have it alone from now on, say so once with "
    "--take-over (milvus.claim = take_over)"
)


@dataclass(frozen=True, slots=True)
class Ownership:
    """Whether a collection is this lake's alone; where not, `why_kept` says why rows unknown to it are not deleted."""

    is_sole: bool
    why_kept: str = ""


SOLE = Ownership(is_sole=True)


def claim_collection(settings: Settings, lake: Lake, collection: Collection) -> Ownership:
    """Mark the collection as this lake's, as `milvus.claim` says; whose it is then.

    A collection that an earlier version made has no mark. When this lake knows all of its rows it becomes the lake's
    alone, else it is marked as filled by an unknown lake too, until this lake knows all rows or takes it over.

    Raises:
        ConfigurationError: Another lake fills the collection, or it holds rows and this lake knows none at all.
        LakeError: The lake cannot be read.
    """
    owners, wanted = collection.owners(), settings.milvus.claim
    claimed = owners
    if wanted == "take_over":
        claimed = frozenset({lake.identity})
    elif wanted == "share":
        claimed = (owners or frozenset({_UNKNOWN})) | {lake.identity}
    elif owners and lake.identity not in owners:
        raise ConfigurationError(_of_another_lake(settings, lake, owners))
    elif not owners:
        rows = collection.count()
        if rows and not lake.chunks.all():  # not even parts of an interrupted run
            raise ConfigurationError(_unknown_rows(settings, lake, rows))
        knows_all = not rows or _knows_all_rows(lake, collection)
        claimed = frozenset({lake.identity} if knows_all else {lake.identity, _UNKNOWN})
        if not knows_all:
            _log.warning(
                "the collection %s, made by an earlier version, holds rows that this lake does not know. They may be "
                "those of another lake, so they are never deleted; if this lake is to have it alone, say so once with "
                "--take-over (milvus.claim = take_over)",
                settings.milvus.collection,
            )
    elif (
        owners == {lake.identity, _UNKNOWN}
        and collection.count() <= _known_rows(lake)  # to count is cheap
        and _knows_all_rows(lake, collection)
    ):
        claimed = frozenset({lake.identity})
    if claimed != owners and (refusal := collection.mark_owners(claimed)):
        _log.warning(
            "the collection %s could not be marked as filled by this lake, so rows that it does not know are not "
            "deleted: %s",
            settings.milvus.collection,
            refusal,
        )
        return ownership_of(lake, owners)
    return ownership_of(lake, claimed)


def ownership_of(lake: Lake, owners: frozenset[str]) -> Ownership:
    """Whose a collection with this mark is."""
    if owners == {lake.identity}:
        return SOLE
    if not owners or _UNKNOWN in owners:
        return Ownership(
            is_sole=False,
            why_kept="the collection was made by an earlier version, so they may be those of another lake; if this "
            "lake is to have it alone, say so once with --take-over",
        )
    return Ownership(is_sole=False, why_kept="other lakes fill the collection too, and they may be theirs")


def refuse_unknown_collection(settings: Settings, lake: Lake, waiting: Waiting | None = None) -> None:
    """Refuse, before anything is paid for, what `claim_collection` would refuse to a lake that knows no row.

    Raises `ConfigurationError`; nothing where the collection is not there yet.
    """
    name = settings.milvus.collection
    if settings.milvus.claim != "sole" or milvus_is_missing(settings) or lake.chunks.all():
        return
    with open_aliases(settings, waiting=waiting) as aliases:
        if not aliases.exists(name):
            return
        owners = aliases.owners(name)
        if owners and lake.identity not in owners:
            raise ConfigurationError(_of_another_lake(settings, lake, owners))
        if not owners and (rows := aliases.count(name)):
            raise ConfigurationError(_unknown_rows(settings, lake, rows))


def refuse_to_drop(settings: Settings, lake: Lake) -> None:
    """Raise `ConfigurationError` when another lake fills the collection of the settings, which is to be dropped."""
    name = settings.milvus.collection
    if milvus_is_missing(settings):
        return
    with open_aliases(settings) as aliases:
        others = aliases.owners(name) - {lake.identity} if aliases.exists(name) else frozenset()
    if others:
        raise ConfigurationError(
            f"the collection {name} at {redacted_uri(settings)} is filled by another lake too, "
            f"{', '.join(sorted(others))}, so it is not dropped. If that lake is gone for good, run `millrace verify "
            "--repair --take-over` first"
        )


def _known_rows(lake: Lake) -> int:
    return lake.manifest.sums("chunks")[0]


def _knows_all_rows(lake: Lake, collection: Collection) -> bool:
    """Whether each row of the collection is one that a document of this lake owns. Lists all ids."""
    inventory = IdInventory(collection)
    for expected in expected_rows(lake):
        inventory.own(expected.rows["id"].to_pylist())
    return not inventory.count_orphans()


def _of_another_lake(settings: Settings, lake: Lake, owners: frozenset[str]) -> str:
    return (
        f"the collection {settings.milvus.collection} at {redacted_uri(settings)} is filled by another lake, "
        f"{', '.join(sorted(owners))} (as its lake.json says), and not by {lake.path}, which is {lake.identity}; "
        "nothing was changed. If the wrong lake was named, or none was mounted, correct lake.path; else name another "
        f"milvus.collection. {_BOTH_WAYS}"
    )


def _unknown_rows(settings: Settings, lake: Lake, rows: int) -> str:
    return (
        f"the collection {settings.milvus.collection} at {redacted_uri(settings)} holds {rows:,} rows, and the lake "
        f"{lake.path} knows none of them; nothing was spent or changed. See that the lake is mounted, and that "
        f"lake.path names it; for another corpus name another milvus.collection. {_BOTH_WAYS}"
    )
