"""Opening, failing to open, and letting go: one clear error each, soon, and not a line on standard error."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from millrace.tasks.errors import CollectionError, ConfigurationError
from millrace.tasks.milvus import Collection, MilvusAddress
from tests.tasks.milvus.samples import SHAPE, make_rows, row_id

ROOT = Path(__file__).parents[4]


def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.tasks.milvus.processes", name, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=True
    )


def start(name: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.tasks.milvus.processes", name, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def refusal(uri: str, *, timeout_s: float = 30.0) -> str:
    with pytest.raises(CollectionError) as error:
        Collection.open(MilvusAddress(uri, token="user:secret", timeout_s=timeout_s), "rows", shape=SHAPE)
    assert "secret" not in str(error.value)
    return str(error.value)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port whose server takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_importing_the_room_does_not_import_pymilvus() -> None:
    program = "import sys, millrace.tasks.milvus; sys.exit(any(m in sys.modules for m in ('pymilvus', 'grpc', 'milvus_lite')))"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_closed_port_is_told_at_once() -> None:
    assert "the Milvus server at http://127.0.0.1:1 cannot be reached" in refusal("http://user:secret@127.0.0.1:1")


def test_a_server_that_never_answers_is_given_up_on(silent_port: int) -> None:
    from millrace.tasks.milvus.client.connection import CONNECT_TIMEOUT_S

    started = time.monotonic()
    assert "did not answer in time" in refusal(f"http://127.0.0.1:{silent_port}", timeout_s=0.5)
    assert time.monotonic() - started < CONNECT_TIMEOUT_S


def test_a_process_that_cannot_connect_says_so_and_ends_by_itself(silent_port: int) -> None:
    ended = run("open_once", f"http://127.0.0.1:{silent_port}", "0.5")
    assert ("did not answer in time" in ended.stdout, ended.stderr) == (True, "")


def test_no_server_is_waited_for_longer_than_ten_seconds_at_the_start() -> None:
    from millrace.tasks.milvus.client.connection import CONNECT_TIMEOUT_S

    assert CONNECT_TIMEOUT_S < 10


@pytest.mark.parametrize(
    "uri", ["", "x", "x.sqlite", "ftp://host", "http://", "http://host:99999", "http://host:port", "http://[::1"]
)
def test_a_uri_that_is_none_is_a_mistake_in_the_configuration(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"milvus\.uri"):
        Collection.open(MilvusAddress(uri), "rows")


def test_a_bad_name_is_refused_on_lite_as_on_a_server(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="bad-name!"):
        Collection.open(MilvusAddress(str(tmp_path / "x.db")), "bad-name!")
    assert not list(tmp_path.iterdir())


def test_a_lite_path_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "file.db").write_text("x")
    assert "there is no folder" in refusal(str(tmp_path / "missing" / "x.db"))
    assert "it is a file" in refusal(str(tmp_path / "file.db"))
    assert "cannot open /proc/x.db" in refusal("/proc/x.db")


def test_a_second_process_is_told_that_another_has_it_open(tmp_path: Path) -> None:
    path = str(tmp_path / "x.db")
    with Collection.open(MilvusAddress(path), "rows", shape=SHAPE):
        assert "another process has it open" in run("open_once", path).stdout
    assert run("open_once", path).stdout == "open\n"


def test_two_collections_in_one_file_are_let_go_one_by_one(tmp_path: Path) -> None:
    path = str(tmp_path / "x.db")
    first = Collection.open(MilvusAddress(path), "first", shape=SHAPE)
    second = Collection.open(MilvusAddress(str(tmp_path / "." / "x.db")), "second", shape=SHAPE)
    first.close()
    assert second.upsert(*make_rows(range(2))) == 2
    second.close()
    assert run("open_once", path).stdout == "open\n"


def test_failures_leave_standard_error_to_the_caller(tmp_path: Path) -> None:
    ended = run("fail_in_every_way", str(tmp_path / "x.db"))
    assert (ended.stdout, ended.stderr) == ("", "")


def test_a_proxy_in_the_environment_does_not_come_between_lite_and_its_process(tmp_path: Path) -> None:
    proxy = "http://127.0.0.1:1"
    ended = run("open_once", str(tmp_path / "x.db"), http_proxy=proxy, https_proxy=proxy, no_proxy="", NO_PROXY="")
    assert ended.stdout == "open\n"


def test_what_was_acknowledged_before_a_kill_is_there_afterwards(tmp_path: Path) -> None:
    path = str(tmp_path / "x.db")
    for kill_after in (3, 8):
        child = start("upsert_for_ever", path)
        assert child.stdout is not None
        run_concurrently = [int(child.stdout.readline()) for _ in range(kill_after)]
        child.kill()
        run_concurrently += [int(line) for line in child.communicate()[0].splitlines()]
        with Collection.open(MilvusAddress(path), "rows", shape=SHAPE, create=False) as collection:
            wanted = [row_id(n) for n in range(run_concurrently[-1])]
            assert collection.present(wanted) == set(wanted)
            listed = [i for batch in collection.ids() for i in batch]
            assert len(listed) == len(set(listed)) == collection.count()


@contextmanager
def server(path: Path, port: int) -> "Iterator[subprocess.Popen[str]]":
    """Milvus Lite as a server in a process of its own, from when it listens until it is killed."""
    command = [sys.executable, "-u", "-m", "milvus_lite", "server", "--data-dir", str(path)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert "listening" in process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_a_server_that_is_killed_and_restarted_is_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ThreadPoolExecutor(1) as thread:
        with server(tmp_path / "x.db", port):
            collection = Collection.open(MilvusAddress(f"http://127.0.0.1:{port}", wait_s=60), "rows", shape=SHAPE)
            collection.upsert(*make_rows(range(10)))
        meanwhile = thread.submit(collection.upsert, *make_rows(range(5, 15)))
        with server(tmp_path / "x.db", port):
            assert meanwhile.result() == 10
            assert collection.present([row_id(n) for n in range(20)]) == {row_id(n) for n in range(15)}
            assert collection.count() == 15
            collection.close()
