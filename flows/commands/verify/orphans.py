"""Rows that no document of the lake owns: deleted where the collection is the lake's alone, otherwise reported."""

from collections.abc import Collection as Group
from dataclasses import dataclass

from millrace.configs.settings import Settings
from millrace.flows.wiring.ownership import Ownership
from millrace.tasks.milvus import Collection
from millrace.tasks.reconcile.compare import IdInventory
from millrace.tasks.reconcile.repair import delete_orphans


@dataclass(frozen=True, slots=True)
class OrphanRemoval:
    """How many rows were deleted, and `why_kept`, a sentence, where there are some that were not.

    `exceeds_share`: they were too many to be deleted without a word of the user.
    """

    deleted: int = 0
    why_kept: str = ""
    exceeds_share: bool = False


def remove_orphans(
    settings: Settings, collection: Collection, inventory: IdInventory, ownership: Ownership, *, protected: Group[str]
) -> OrphanRemoval:
    """Delete the rows that no document owns, but for those of `protected` sources, where that is safe."""
    share = settings.sources.max_removed_share
    most = int(share * inventory.rows) if ownership.is_sole else 0
    deleted, found = delete_orphans(collection, inventory, protected=protected, most=most)
    if found <= most:
        return OrphanRemoval(deleted)
    prefix = f"{found:,} of {inventory.rows:,} rows of the collection are owned by no document of this lake"
    if not ownership.is_sole:
        return OrphanRemoval(why_kept=f"{prefix}; none of them was deleted: {ownership.why_kept}")
    return OrphanRemoval(
        why_kept=f"{prefix} ({found / inventory.rows:.0%}, more than the {share:.0%} of sources.max_removed_share); "
        "none of them was deleted. Look whether the collection is shared with something else; if not, allow it once "
        "with --set sources.max_removed_share=1",
        exceeds_share=True,
    )
