"""Fixtures for every folder of tests."""

from hypothesis import settings

from tests.simulator.fixtures import simulator, start_simulator
from tests.system.servers.fixtures import milvus_server, server_uri
from tests.system.servers.object_fixtures import bucket, object_storage

__all__ = ["bucket", "milvus_server", "object_storage", "server_uri", "simulator", "start_simulator"]

settings.register_profile("busy", deadline=None)  # how long an example takes is no claim, and machines are busy
settings.load_profile("busy")
