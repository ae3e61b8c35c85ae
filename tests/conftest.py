"""Fixtures for every folder of tests."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from millrace.tasks import secrets
from tests.simulator.fixtures import simulator, start_simulator
from tests.system.servers.fixtures import milvus_server, server_uri
from tests.system.servers.object_fixtures import bucket, object_storage

__all__ = ["bucket", "milvus_server", "object_storage", "server_uri", "simulator", "start_simulator"]

settings.register_profile("busy", deadline=None)  # how long an example takes is no claim, and machines are busy
settings.load_profile("busy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what may take long, so that the processes that share the tests end at about the same time."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None and "tests/system" not in item.nodeid)


@pytest.fixture(autouse=True)
def no_secret_of_another_test() -> Iterator[None]:
    """What one test read as a secret is not masked in the words of the next."""
    yield
    secrets._secrets.__init__()  # type: ignore[misc]
