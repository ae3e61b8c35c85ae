"""What goes into the collection comes back, on Milvus Lite and on a server alike."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest

from millrace.tasks.errors import CollectionError, ConfigurationError
from millrace.tasks.milvus import Collection, CollectionShape, StoredRow
from tests.tasks.milvus.conftest import OpenCollection
from tests.tasks.milvus.samples import SHAPE, content_of, make_rows, metadata_of, row_id, vector_of


def as_values(rows: list[StoredRow]) -> list[tuple[object, ...]]:
    """Rows as plain values, which compare whole and bit by bit."""
    return [(r.id, r.content, r.metadata, None if r.vector is None else r.vector.tobytes()) for r in rows]


def expected(numbers: range, *, seed: int = 0) -> list[tuple[object, ...]]:
    return [(row_id(n), content_of(n), metadata_of(n), vector_of(n, seed=seed).tobytes()) for n in numbers]


def test_rows_come_back_byte_for_byte(collection: Collection) -> None:
    assert collection.upsert(*make_rows(range(30))) == 30
    ids = [row_id(n) for n in range(30)]
    assert as_values(collection.fetch(ids, with_vectors=True)) == expected(range(30))
    assert collection.fetch(ids[:1])[0].vector is None


def test_ids_are_listed_as_soon_as_their_rows_are_acknowledged(collection: Collection) -> None:
    table, vectors = make_rows(range(50))
    collection.upsert(table, vectors)
    assert sorted(row_id for batch in collection.ids() for row_id in batch) == sorted(table["id"].to_pylist())


def test_upserting_twice_leaves_each_row_once(collection: Collection) -> None:
    for _ in range(2):
        collection.upsert(*make_rows(range(30)))
    assert collection.count() == 30
    assert sorted(i for batch in collection.ids() for i in batch) == sorted(row_id(n) for n in range(30))


def test_a_changed_row_replaces_the_old_one(collection: Collection) -> None:
    collection.upsert(*make_rows(range(5)))
    collection.upsert(*make_rows(range(2, 4), text="new ", seed=1))
    row = collection.fetch([row_id(2)], with_vectors=True)[0]
    assert (row.content, row.vector is not None and row.vector.tobytes()) == ("new 2", vector_of(2, seed=1).tobytes())
    assert collection.count() == 5


def test_deleted_rows_are_gone_and_deleting_again_is_no_error(collection: Collection) -> None:
    collection.upsert(*make_rows(range(6)))
    for _ in range(2):
        collection.delete([row_id(n) for n in (1, 4, 99)])
    assert collection.present([row_id(n) for n in range(8)]) == {row_id(n) for n in (0, 2, 3, 5)}
    assert collection.count() == 4


def test_nothing_in_is_nothing_out(collection: Collection) -> None:
    table, vectors = make_rows(range(1))
    assert collection.upsert(table.slice(0, 0), vectors[:0]) == 0
    collection.delete([])
    assert (collection.count(), collection.present([]), collection.fetch([]), list(collection.ids())) == (
        0,
        set(),
        [],
        [],
    )


def test_rows_beyond_one_call_all_arrive_and_all_come_back(collection: Collection) -> None:
    numbers = range(1_203)
    assert collection.upsert(*make_rows(numbers)) == 1_203
    assert as_values(collection.fetch([row_id(n) for n in numbers], with_vectors=True)) == expected(numbers)
    assert collection.count() == 1_203


def test_searching_finds_the_row_of_the_vector_first(collection: Collection) -> None:
    collection.upsert(*make_rows(range(50)))
    hits = collection.search(vector_of(7), top_k=5)
    assert (hits[0].id, hits[0].content, hits[0].metadata) == (row_id(7), content_of(7), metadata_of(7))
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert len(hits) == 5


FILTERS: dict[str, Callable[[dict[str, Any]], bool]] = {
    'metadata["source"] == "/文档/1.pdf"': lambda m: m["source"] == "/文档/1.pdf",
    'metadata["source"] like "/文档/1%"': lambda m: m["source"].startswith("/文档/1"),
    'metadata["page_start"] == 3': lambda m: m["page_start"] == 3,
    'metadata["chunk_number"] >= 3 and metadata["chunk_number"] < 9': lambda m: 3 <= m["chunk_number"] < 9,
    'not (metadata["chunk_number"] > 3)': lambda m: m["chunk_number"] <= 3,
    'json_contains(metadata["heading_path"], "第一章")': lambda m: True,
    'metadata["missing"] == 1': lambda m: False,
}


def test_filters_that_both_understand_keep_exactly_the_rows_they_say(collection: Collection) -> None:
    collection.upsert(*make_rows(range(40)))
    retained = {
        condition: {hit.metadata["chunk_number"] for hit in collection.search(vector_of(0), top_k=40, filter=condition)}
        for condition in FILTERS
    }
    assert retained == {text: {n for n in range(40) if holds(metadata_of(n))} for text, holds in FILTERS.items()}


def test_a_filter_that_does_not_parse_is_the_users_to_correct(collection: Collection) -> None:
    collection.upsert(*make_rows(range(2)))
    with pytest.raises(ConfigurationError, match="filter 'source like'"):
        collection.search(vector_of(0), top_k=1, filter="source like")


@pytest.mark.parametrize("query", [np.zeros(8), np.full(8, np.nan), np.ones(4)])
def test_a_vector_that_cannot_be_searched_by_is_refused(collection: Collection, query: np.ndarray) -> None:
    with pytest.raises(ValueError, match="query vector"):
        collection.search(query.astype(np.float32), top_k=1)


def test_a_reopened_collection_is_loaded_and_complete(open_collection: OpenCollection) -> None:
    with open_collection() as first:
        first.upsert(*make_rows(range(20)))
    second = open_collection(create=False)
    assert second.search(vector_of(3), top_k=1)[0].id == row_id(3)
    assert second.count() == 20


def test_a_collection_released_by_somebody_else_is_loaded_again(collection: Collection) -> None:
    collection.upsert(*make_rows(range(3)))
    collection._connection.client.release_collection(collection.name)
    assert collection.count() == 3
    collection._connection.client.release_collection(collection.name)
    assert collection.search(vector_of(1), top_k=1)[0].id == row_id(1)


def test_a_missing_collection_is_not_made_when_only_looked_for(open_collection: OpenCollection) -> None:
    with pytest.raises(CollectionError, match="run `millrace ingest` first"):
        open_collection(create=False)


def test_a_collection_of_another_shape_is_refused_field_by_field(open_collection: OpenCollection) -> None:
    open_collection().close()
    other = CollectionShape(dimensions=16, content_max_bytes=100, metric="L2")
    with pytest.raises(CollectionError) as refusal:
        open_collection(shape=other)
    lines = str(refusal.value).splitlines()
    assert [line.strip() for line in lines[1:-1]] == [
        "content: expected VARCHAR(100), found VARCHAR(8192)",
        "embedding: expected FLOAT_VECTOR(16), found FLOAT_VECTOR(8)",
        "metric: expected L2, found COSINE",
    ]
    assert "milvus.collection" in lines[-1]
    assert open_collection().count() == 0


def test_an_index_that_a_crash_prevented_is_made_when_opened(open_collection: OpenCollection) -> None:
    with open_collection() as first:
        first.upsert(*make_rows(range(3)))
        first._connection.client.release_collection(first.name)
        first._connection.client.drop_index(first.name, "embedding")
    assert open_collection().search(vector_of(2), top_k=1)[0].id == row_id(2)


@pytest.mark.parametrize("metric", ["IP", "L2"])
def test_other_metrics_find_the_row_first_too(open_collection: OpenCollection, metric: Literal["IP", "L2"]) -> None:
    collection = open_collection(shape=replace(SHAPE, metric=metric))
    collection.upsert(*make_rows(range(20)))
    assert collection.search(vector_of(7), top_k=1)[0].id == row_id(7)
