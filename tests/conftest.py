"""Fixtures for every folder of tests."""

from hypothesis import settings

from tests.servers.fixtures import milvus_server, server_uri
from tests.simulator.fixtures import simulator, start_simulator

__all__ = ["milvus_server", "server_uri", "simulator", "start_simulator"]

settings.register_profile("busy", deadline=None)  # how long an example takes is no claim, and machines are busy
settings.load_profile("busy")
