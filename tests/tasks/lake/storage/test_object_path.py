"""Objects as files of the lake."""

import gc
import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake import ObjectPath, ObjectStore
from millrace.tasks.lake.storage.atomic import (
    quarantine,
    read_table,
    remove_files,
    write_atomically,
    write_bytes_atomically,
)
from tests.system.servers.object_fixtures import Bucket


class RefusingSecondPart(BaseHTTPRequestHandler):
    """Storage that takes the first part of every upload and refuses the second."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self._read()
        self._answer(200, b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")

    def do_PUT(self) -> None:
        self._read()
        if "partNumber=2" in self.path:
            self._answer(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        else:
            self._answer(200, b"")

    def _read(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            self.rfile.read(int(self.headers["content-length"]))
            return
        while size := int(self.rfile.readline(), 16):
            self.rfile.read(size + 2)
        while self.rfile.readline().strip():
            pass

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("etag", '"1"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing_second_part() -> Iterator[tuple[str, list[str]]]:
    """The address of such storage, and what it was asked."""
    RefusingSecondPart.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), RefusingSecondPart) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}", RefusingSecondPart.asked
        server.shutdown()


def test_an_object_is_there_whole_and_then_gone(bucket: Bucket) -> None:
    path = bucket.lake / "documents" / "runs" / "a.json"
    assert not path.exists()
    assert list(path.parent.iterdir()) == []
    write_bytes_atomically(b"first", path)
    write_bytes_atomically(b"second", path)
    assert path.read_bytes() == b"second"
    assert path.size_bytes() == 6
    assert [found.name for found in path.parent.glob("*.json")] == ["a.json"]
    assert path.parent.is_dir()
    assert not path.is_dir()
    remove_files([path, path])
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        path.read_bytes()
    with pytest.raises(FileNotFoundError):
        read_table(path, remedy="")


def test_a_writing_that_fails_leaves_the_object_as_it_was(bucket: Bucket) -> None:
    path = bucket.lake / "manifest.parquet"
    write_bytes_atomically(b"before", path)

    def write(sink: object) -> None:
        sink.write(b"half of it")  # type: ignore[attr-defined]
        raise ValueError("killed")

    with pytest.raises(ValueError, match="killed"):
        write_atomically(path, write)
    assert path.read_bytes() == b"before"


def test_of_an_upload_that_is_refused_half_way_nothing_is_published(
    bucket: Bucket, refusing_second_part: tuple[str, list[str]]
) -> None:
    endpoint, asked = refusing_second_part
    store = ObjectStore(endpoint=endpoint, region="us-east-1", virtual_hosting=False, local=bucket.local)
    with pytest.raises(LakeUnreachable, match="Look at the credentials"):
        write_bytes_atomically(bytes(40 << 20), ObjectPath("lakes/manifest.parquet", store))
    gc.collect()
    assert [request for request in asked if "partNumber=2" in request]
    assert [request for request in asked if "POST" in request and "uploadId" in request] == []


def test_an_object_of_many_parts_comes_back_as_it_was(bucket: Bucket) -> None:
    data = bytes(range(256)) * (12 << 12)
    write_bytes_atomically(data, bucket.lake / "part")
    assert (bucket.lake / "part").read_bytes() == data


def test_what_is_set_aside_has_another_name(bucket: Bucket) -> None:
    write_bytes_atomically(b"damaged", bucket.lake / "part")
    quarantine(bucket.lake / "part")
    quarantine(bucket.lake / "part")
    assert bucket.objects() == ["part.damaged"]


def test_the_names_of_a_path_are_those_of_its_key(bucket: Bucket) -> None:
    path = bucket.lake / "rejects" / "rejects.parquet"
    assert path.name == "rejects.parquet"
    assert path.with_suffix(".d") == path.parent / "rejects.d"
    assert path.with_name("x") == bucket.lake / "rejects" / "x"
    assert str(path) == f"{bucket.uri}/rejects/rejects.parquet"


def test_a_place_goes_to_other_processes_without_lease_and_without_secrets(bucket: Bucket) -> None:
    bucket.lake.store.guard = lambda: None
    sent = pickle.dumps(bucket.lake)
    assert b"testing" not in sent
    there: ObjectPath = pickle.loads(sent)
    write_bytes_atomically(b"there", there / "x")
    assert (bucket.lake / "x").read_bytes() == b"there"


def test_storage_that_does_not_answer_is_no_damage(bucket: Bucket) -> None:
    nowhere = ObjectStore(endpoint="http://127.0.0.1:9", region="us-east-1", virtual_hosting=False, local=bucket.local)
    path = ObjectPath("lakes/lake/part.parquet", nowhere)
    with pytest.raises(LakeUnreachable, match=r"s3://lakes/lake/part\.parquet failed.*Check the network"):
        read_table(path, remedy="Restore it.")


def test_a_bucket_that_is_not_there_is_named(bucket: Bucket) -> None:
    path = ObjectPath("no-such-bucket/lake/x", bucket.lake.store)
    with pytest.raises(LakeError, match="Make the bucket"):
        write_bytes_atomically(b"x", path)
