"""`python -m tests.benchmarks.without_milvus ingest ...`: the command, with a Milvus that acknowledges and keeps nothing.

For measuring what millrace itself takes: Milvus Lite runs in the same process, and grows with its collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Self

from millrace.flows.cli.environment import set_variables
from millrace.flows.cli.main import main

if TYPE_CHECKING:  # Arrow is to be imported by the command, as ever: it settles with which allocator
    import pyarrow as pa

    from millrace.tasks.milvus import CollectionShape
    from millrace.tasks.milvus.rows import Vectors


class NoMilvus:
    """Stands for a new `Collection`: every row is taken and counted, none is kept."""

    _rows = 0
    _owners: frozenset[str] = frozenset()

    def __init__(self, shape: CollectionShape) -> None:
        self.shape = shape

    def owners(self) -> frozenset[str]:
        return NoMilvus._owners

    def mark_owners(self, owners: Iterable[str]) -> str:
        NoMilvus._owners = frozenset(owners)
        return ""

    def settle_index(self) -> str:
        return self.shape.index

    def count(self) -> int:
        return NoMilvus._rows

    def upsert(self, rows: pa.Table, vectors: Vectors) -> int:
        assert len(vectors) == rows.num_rows
        NoMilvus._rows += rows.num_rows
        return int(rows.num_rows)

    def delete(self, ids: Sequence[str]) -> None:
        NoMilvus._rows -= len(ids)

    def present(self, ids: Sequence[str]) -> set[str]:
        return set(ids)

    def stop_waiting(self) -> None:
        pass

    def close(self) -> None:
        pass

    @classmethod
    def open(cls, *_: object, shape: CollectionShape, **__: object) -> Self:
        return cls(shape)


if __name__ == "__main__":
    set_variables()  # as `main` does, before the next line imports Arrow
    from millrace.flows.wiring import milvus

    setattr(milvus, "Collection", NoMilvus)  # noqa: B010 - it is not exported, and it is replaced on purpose
    main()
