"""Kinds of index: each finds rows, and an existing one that differs is told with what was expected and found."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.errors import CollectionError, ConfigurationError
from millrace.tasks.milvus import Collection, CollectionShape, MilvusAddress, look_at, scalar_fields
from millrace.tasks.milvus.collection_spec import LITE_INDEXES, Index, IndexParam, search_tuning
from millrace.tasks.milvus.schema import indexes_of
from tests.tasks.milvus.conftest import OpenCollection
from tests.tasks.milvus.samples import make_rows, row_id, vector_of

SHAPE = CollectionShape(dimensions=32, lite_flat_rows=0)  # the index from the start, also on Milvus Lite
PARAMS: dict[Index, tuple[IndexParam, ...]] = {
    "HNSW": (("M", 8), ("efConstruction", 40)),
    "IVF_FLAT": (("nlist", 16),),
    "DISKANN": (),
    "AUTOINDEX": (),
    "FLAT": (),
}


def shape_of(index: Index) -> CollectionShape:
    return replace(SHAPE, index=index, index_params=PARAMS[index])


@pytest.mark.parametrize("index", PARAMS)
def test_every_kind_of_index_finds_the_row_of_the_vector_first(open_collection: OpenCollection, index: Index) -> None:
    try:
        collection = open_collection(shape=shape_of(index))
    except ConfigurationError as refusal:
        pytest.skip(str(refusal))
    collection.upsert(*make_rows(range(300), dimensions=32))
    for top_k in (1, 150):
        hits = collection.search(vector_of(7, dimensions=32), top_k=top_k)
        assert (hits[0].id, len(hits)) == (row_id(7), top_k)
    collection.close()
    assert open_collection(shape=shape_of(index)).search(vector_of(8, dimensions=32), top_k=1)[0].id == row_id(8)


def test_lite_names_the_indexes_it_has(tmp_path: object) -> None:
    with pytest.raises(ConfigurationError, match=r"milvus\.index = DISKANN.*AUTOINDEX, FLAT, HNSW, IVF_FLAT"):
        Collection.open(MilvusAddress(f"{tmp_path}/x.db"), "rows", shape=shape_of("DISKANN"))
    assert set(PARAMS) - {"DISKANN"} == LITE_INDEXES


@pytest.mark.parametrize(
    ("shape", "line"),
    [
        (shape_of("IVF_FLAT"), "index: expected IVF_FLAT, found HNSW"),
        (shape_of("FLAT"), "index: expected FLAT, found HNSW"),
        (
            replace(SHAPE, index_params=(("M", 8), ("efConstruction", 41))),
            "index: expected efConstruction = 41, found 40",
        ),
        (replace(SHAPE, index_params=(("M", 16), ("efConstruction", 40))), "index: expected M = 16, found 8"),
    ],
)
def test_an_index_that_differs_is_told_with_the_way_to_another(
    open_collection: OpenCollection, shape: CollectionShape, line: str
) -> None:
    open_collection(shape=shape_of("HNSW")).close()
    with pytest.raises(CollectionError) as refusal:
        open_collection(shape=shape)
    output = [output.strip() for output in str(refusal.value).splitlines()]
    assert output[1:-1] == [line]
    assert "millrace rebuild --drop" in output[-1]


GROWING = replace(
    shape_of("HNSW"), lite_flat_rows=50, scalar_fields=scalar_fields(["page_start:int64"], partition_key="")
)


def indexes_there(collection: Collection) -> dict[str, str]:
    return {field: index.kind for field, index in indexes_of(collection._connection, collection.name).items()}


def finds(collection: Collection, number: int) -> bool:
    return collection.search(vector_of(number, dimensions=32), top_k=3)[0].id == row_id(number)


def test_lite_compares_every_vector_until_a_writer_leaves_rows_enough(open_collection: OpenCollection) -> None:
    collection = open_collection(shape=GROWING)
    first, of_fields = "FLAT" if collection.is_lite else "HNSW", {"page_start": "INVERTED"}
    collection.upsert(*make_rows(range(49), dimensions=32))
    assert (collection.settle_index(), collection.count()) == (first, 49)
    assert (collection.is_lite is False) or indexes_there(collection) == {"embedding": "FLAT", **of_fields}
    assert finds(collection, 7)  # with the ef of a graph
    collection.close()
    collection = open_collection(shape=GROWING)
    collection.upsert(*make_rows(range(40, 60), dimensions=32))
    assert (collection.settle_index(), collection.settle_index()) == ("HNSW", "HNSW")
    built = indexes_of(collection._connection, collection.name)["embedding"]
    described = {name: str(value) for name, value in built.params}
    assert (built.kind, described["M"], described["efConstruction"]) == ("HNSW", "8", "40")
    assert collection.search(vector_of(7, dimensions=32), top_k=1, filter="page_start == 2")[0].id == row_id(7)
    collection.delete([row_id(number) for number in range(55)])
    assert (collection.settle_index(), collection.count()) == ("HNSW", 5)
    collection.close()
    with pytest.raises(CollectionError, match="expected IVF_FLAT, found HNSW"):
        open_collection(shape=replace(GROWING, index="IVF_FLAT", index_params=PARAMS["IVF_FLAT"]))
    collection = open_collection(shape=GROWING)
    assert finds(collection, 57)
    assert collection.settle_index() == "HNSW"


def test_another_index_is_wanted_of_a_lite_that_has_none_yet(tmp_path: Path) -> None:
    address = MilvusAddress(str(tmp_path / "milvus.db"))
    Collection.open(address, "rows", shape=replace(GROWING, index="HNSW")).close()
    wanted = replace(GROWING, index="IVF_FLAT", index_params=PARAMS["IVF_FLAT"])
    assert look_at(address, "rows", wanted).differences == ()
    assert "metric: expected L2, found COSINE" in look_at(address, "rows", replace(wanted, metric="L2")).differences
    with Collection.open(address, "rows", shape=wanted) as collection:
        collection.upsert(*make_rows(range(60), dimensions=32))
        assert collection.settle_index() == "IVF_FLAT"
        assert finds(collection, 7)


@pytest.mark.parametrize("killed", ["before the index is made", "while it is written"])
def test_a_lite_that_was_killed_on_the_way_to_its_index_is_searched_and_gets_it_next_time(
    tmp_path: Path, killed: str
) -> None:
    address, shape = MilvusAddress(str(tmp_path / "milvus.db")), replace(GROWING, lite_flat_rows=30)
    with Collection.open(address, "rows", shape=shape) as collection:
        collection.upsert(*make_rows(range(60), dimensions=32))
    with Collection.open(address, "rows", shape=shape) as collection:
        if killed == "before the index is made":
            collection._connection.client.release_collection("rows")
            collection._connection.client.drop_index("rows", "all of them")
        else:
            assert collection.settle_index() == "HNSW"
    if killed == "while it is written":
        (written,) = tmp_path.rglob("*.embedding.hnsw.idx")
        written.write_bytes(written.read_bytes()[:1000])
    with Collection.open(address, "rows", shape=shape) as reader:
        assert indexes_there(reader) == {"embedding": "FLAT", "page_start": "INVERTED"}
        assert finds(reader, 7)
    with Collection.open(address, "rows", shape=shape) as collection:
        assert collection.settle_index() == "HNSW"
        assert finds(collection, 8)


@pytest.mark.parametrize(
    ("index", "given_params", "rows", "expected"),
    [
        ("HNSW", (), 1, {"ef": 512}),
        ("HNSW", (), 16_384, {"ef": 32_768}),
        ("HNSW", (("ef", 500),), 20, {"ef": 500}),
        ("HNSW", (("ef", 10),), 20, {"ef": 20}),
        ("IVF_FLAT", (), 20, {"nprobe": 8}),
        ("IVF_FLAT", (("nprobe", 3),), 20, {"nprobe": 3}),
        ("IVF_FLAT", (("nprobe", 99),), 20, {"nprobe": 16}),
        ("DISKANN", (), 20, {"search_list": 100}),
        ("DISKANN", (("search_list", 30),), 100, {"search_list": 100}),
        ("FLAT", (("ef", 3),), 20, {}),
        ("AUTOINDEX", (), 20, {}),
    ],
)
def test_a_search_is_as_thorough_as_asked_for_and_as_milvus_needs(
    index: Index, given_params: tuple[IndexParam, ...], rows: int, expected: dict[str, int]
) -> None:
    assert search_tuning(replace(shape_of(index), search_params=given_params), rows) == expected


@given(st.sampled_from(["HNSW", "DISKANN"]), st.integers(1, 32_768), st.integers(1, 16_384))
def test_a_graph_always_looks_at_the_rows_that_are_asked_for(index: Index, given_size: int, rows: int) -> None:
    name = {"HNSW": "ef", "DISKANN": "search_list"}[index]
    for params in ((), ((name, given_size),)):
        assert search_tuning(replace(shape_of(index), search_params=params), rows)[name] >= rows
