"""An alias is moved in one step, on Milvus Lite and on a server alike."""

import uuid
from collections.abc import Iterator

import pytest

from millrace.tasks.errors import CollectionMissing, ConfigurationError
from millrace.tasks.milvus import Aliases, Collection, CollectionShape, MilvusAddress
from tests.tasks.milvus.samples import SHAPE, make_rows, vector_of

OTHER = CollectionShape(dimensions=SHAPE.dimensions, metric="IP", index="FLAT", index_params=())


@pytest.fixture
def names(uri: str) -> Iterator[tuple[str, str, str]]:
    """Two collections with ten rows each, the second of another shape, and a free name for an alias."""
    mark = uuid.uuid4().hex[:12]
    first, second = f"first_{mark}", f"second_{mark}"
    for name, shape in ((first, SHAPE), (second, OTHER)):
        with Collection.open(MilvusAddress(uri), name, shape=shape) as collection:
            collection.upsert(*make_rows(range(10)))
    yield first, second, f"alias_{mark}"
    for name in (first, second):
        Collection.drop(MilvusAddress(uri), name)


def test_an_alias_stands_for_what_it_was_last_pointed_at(uri: str, names: tuple[str, str, str]) -> None:
    first, second, alias = names
    with Aliases(MilvusAddress(uri)) as aliases:
        assert aliases.target(alias) == ""
        for name in (first, second, second, first):
            aliases.point(alias, name)
            assert (aliases.target(alias), aliases.names(name)) == (name, [alias])
            assert aliases.search(alias, aliases.shape(alias), vector_of(3), top_k=1)[0].content
    with Aliases(MilvusAddress(uri)) as aliases:
        assert aliases.target(alias) == first


def test_what_it_takes_to_search_a_collection_is_told_by_itself(uri: str, names: tuple[str, str, str]) -> None:
    with Aliases(MilvusAddress(uri)) as aliases:
        shapes = [aliases.shape(name) for name in names[:2]]
    assert [(shape.dimensions, shape.metric) for shape in shapes] == [
        (SHAPE.dimensions, "COSINE"), (SHAPE.dimensions, "IP"),
    ]  # fmt: skip


def test_an_alias_outlives_its_collection_on_some_servers_and_can_be_pointed_anew(
    uri: str, names: tuple[str, str, str]
) -> None:
    first, second, alias = names
    with Aliases(MilvusAddress(uri)) as aliases:
        aliases.point(alias, second)
        Collection.drop(MilvusAddress(uri), second)
        assert aliases.target(alias) == ""
        aliases.point(alias, first)
        assert aliases.target(alias) == first


def test_what_cannot_be_an_alias_or_its_target_is_refused(uri: str, names: tuple[str, str, str]) -> None:
    first, second, alias = names
    with Aliases(MilvusAddress(uri)) as aliases:
        with pytest.raises(ConfigurationError, match="is the name of a collection"):
            aliases.point(second, first)
        with pytest.raises(ConfigurationError):
            aliases.point("no-name!", first)
        with pytest.raises(CollectionMissing):
            aliases.point(alias, "no_such_collection")
        assert aliases.target(alias) == ""
