"""What the tests run in processes of their own: `python -m tests.tasks.milvus.processes NAME ARGUMENTS`."""

import sys
from collections.abc import Callable

from millrace.tasks.errors import CollectionError, ConfigurationError
from tests.tasks.milvus.samples import SHAPE, make_rows


def upsert_for_ever(path: str) -> None:
    """Upserts row after row, and prints each number once it is acknowledged."""
    from millrace.tasks.milvus import Collection, MilvusAddress

    collection = Collection.open(MilvusAddress(path), "rows", shape=SHAPE)
    start = 0
    while True:
        collection.upsert(*make_rows(range(start, start + 20)))
        start += 20
        print(start, flush=True)


def open_once(uri: str, timeout_s: str = "30") -> None:
    """Opens the collection, and prints "open" or the error."""
    from millrace.tasks.milvus import Collection, MilvusAddress

    try:
        Collection.open(MilvusAddress(uri, token="user:secret", timeout_s=float(timeout_s)), "rows", shape=SHAPE)
    except (CollectionError, ConfigurationError) as error:
        print(error)
    else:
        print("open")


def fail_in_every_way(path: str) -> None:
    """Provokes errors that pymilvus, Milvus Lite and gRPC like to log; prints nothing itself."""
    import logging

    import numpy as np

    from millrace.tasks.milvus import Collection, CollectionShape, MilvusAddress

    logging.basicConfig(level=logging.WARNING)
    with Collection.open(MilvusAddress(path), "rows", shape=SHAPE) as collection:
        table, vectors = make_rows(range(3))
        for failing in (
            lambda: collection.search(vectors[0], top_k=1, filter="(("),
            lambda: collection.upsert(table, np.ones((3, 4), np.float32)),
            lambda: Collection.open(MilvusAddress(path), "rows", shape=CollectionShape(dimensions=4)),
            lambda: Collection.open(MilvusAddress(path), "other", create=False),
            lambda: Collection.open(MilvusAddress("http://127.0.0.1:1"), "rows"),
            lambda: Collection.open(MilvusAddress("https://127.0.0.1:1"), "rows"),
            lambda: Collection.open(MilvusAddress(f"{path}/missing/x.db"), "rows"),
            lambda: Collection.open(MilvusAddress("/dev/null/x.db"), "rows"),
            lambda: Collection.open(MilvusAddress("/proc/x.db"), "rows"),
        ):
            expect_error(failing)


def expect_error(failing: Callable[[], object]) -> None:
    try:
        failing()
    except (CollectionError, ConfigurationError):
        return
    message = "no error"
    raise AssertionError(message)


if __name__ == "__main__":
    {f.__name__: f for f in (upsert_for_ever, open_once, fail_in_every_way)}[sys.argv[1]](*sys.argv[2:])
