"""What `check_rows` refuses is what a server refuses, or what no search finds again; nothing else."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.milvus import CollectionShape, check_rows
from millrace.tasks.milvus.rows import Vectors
from millrace.tasks.records import SPARSE_PAIR, sparse_bytes
from tests.tasks.milvus.samples import SHAPE, Rows, make_rows, row_id

TEXTS = pa.schema([(name, pa.string()) for name in ("id", "content", "metadata")])


def reasons(rows: Rows, shape: CollectionShape = SHAPE) -> list[tuple[int, str]]:
    refused = check_rows(*rows, shape)
    assert all(str(refusal) and refusal.remedy for _, refusal in refused)
    return [(number, refusal.reason) for number, refusal in refused]


def one_row(*, row_id: str = row_id(0), content: str | None = "text", metadata: str | None = "{}") -> Rows:
    return pa.table({"id": [row_id], "content": [content], "metadata": [metadata]}, TEXTS), np.ones((1, 8), np.float32)


def of_size(size: int) -> str:
    """A JSON object of `size` bytes, written with two-byte characters as far as they go."""
    room = size - len('{"k":""}')
    return '{"k":"' + "é" * (room // 2) + "a" * (room % 2) + '"}'


def test_good_rows_are_not_refused() -> None:
    assert reasons(make_rows(range(50))) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("汉" * 2730, None),
        ("汉" * 2731, "content_too_long"),
        ("a" * 8192, None),
        ("a" * 8193, "content_too_long"),
        (None, "content_missing"),
    ],
)
def test_content_is_measured_in_bytes_not_characters(content: str | None, reason: str | None) -> None:
    assert reasons(one_row(content=content)) == ([(0, reason)] if reason else [])


@given(st.text(max_size=60), st.integers(1, 100))
def test_content_is_refused_exactly_when_its_utf8_is_too_long(content: str, limit: int) -> None:
    refused = reasons(one_row(content=content), CollectionShape(dimensions=8, content_max_bytes=limit))
    assert bool(refused) == (len(content.encode()) > limit)


@pytest.mark.parametrize(
    ("bad_id", "reason"),
    [
        ("", "id_missing"),
        ("a" * 63, "id_malformed"),
        ("a" * 65, "id_malformed"),
        ("A" * 64, "id_malformed"),
        ("汉" * 64, "id_malformed"),
        ("a" * 63 + '"', "id_malformed"),
    ],
)
def test_an_id_is_64_hex_digits(bad_id: str, reason: str) -> None:
    assert reasons(one_row(row_id=bad_id)) == [(0, reason)]


@given(st.lists(st.integers(0, 5), max_size=20))
def test_of_rows_with_one_id_the_first_is_kept(numbers: list[int]) -> None:
    columns = {"id": [row_id(n) for n in numbers], "content": ["x"] * len(numbers), "metadata": ["{}"] * len(numbers)}
    table = pa.table(columns, TEXTS)
    later = [i for i, n in enumerate(numbers) if n in numbers[:i]]
    assert reasons((table, np.ones((len(numbers), 8), np.float32))) == [(i, "id_doubled") for i in later]


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (None, "metadata_missing"),
        ("", "metadata_not_json"),
        ('{"a":', "metadata_not_json"),
        ('{"a":NaN}', "metadata_not_json"),
        ('{"a":1e400}', "metadata_not_json"),
        ('{"a":"\\ud800"}', "metadata_not_json"),
        ("[1]", "metadata_not_object"),
        ('"text"', "metadata_not_object"),
        ("null", "metadata_not_object"),
        ('{"a":18446744073709551616}', "metadata_number"),
        (of_size(65_537), "metadata_too_long"),
    ],
)
def test_metadata_is_a_json_object_that_comes_back_as_it_was(metadata: str | None, reason: str) -> None:
    assert reasons(one_row(metadata=metadata)) == [(0, reason)]


@pytest.mark.parametrize("metadata", [of_size(65_536), '{"a":18446744073709551615}', '{"a":"12345678901234567890123"}'])
def test_metadata_at_the_limits_is_taken(metadata: str) -> None:
    assert reasons(one_row(metadata=metadata)) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_only_integers_beyond_64_bits_make_metadata_unfit(value: dict[str, object]) -> None:
    def fits(item: object) -> bool:
        if isinstance(item, dict):
            return all(map(fits, item.values()))
        if isinstance(item, list):
            return all(map(fits, item))
        return not isinstance(item, int) or -(2**63) <= item < 2**64

    assert bool(reasons(one_row(metadata=json.dumps(value)))) == (not fits(value))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "vector_not_finite"),
        (np.inf, "vector_not_finite"),
        (-np.inf, "vector_not_finite"),
        (0.0, "vector_zero"),
        (1e30, "vector_length"),
        (1e-30, "vector_length"),
    ],
)
def test_a_vector_without_a_direction_is_refused_and_the_others_are_not(value: float, reason: str) -> None:
    table, vectors = make_rows(range(3))
    vectors[1] = value
    assert reasons((table, vectors)) == [(1, reason)]


@given(st.lists(st.floats(width=32), min_size=8, max_size=8))
def test_vectors_that_pass_have_a_length_and_a_direction(numbers: list[float]) -> None:
    vectors: Vectors = np.array([numbers], np.float32)
    if not reasons((one_row()[0], vectors)):
        length = np.linalg.norm(vectors[0])
        assert np.isfinite(length)
        assert np.isfinite(vectors[0] / length).all()


def test_vectors_of_another_dimension_are_all_refused() -> None:
    assert reasons(make_rows(range(2), dimensions=4)) == [(0, "vector_dimension"), (1, "vector_dimension")]


def test_vectors_that_do_not_match_the_rows_are_a_mistake_of_the_caller() -> None:
    table, vectors = make_rows(range(3))
    with pytest.raises(ValueError, match="one vector a row"):
        check_rows(table, vectors[:2], SHAPE)


@pytest.mark.parametrize(
    ("sparse", "reason"),
    [
        (b"", None),
        (sparse_bytes([5, 1], [1.0, 0.5]), None),
        (sparse_bytes([2**32 - 2], [1.0]), None),
        (sparse_bytes([2**32 - 1], [1.0]), "sparse_malformed"),
        (sparse_bytes([1], [1.0])[:-1], "sparse_malformed"),
        (sparse_bytes([1], [1.0]) * 2, "sparse_malformed"),
        (sparse_bytes([2], [1.0]) + sparse_bytes([1], [1.0]), "sparse_malformed"),
        (np.array([(1, -1.0)], SPARSE_PAIR).tobytes(), "sparse_malformed"),
        (np.array([(1, np.nan)], SPARSE_PAIR).tobytes(), "sparse_malformed"),
        (np.array([(1, np.inf)], SPARSE_PAIR).tobytes(), "sparse_malformed"),
        (None, "sparse_malformed"),
    ],
)
def test_a_sparse_vector_is_refused_unless_milvus_can_search_it(sparse: bytes | None, reason: str | None) -> None:
    table, vectors = make_rows(range(3))
    good = sparse_bytes([1, 9], [1.0, 2.0])
    table = table.append_column("sparse", pa.array([good, sparse, good], pa.binary()))
    shape = CollectionShape(dimensions=8, hybrid="sparse")
    assert reasons((table, vectors), shape) == ([(1, reason)] if reason else [])
