"""Credentials and TLS: each call carries them, and nothing that is told, shown or logged does."""

import base64
import datetime as dt
import ipaddress
import logging
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from millrace.tasks.errors import CollectionError, ConfigurationError
from millrace.tasks.milvus import Collection, CollectionShape, MilvusAddress, with_database
from tests.tasks.milvus.samples import SHAPE, make_rows, row_id, vector_of

SECRET = "correct-horse-battery"
TOKEN = f"root:{SECRET}"
SECRETS = (SECRET, base64.b64encode(TOKEN.encode()).decode(), base64.b64encode(SECRET.encode()).decode())


class Doorkeeper(grpc.ServerInterceptor):  # type: ignore[misc] # grpc has no types
    """Notes the credentials of each call, and turns away whoever has none that are right."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = {}

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        came = dict(details.invocation_metadata).get("authorization", "")
        self.seen.setdefault(details.method.rpartition("/")[2], set()).add(base64.b64decode(came).decode())
        if base64.b64decode(came).decode() == TOKEN:
            return continuation(details)

        def refuse(_: Any, context: Any) -> None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, f"auth check failure for {base64.b64decode(came).decode()}")

        return grpc.unary_unary_rpc_method_handler(refuse)


@dataclass
class SecureServer:
    """Milvus Lite behind TLS and a password."""

    port: int
    ca: Path
    doorkeeper: Doorkeeper = field(default_factory=Doorkeeper)


def certificate(folder: Path) -> tuple[bytes, bytes]:
    """A key and a certificate for localhost that signs itself, in PEM; the certificate is also `folder/ca.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, pem


@pytest.fixture
def secure_server(tmp_path: Path) -> Iterator[SecureServer]:
    from milvus_lite.adapter.grpc.servicer import MilvusServicer
    from milvus_lite.db import MilvusLite
    from pymilvus.grpc_gen import milvus_pb2_grpc

    doorkeeper = Doorkeeper()
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[doorkeeper])
    database = MilvusLite(str(tmp_path / "behind-tls"))
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(MilvusServicer(database), server)
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([certificate(tmp_path)]))
    server.start()
    yield SecureServer(port, tmp_path / "ca.pem", doorkeeper)
    server.stop(grace=None).wait()
    database.close()


def test_every_call_goes_over_tls_with_the_credentials(secure_server: SecureServer) -> None:
    uri = f"https://localhost:{secure_server.port}"
    with Collection.open(
        MilvusAddress(uri, token=TOKEN, tls_ca=str(secure_server.ca)), "rows", shape=SHAPE
    ) as collection:
        assert collection.upsert(*make_rows(range(5))) == 5
        assert collection.search(vector_of(3), top_k=1)[0].id == row_id(3)
        collection.delete([row_id(3)])
        assert collection.count() == 4
    seen = secure_server.doorkeeper.seen
    assert {"CreateCollection", "Upsert", "Search", "Delete", "Query"} <= set(seen)
    assert set().union(*seen.values()) == {TOKEN}
    Collection.drop(MilvusAddress(uri, token=TOKEN, tls_ca=str(secure_server.ca)), "rows")


def test_a_certificate_of_an_unknown_authority_is_not_trusted(secure_server: SecureServer) -> None:
    uri = f"https://localhost:{secure_server.port}"
    with pytest.raises(CollectionError, match=r"an authority in milvus\.tls_ca"):
        Collection.open(MilvusAddress(uri, token=TOKEN, timeout_s=1), "rows", shape=SHAPE)
    assert secure_server.doorkeeper.seen == {}


def test_authorities_that_cannot_be_had_or_are_of_no_use_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"milvus\.tls_ca: .*none\.pem cannot be read: No such file"):
        Collection.open(MilvusAddress("https://localhost:1", tls_ca=str(tmp_path / "none.pem")), "rows")
    with pytest.raises(ConfigurationError, match=r"milvus\.tls_ca is for a server at https://"):
        Collection.open(MilvusAddress("http://localhost:1", tls_ca=str(tmp_path / "none.pem")), "rows")


def test_a_database_is_named_by_its_setting_or_in_the_address() -> None:
    assert with_database("http://host:1", "") == "http://host:1"
    assert with_database("http://host:1/", "sales") == with_database("http://host:1/sales", "sales")
    with pytest.raises(ConfigurationError, match=r"milvus\.database = sales, and milvus\.uri names another"):
        with_database("http://host:1/stock", "sales")
    with pytest.raises(ConfigurationError, match="Milvus Lite has no databases"):
        with_database("milvus.db", "sales")


@pytest.mark.server
def test_rows_of_one_database_are_not_in_another(server_uri: str) -> None:
    from pymilvus import MilvusClient

    uri = with_database(server_uri, "test_security")
    with pytest.raises(CollectionError, match="test_security"):
        Collection.open(MilvusAddress(uri), "rows_apart", shape=SHAPE)
    client = MilvusClient(server_uri)
    client.create_database("test_security")
    try:
        with Collection.open(MilvusAddress(uri), "rows_apart", shape=SHAPE) as collection:
            collection.upsert(*make_rows(range(3)))
            assert collection.count() == 3
        assert not client.has_collection("rows_apart")
        Collection.drop(MilvusAddress(uri), "rows_apart")
    finally:
        client.drop_database("test_security")


def told_by(fails: Any) -> str:
    """Everything that a person could come to see of a failure: message, chain of causes, and where each arose."""
    try:
        fails()
    except (CollectionError, ConfigurationError) as error:
        return "".join(traceback.format_exception(error)) + repr(error)
    raise AssertionError("no error")


def test_nothing_that_is_told_shown_or_logged_holds_the_secret(
    secure_server: SecureServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    ca, uri = str(secure_server.ca), f"https://localhost:{secure_server.port}"
    with_password = uri.replace("https://", f"https://root:{SECRET}@")
    output = [
        told_by(lambda: Collection.open(MilvusAddress(uri, token=f"{TOKEN}x", tls_ca=ca), "rows")),
        told_by(lambda: Collection.open(MilvusAddress(uri, token=SECRET, tls_ca=ca), "rows")),
        told_by(lambda: Collection.open(MilvusAddress(with_password, tls_ca=ca + "x"), "rows")),
        told_by(lambda: Collection.open(MilvusAddress(with_password, timeout_s=1), "rows")),
        told_by(lambda: Collection.open(MilvusAddress(with_password, tls_ca=ca), "rows", create=False)),
        told_by(lambda: Collection.open(MilvusAddress(with_password, tls_ca=ca), "bad name")),
        told_by(lambda: Collection.open(MilvusAddress(f"ftp://root:{SECRET}@localhost"), "rows")),
        told_by(lambda: Collection.open(MilvusAddress(f"http://root:{SECRET}@localhost:port"), "rows")),
        told_by(lambda: Collection.open(MilvusAddress(f"http://root:{SECRET}@localhost:1"), "rows")),
        told_by(lambda: with_database(f"http://root:{SECRET}@localhost:1/x", "y")),
    ]
    with Collection.open(MilvusAddress(with_password, tls_ca=ca), "rows", shape=SHAPE) as collection:
        shown = repr(collection) + str(collection) + repr(collection._connection) + collection._connection.where
        output += [
            shown,
            told_by(
                lambda: Collection.open(MilvusAddress(uri, token=TOKEN, tls_ca=ca), "rows", shape=CollectionShape())
            ),
            told_by(lambda: collection.search(vector_of(0), top_k=1, filter="((")),
        ]
    output += [caplog.text, *capfd.readouterr()]
    assert [text for text in output for secret in SECRETS if secret in text] == []
