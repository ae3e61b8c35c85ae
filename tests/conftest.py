"""Fixtures for every folder of tests."""

from tests.servers.fixtures import milvus_server, server_uri
from tests.simulator.fixtures import simulator, start_simulator

__all__ = ["milvus_server", "server_uri", "simulator", "start_simulator"]
