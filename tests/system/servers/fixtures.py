"""Fixtures that run a real Milvus server; a conftest imports them by name.

Without a server these tests are skipped with the reason, unless MILLRACE_TEST_SERVER=required: then they fail.
MILLRACE_TEST_MILVUS_URI names another server to be used in its place, such as a newer one.
"""

import os
from collections.abc import Iterator

import pytest

from tests.system.servers.milvus_server import MilvusServer, NoServer

_FOREIGN_URI = os.environ.get("MILLRACE_TEST_MILVUS_URI", "")
_IS_REQUIRED = os.environ.get("MILLRACE_TEST_SERVER", "") == "required"

LITE_AND_SERVER = ["lite", pytest.param("server", marks=pytest.mark.server)]
"""Parameters of a fixture whose tests run against both alike."""


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """A server of this session's own, which a test may kill and start again."""
    try:
        server = MilvusServer(tmp_path_factory.mktemp("milvus-server"))
    except NoServer as reason:
        if _IS_REQUIRED:
            pytest.fail(f"no Milvus server: {reason}")
        pytest.skip(f"no Milvus server: {reason}")
    with server:
        yield server


@pytest.fixture(scope="session")
def server_uri(request: pytest.FixtureRequest) -> str:
    """The address of a server that tests share, each with collections of its own."""
    if _FOREIGN_URI:
        return _FOREIGN_URI
    server: MilvusServer = request.getfixturevalue("milvus_server")
    return server.uri
