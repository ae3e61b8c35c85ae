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


@pytest.fixture(autouse=True)
def no_secret_of_another_test() -> Iterator[None]:
    """What one test read as a secret is not masked in the words of the next."""
    yield
    secrets._secrets.__init__()  # type: ignore[misc]
