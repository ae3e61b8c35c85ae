"""What is at an address is told as it is, on Milvus Lite and on a server alike, and nothing is changed by asking."""

from dataclasses import replace

import pytest

from millrace.tasks.errors import CollectionError
from millrace.tasks.milvus import Collection, MilvusAddress, look_at
from millrace.tasks.milvus.facts import untested
from tests.tasks.milvus.conftest import OpenCollection
from tests.tasks.milvus.samples import SHAPE


def test_a_collection_is_seen_beside_a_shape_and_one_that_is_missing_is_not_made(
    uri: str, open_collection: OpenCollection
) -> None:
    collection: Collection = open_collection()
    collection.mark_owners(["0b1d-a-lake"])
    address = MilvusAddress(uri)
    same = look_at(address, collection.name, SHAPE)
    assert (same.has_collection, same.differences, same.owners) == (True, (), frozenset({"0b1d-a-lake"}))
    assert (same.is_lite, same.untested) == (collection.is_lite, "")
    longer = look_at(address, collection.name, replace(SHAPE, dimensions=SHAPE.dimensions * 2))
    assert [line.partition(":")[0] for line in longer.differences] == ["embedding"]
    for _ in range(2):
        assert not look_at(address, f"{collection.name}_missing", SHAPE).has_collection


@pytest.mark.parametrize(
    ("version", "is_lite", "word"),
    [
        ("v2.3.5", False, ""),
        ("2.3.9", False, ""),
        ("v2.2.16", False, "2.3.5"),
        ("v2.5.4", False, "BM25"),
        ("v2.6.13", False, "BM25"),
        ("Zilliz Cloud", False, "not known"),
        ("3.2.2", True, ""),
        ("3.4.0", True, "Milvus Lite 3.2"),
    ],
)
def test_what_no_test_has_run_is_said_by_version(version: str, *, is_lite: bool, word: str) -> None:
    said = untested(version, is_lite=is_lite)
    assert word in said
    assert bool(said) == bool(word)


def test_a_server_that_is_away_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.tasks.milvus.client.connection.CONNECT_TIMEOUT_S", 0.3)
    with pytest.raises(CollectionError, match="cannot be reached"):
        look_at(MilvusAddress("http://127.0.0.1:9"), "documents", SHAPE)
