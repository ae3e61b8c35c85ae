"""Fields promoted from metadata: spelled, filled, filtered by, and what does not fit them."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.errors import CollectionError, ConfigurationError
from millrace.tasks.milvus import Collection, CollectionShape, check_rows
from millrace.tasks.milvus.client.sdk import DataType
from millrace.tasks.milvus.rows import row_columns
from millrace.tasks.milvus.scalar_fields import ScalarField, fitted, scalar_fields
from millrace.tasks.milvus.writer import upsert_request
from millrace.tasks.records import JsonValue
from tests.tasks.milvus.conftest import OpenCollection
from tests.tasks.milvus.samples import SHAPE, Rows, row_id, vector_of

SPELLED = ["page_start:int64", "语言:varchar(8) as lang", "weight:double", "checked:bool"]
FIELDS = scalar_fields(SPELLED)
PROMOTED = replace(SHAPE, scalar_fields=FIELDS)

METADATA: list[dict[str, JsonValue]] = [
    {"page_start": 3, "语言": "中文", "weight": 1.5, "checked": True},
    {"page_start": None, "语言": None, "weight": None, "checked": None},
    {"page_start": "-7", "语言": "", "weight": "0.25", "checked": "FALSE"},
    {},
]


def rows_with(metadata: list[dict[str, JsonValue]]) -> Rows:
    table = pa.table(
        {
            "id": [row_id(n) for n in range(len(metadata))],
            "content": [f"row {n}" for n in range(len(metadata))],
            "metadata": [json.dumps(value, ensure_ascii=False) for value in metadata],
        }
    )
    return table, np.stack([vector_of(n) for n in range(len(metadata))])


def found(collection: Collection, condition: str) -> list[int]:
    hits = collection.search(vector_of(0), top_k=20, filter=condition)
    return sorted(int(hit.content.removeprefix("row ")) for hit in hits)


def test_a_field_is_spelled_by_key_type_and_perhaps_a_name() -> None:
    assert scalar_fields(SPELLED) == (
        ScalarField("page_start", "page_start", "INT64"),
        ScalarField("lang", "语言", "VARCHAR", 8),
        ScalarField("weight", "weight", "DOUBLE"),
        ScalarField("checked", "checked", "BOOL"),
    )
    assert scalar_fields([" a b : VARCHAR(10)  as  ab "]) == (ScalarField("ab", "a b", "VARCHAR", 10),)
    assert [str(field) for field in FIELDS] == ["int64", "varchar(8)", "double", "bool"]


@pytest.mark.parametrize(
    "spelling",
    [
        *("", "page", "page:", "page:int", "page:varchar", "page:varchar(0)", "page:varchar(65536)"),
        *("语言:int64", "a b:bool", "a:int64 as 1a", "id:int64", "x:bool as metadata", "x:bool as Content"),
    ],
)
def test_a_spelling_that_is_none_says_how_to_write_it(spelling: str) -> None:
    with pytest.raises(ConfigurationError, match=r"milvus\.scalar_fields: .*(write key:type|another name)"):
        scalar_fields([spelling])


def test_a_name_may_be_there_only_once() -> None:
    with pytest.raises(ConfigurationError, match="already is a field x"):
        scalar_fields(["x:int64", "y:bool as x"])


@pytest.mark.parametrize(("key", "valid"), [("page_start", True), ("lang", True), ("weight", False), ("title", False)])
def test_the_partition_key_is_a_promoted_field_of_whole_numbers_or_text(key: str, valid: bool) -> None:
    if valid:
        assert scalar_fields(SPELLED, partition_key=key) == FIELDS
    else:
        with pytest.raises(ConfigurationError, match=rf"milvus\.partition_key = {key}.*milvus\.scalar_fields"):
            scalar_fields(SPELLED, partition_key=key)


def test_the_message_is_the_client_librarys_byte_for_byte() -> None:
    from pymilvus.client.prepare import Prepare

    table, vectors = rows_with(METADATA)
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": DataType.VARCHAR, "params": {"max_length": 64}, "is_primary": True},
        {"name": "content", "type": DataType.VARCHAR, "params": {"max_length": 8192}},
        {"name": "embedding", "type": DataType.FLOAT_VECTOR, "params": {"dim": 8}},
        {"name": "metadata", "type": DataType.JSON},
        {"name": "page_start", "type": DataType.INT64, "nullable": True},
        {"name": "lang", "type": DataType.VARCHAR, "params": {"max_length": 8}},
        {"name": "weight", "type": DataType.DOUBLE, "nullable": True},
        {"name": "checked", "type": DataType.BOOL, "nullable": True},
    ]
    values = [(3, "中文", 1.5, True), (None, "", None, None), (-7, "", 0.25, False), (None, "", None, None)]
    rows = [
        {**row, "embedding": vector, "page_start": page, "lang": lang, "weight": weight, "checked": checked}
        for row, vector, (page, lang, weight, checked) in zip(table.to_pylist(), vectors, values, strict=True)
    ]
    theirs = Prepare.row_upsert_param("some_name", rows, "", fields)
    sent = row_columns(table, PROMOTED, frozenset(["page_start", "weight", "checked"]))
    ours = upsert_request("some_name", sent, vectors)
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)


def test_rows_are_found_by_promoted_fields_and_missing_values_by_none(open_collection: OpenCollection) -> None:
    collection = open_collection(shape=PROMOTED)
    table, vectors = rows_with(METADATA)
    assert check_rows(table, vectors, PROMOTED) == []
    collection.upsert(table, vectors)
    assert found(collection, 'lang == "中文"') == [0]
    assert found(collection, "page_start == 3") == [0]
    assert found(collection, "page_start == -7 and weight == 0.25 and checked == false") == [2]
    assert found(collection, "page_start > 0") == [0]
    assert collection.fetch([row_id(1)])[0].metadata == METADATA[1]
    if collection.is_lite:
        assert found(collection, "page_start <= 3") == [0, 2]
        assert found(collection, "page_start is null") == [1, 3]


def test_a_server_without_null_holds_a_stand_in(open_collection: OpenCollection) -> None:
    collection = open_collection(shape=PROMOTED)
    if collection._nullable:
        pytest.skip("this Milvus has null")
    collection.upsert(*rows_with(METADATA))
    assert found(collection, "page_start == -1 and weight == -1.0 and checked == false") == [1, 3]
    assert found(collection, 'lang == ""') == [1, 2, 3]


def test_a_promoted_field_follows_the_metadata(open_collection: OpenCollection) -> None:
    collection = open_collection(shape=PROMOTED)
    collection.upsert(*rows_with([{"page_start": 1}]))
    collection.upsert(*rows_with([{"page_start": 2}]))
    assert (found(collection, "page_start == 1"), found(collection, "page_start == 2")) == ([], [0])


def test_a_collection_with_promoted_fields_opens_again(open_collection: OpenCollection) -> None:
    open_collection(shape=PROMOTED).close()
    with open_collection(shape=PROMOTED) as collection:
        collection.upsert(*rows_with(METADATA))
    with pytest.raises(CollectionError) as refusal:
        open_collection(shape=replace(SHAPE, scalar_fields=scalar_fields(["page_start:varchar(9)", "year:int64"])))
    output = [line.strip() for line in str(refusal.value).splitlines()]
    assert "page_start: expected VARCHAR(9), found INT64" in output
    assert "year: expected INT64, there is no such field" in output


PARTITIONED = replace(SHAPE, scalar_fields=scalar_fields(["lang:varchar(8)"]), partition_key="lang")


def test_rows_move_with_their_partition_key(open_collection: OpenCollection) -> None:
    try:
        collection = open_collection(shape=PARTITIONED)
    except ConfigurationError as refusal:
        pytest.skip(str(refusal))
    for langs in (["zh", "en", None], ["en", "en", "zh"]):
        collection.upsert(*rows_with([{"lang": lang} for lang in langs]))
        for lang in ("zh", "en"):
            assert found(collection, f'lang == "{lang}"') == [n for n, came in enumerate(langs) if came == lang]
        assert found(collection, 'lang == ""') == [n for n, came in enumerate(langs) if came is None]
        assert collection.count() == 3
    collection.delete([row_id(0)])
    assert collection.count() == 2
    with pytest.raises(CollectionError, match=r"lang: expected VARCHAR\(8\), found VARCHAR\(8\) partition key"):
        open_collection(shape=replace(PARTITIONED, partition_key=""))


@pytest.mark.parametrize(
    ("spelling", "value", "fits"),
    [
        ("x:int64", 2**63 - 1, True),
        ("x:int64", 3.0, True),
        ("x:int64", "2021", True),
        ("x:int64", "", True),
        ("x:int64", 3.5, False),
        ("x:int64", 1e300, False),
        ("x:int64", "9999999999999999999", False),
        ("x:int64", "about 3", False),
        ("x:int64", "٣", False),
        ("x:int64", True, False),
        ("x:int64", [1], False),
        ("x:double", 3, True),
        ("x:double", "1e-3", True),
        ("x:double", "nan", False),
        ("x:double", False, False),
        ("x:bool", "True", True),
        ("x:bool", 1, False),
        ("x:varchar(4)", "中", True),
        ("x:varchar(4)", "中文", False),
        ("x:varchar(4)", 1234, True),
        ("x:varchar(4)", True, True),
        ("x:varchar(4)", {"a": 1}, False),
        ("x:varchar(4)", None, True),
    ],
)
def test_a_value_that_does_not_fit_its_field_keeps_the_row_out(spelling: str, value: JsonValue, fits: bool) -> None:
    shape = replace(SHAPE, scalar_fields=scalar_fields([spelling]))
    refused = check_rows(*rows_with([{"x": 0 if "int" in spelling else None}, {"x": value}]), shape)
    assert [(number, refusal.reason) for number, refusal in refused] == ([] if fits else [(1, "scalar_field")])
    assert all("milvus.scalar_fields" in refusal.remedy for _, refusal in refused)


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=9)
)


@given(SCALARS, st.sampled_from(["int64", "double", "bool", "varchar(6)"]))
def test_what_fits_can_be_sent_and_what_does_not_is_told(value: JsonValue, kind: str) -> None:
    field = scalar_fields([f"x:{kind}"])[0]
    try:
        came = fitted(value, field)
    except ValueError:
        return
    shape = CollectionShape(dimensions=8, scalar_fields=(field,))
    table, _ = rows_with([{"x": value if not isinstance(value, float) or abs(value) < float("inf") else None}])
    sent = row_columns(table, shape, frozenset(["x"]))["x"].to_pylist()
    assert sent in ([came], [None])
