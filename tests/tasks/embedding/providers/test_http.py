"""What is between millrace and a provider: proxies of the environment, and certificates."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from millrace.tasks.embedding.models import find_model
from millrace.tasks.embedding.providers.client import EmbeddingClient, Unreachable
from millrace.tasks.embedding.providers.factory import make_client
from tests.tasks.embedding.one_request import failure_of

ANSWER = b'{"data":[{"index":0,"embedding":[1.0,2.0]}],"usage":{"total_tokens":1}}'
PASSWORD = "gate7-keeper"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def client_at(url: str) -> EmbeddingClient:
    spec = find_model("openai", "mine", dimensions=2)
    return make_client(spec, base_url=url, api_key="sk-over-there-01", dimensions=2, timeout_s=5.0)


@asynccontextmanager
async def answering(
    status: bytes, body: bytes, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[str]]]:
    """A server that answers whatever comes; its port, and the heads that came, in lower case."""
    heads: list[str] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(converse, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1], heads


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
async def test_a_proxy_of_the_environment_is_used_with_its_password(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    async with answering(b"200 OK", ANSWER) as (port, heads):
        monkeypatch.setenv(variable, f"http://clerk:{PASSWORD}@127.0.0.1:{port}")
        client = client_at("http://gateway.invalid/v1")
        assert (await client.embed(["a"])).vectors.tolist() == [[1.0, 2.0]]
        await client.close()
    assert heads[0].startswith("post http://gateway.invalid/v1/embeddings http/1.1")
    assert "proxy-authorization: basic " in heads[0]
    assert "\r\nauthorization: bearer sk-over-there-01\r\n" in heads[0]


async def test_no_proxy_is_heeded_and_this_machine_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(b"200 OK", ANSWER) as (proxy, to_proxy), answering(b"200 OK", ANSWER) as (port, direct):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy}")
        monkeypatch.setenv("NO_PROXY", "gateway.invalid")
        error = await failure_of(client_at("http://gateway.invalid/v1"), ["a"])
        assert type(error) is Unreachable
        client = client_at(f"http://127.0.0.1:{port}/v1")
        await client.embed(["a"])
        await client.close()
    assert (len(to_proxy), len(direct)) == (0, 1)


async def test_a_proxy_that_refuses_means_nothing_was_sent_and_its_password_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with answering(b"407 Proxy Authentication Required", b"") as (port, heads):
        monkeypatch.setenv("HTTPS_PROXY", f"http://clerk:{PASSWORD}@127.0.0.1:{port}")
        error = await failure_of(client_at("https://gateway.invalid/v1"), ["a"])
    assert type(error) is Unreachable
    assert "407" in str(error)
    assert PASSWORD not in str(error) + repr(error)
    assert heads[0].startswith("connect gateway.invalid:443 ")
    assert "sk-over-there-01" not in heads[0]


async def test_a_certificate_that_nobody_vouches_for_is_refused_until_it_is_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate(tmp_path))
    async with answering(b"200 OK", ANSWER, tls) as (port, heads):
        url = f"https://127.0.0.1:{port}/v1"
        error = await failure_of(client_at(url), ["a"])
        assert type(error) is Unreachable
        assert "certificate verify failed" in str(error)
        assert heads == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
        client = client_at(url)
        assert (await client.embed(["a"])).vectors.tolist() == [[1.0, 2.0]]
        await client.close()


def certificate(folder: Path) -> Path:
    """A file with a certificate for 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    return path
