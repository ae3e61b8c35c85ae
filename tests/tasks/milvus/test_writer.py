"""Packing by hand makes the message that the client library makes."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.milvus import CollectionShape, writer
from millrace.tasks.milvus.client.sdk import DataType
from millrace.tasks.milvus.rows import Vectors, row_columns
from millrace.tasks.milvus.writer import upsert_request
from millrace.tasks.records import sparse_bytes
from tests.tasks.milvus.samples import make_rows


@pytest.mark.parametrize("dimensions", [1, 31, 32, 1024, 4096])
def test_the_message_is_the_client_librarys_byte_for_byte(dimensions: int) -> None:
    from pymilvus.client.prepare import Prepare

    table, vectors = make_rows(range(9), dimensions=dimensions)
    fields = [
        {"name": "id", "type": DataType.VARCHAR, "params": {"max_length": 64}, "is_primary": True},
        {"name": "content", "type": DataType.VARCHAR, "params": {"max_length": 8192}},
        {"name": "embedding", "type": DataType.FLOAT_VECTOR, "params": {"dim": dimensions}},
        {"name": "metadata", "type": DataType.JSON},
    ]
    rows = [{**row, "embedding": vector} for row, vector in zip(table.to_pylist(), vectors, strict=True)]
    theirs = Prepare.row_upsert_param("some_name", rows, "", fields)
    ours = upsert_request("some_name", table, vectors)
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)


def test_sparse_vectors_are_the_client_librarys_byte_for_byte() -> None:
    from pymilvus.client.prepare import Prepare

    table, vectors = make_rows(range(4))
    entries = [{0: 1.0}, {7: 0.1, 300: 2.5, 2**32 - 2: 1e-30}, {5: 3.0}, {n: n / 7 + 1 for n in range(0, 4000, 3)}]
    sparse = [sparse_bytes(list(row), list(row.values())) for row in entries]
    fields = [
        {"name": "id", "type": DataType.VARCHAR, "params": {"max_length": 64}, "is_primary": True},
        {"name": "content", "type": DataType.VARCHAR, "params": {"max_length": 8192}},
        {"name": "embedding", "type": DataType.FLOAT_VECTOR, "params": {"dim": 8}},
        {"name": "metadata", "type": DataType.JSON},
        {"name": "sparse", "type": DataType.SPARSE_FLOAT_VECTOR},
    ]
    rows = [
        {**row, "embedding": vector, "sparse": words}
        for row, vector, words in zip(table.to_pylist(), vectors, entries, strict=True)
    ]
    theirs = Prepare.row_upsert_param("some_name", rows, "", fields)
    sent = row_columns(table.append_column("sparse", pa.array(sparse, pa.binary())), CollectionShape(hybrid="sparse"))
    ours = upsert_request("some_name", sent, vectors)
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)


def test_vectors_of_any_memory_layout_are_packed_row_by_row() -> None:
    table, vectors = make_rows(range(4))
    layouts: list[Vectors] = [vectors, np.asfortranarray(vectors), np.repeat(vectors, 2, axis=0)[::2]]
    messages = {upsert_request("c", table, layout).SerializeToString(deterministic=True) for layout in layouts}
    assert len(messages) == 1


@given(st.lists(st.integers(0, 400), max_size=40), st.integers(1, 8), st.integers(64, 2000))
def test_calls_hold_all_rows_in_order_within_both_bounds(sizes: list[int], max_rows: int, max_bytes: int) -> None:
    row_bytes = [size + 64 + 2 + 4 * 4 for size in sizes]
    calls = list(writer.ranges_within(np.array(row_bytes, np.int64), max_rows=max_rows, max_bytes=max_bytes))
    assert [n for start, end in calls for n in range(start, end)] == list(range(len(sizes)))
    for start, end in calls:
        assert end - start <= max_rows
        assert sum(row_bytes[start:end]) <= max_bytes or end - start == 1
