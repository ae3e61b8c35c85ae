"""A collection to test with: on Milvus Lite, and on a server."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millrace.tasks.milvus import Collection, CollectionShape, MilvusAddress
from tests.system.servers.fixtures import LITE_AND_SERVER
from tests.tasks.milvus.samples import SHAPE

OpenCollection = Callable[..., Collection]


@pytest.fixture(params=LITE_AND_SERVER)
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "server":
        return str(request.getfixturevalue("server_uri"))
    return str(tmp_path / "milvus.db")


@pytest.fixture
def open_collection(uri: str) -> Iterator[OpenCollection]:
    """Opens the test's collection, as often as it likes; what it leaves open is closed, on a server also dropped."""
    name = f"test_{uuid.uuid4().hex}"
    opened: list[Collection] = []

    def open_it(*, shape: CollectionShape = SHAPE, create: bool = True) -> Collection:
        opened.append(Collection.open(MilvusAddress(uri), name, shape=shape, create=create))
        return opened[-1]

    yield open_it
    if opened and not opened[-1].is_lite:
        with Collection.open(MilvusAddress(uri), name, shape=opened[0].shape) as last:
            last._connection.client.drop_collection(name)
    for collection in opened:
        collection.close()


@pytest.fixture
def collection(open_collection: OpenCollection) -> Collection:
    return open_collection()
