"""Names and shapes, compared without a connection."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.errors import ConfigurationError
from millrace.tasks.milvus import CollectionShape
from millrace.tasks.milvus.collection_spec import (
    FieldShape,
    IndexShape,
    check_name,
    differences,
    wanted_fields,
    wanted_indexes,
)

SHAPE = CollectionShape()


def indexes_of(shape: CollectionShape) -> dict[str, IndexShape]:
    return {index.field: index for index in wanted_indexes(shape)}


def test_a_collection_of_the_same_shape_has_no_differences() -> None:
    for shape in (SHAPE, CollectionShape(hybrid="sparse"), CollectionShape(hybrid="bm25", analyzer="chinese")):
        assert differences(shape, wanted_fields(shape), indexes_of(shape)) == []
        assert differences(shape, wanted_fields(shape), {}) == []


def test_every_differing_field_is_told_with_what_was_expected_and_found() -> None:
    found = (
        FieldShape("id", "INT64", primary=True, auto_id=True),
        FieldShape("content", "VARCHAR", 65_535),
        FieldShape("vector", "FLOAT_VECTOR", 768),
        FieldShape("metadata", "JSON"),
        FieldShape("note", "VARCHAR", 10, optional=True),
    )
    assert differences(SHAPE, found, {"embedding": replace(indexes_of(SHAPE)["embedding"], metric="IP")}) == [
        "id: expected VARCHAR(64) primary key, found INT64 primary key with automatic ids",
        "content: expected VARCHAR(8192), found VARCHAR(65535)",
        "embedding: expected FLOAT_VECTOR(1024), there is no such field",
        "vector: found FLOAT_VECTOR(768), which every row would have to fill",
        "metric: expected COSINE, found IP",
    ]


@pytest.mark.parametrize("name", ["millrace", "_x", "A1_b", "a" * 255])
def test_names_that_a_server_takes_are_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "1a", "bad-name!", "中文", "a b", "a\n", "a" * 256])
def test_names_that_a_server_refuses_are_a_mistake_in_the_configuration(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"milvus\.collection"):
        check_name(name)


@given(st.text(max_size=5))
def test_a_name_is_taken_only_if_it_is_an_ascii_identifier(name: str) -> None:
    try:
        check_name(name)
    except ConfigurationError:
        assert not (name.isascii() and name.isidentifier())
    else:
        assert name.isascii()
        assert name.isidentifier()
