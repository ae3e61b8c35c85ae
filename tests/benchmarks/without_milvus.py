"""`python -m tests.benchmarks.without_milvus ingest ...`: the command, with a Milvus that acknowledges and keeps nothing.

For measuring what millrace itself takes: Milvus Lite runs in the same process, and grows with its collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from millrace.flows.cli.environment import set_variables
from millrace.flows.cli.main import main

if TYPE_CHECKING:  # Arrow is to be imported by the command, as ever: it settles with which allocator
    import pyarrow as pa

    from millrace.tasks.milvus import CollectionShape
    from millrace.tasks.milvus.rows import Vectors


class NoMilvus:
    """Stands for a `Collection`: every row is taken, none is kept."""

    def __init__(self, shape: CollectionShape) -> None:
        self.shape = shape

    def upsert(self, rows: pa.Table, vectors: Vectors) -> int:
        assert len(vectors) == rows.num_rows
        return int(rows.num_rows)

    def delete(self, ids: Sequence[str]) -> None:
        pass

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
