"""Fixtures for every folder of tests."""

from hypothesis import settings

from tests.servers.fixtures import milvus_server, server_uri
from tests.servers.object_fixtures import bucket, object_storage
from tests.simulator.fixtures import simulator, start_simulator

__all__ = ["bucket", "milvus_server", "object_storage", "server_uri", "simulator", "start_simulator"]

settings.register_profile("busy", deadline=None)  # how long an example takes is no claim, and machines are busy
settings.load_profile("busy")
