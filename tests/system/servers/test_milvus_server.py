"""The server of the tests is reached on loopback alone, and nothing of it outlives whoever started it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.crashes.processes import processes_of, until
from tests.system.servers.milvus_server import ROOT, MilvusServer

pytestmark = pytest.mark.server

LISTENING = "0A"
LOOPBACK = "0100007F"


def listeners(processes: list[int]) -> list[str]:
    """Addresses at which these processes listen in the network of the tests, in hex."""
    sockets = {
        link.readlink().name.removeprefix("socket:[").removesuffix("]")
        for process in processes
        for link in Path(f"/proc/{process}/fd").iterdir()
        if link.is_symlink() and "socket:[" in str(link.readlink())
    }
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/self/net/{name}").read_text().splitlines()
    ]
    return [line[1] for line in lines[1:] if line[3] == LISTENING and line[9] in sockets]


def test_it_listens_on_one_loopback_port_and_nowhere_else(milvus_server: MilvusServer) -> None:
    port = int(milvus_server.uri.rpartition(":")[2])
    assert listeners(processes_of(milvus_server.folder)) == [f"{LOOPBACK}:{port:04X}"]


def test_nothing_of_it_outlives_a_killed_test_session(tmp_path: Path, milvus_server: MilvusServer) -> None:
    program = (
        "import sys, time; from pathlib import Path; from tests.system.servers.milvus_server import MilvusServer\n"
        "server = MilvusServer(Path(sys.argv[1])); print(server.uri, flush=True); time.sleep(600)"
    )
    session = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert session.stdout is not None
    uri = session.stdout.readline().strip()
    assert uri.startswith("http://127.0.0.1:")
    assert uri != milvus_server.uri
    session.kill()
    session.communicate()
    until(lambda: not processes_of(tmp_path), "processes are left behind")
