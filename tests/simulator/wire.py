"""HTTP/1.1 over asyncio streams: just what API clients speak, and the ways in which a connection can break."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import urlsplit

from tests.simulator.faults import Damage

# Enough for a whole ordinary request in one read.
STREAM_LIMIT_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole. Header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    route: str = ""
    """The route that it was found by, such as `/v1/files/{id}`."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """What stood in the path for the names in braces."""

    @property
    def keeps_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


@dataclass(frozen=True, slots=True)
class Response:
    """One answer, and what becomes of it on the way (`damage`: only the kinds that break the connection matter here)."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    damage: Damage | None = None
    chunks: AsyncIterator[bytes] | None = None
    """Sent instead of `body`, chunked, with neither length nor type; raises CutOff to end in the middle."""


class CutOff(Exception):
    """The rest of an answer in chunks is not sent: the connection is closed without the last chunk."""


class ProtocolError(Exception):
    """What came is not a request this server understands; `status` is the answer."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


async def read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_body_bytes: Callable[[str], int]
) -> Request | None:
    """The next request of the connection, or None when the client has closed it. `max_body_bytes` takes its path.

    Raises ProtocolError if it is malformed, chunked or too large.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except asyncio.LimitOverrunError as error:
        raise ProtocolError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from error
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    match first.split(" "):
        case [method, target, "HTTP/1.1" | "HTTP/1.0"]:
            pass
        case _:
            raise ProtocolError(HTTPStatus.BAD_REQUEST)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "transfer-encoding" in headers:
        raise ProtocolError(HTTPStatus.LENGTH_REQUIRED)
    length_text = headers.get("content-length", "0")
    if not length_text.isdecimal():
        raise ProtocolError(HTTPStatus.BAD_REQUEST)
    length = int(length_text)
    split = urlsplit(target)
    if length > max_body_bytes(split.path):
        raise ProtocolError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return Request(method, split.path, split.query, headers, body)


async def send(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    response: Response,
    request: Request | None,
    *,
    compress: bool,
) -> bool:
    """Write the answer; False if the connection is over, by damage, by the client's wish or by its leaving.

    An answer that hangs returns when the client has given up.
    """
    if response.damage in _UNANSWERED:
        await _leave_unanswered(reader, writer, response)
        return False
    if response.chunks is not None:
        return await _send_in_chunks(writer, response, response.chunks, request)
    body, headers = response.body, dict(response.headers)
    if compress and request is not None and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, compresslevel=1)
        headers["content-encoding"] = "gzip"
    keeps_alive = request is not None and request.keeps_alive
    head = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        f"content-type: {response.content_type}",
        f"content-length: {len(body)}",
        f"date: {formatdate(usegmt=True)}",
        "server: istio-envoy",
        "vary: Accept-Encoding",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if not keeps_alive:
        head.append("connection: close")
    sent = body[: len(body) // 2] if response.damage in _HALF else body
    try:
        writer.write("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + sent)
        await writer.drain()
    except ConnectionError:
        return False
    match response.damage:
        case Damage.STALL:
            await _client_gone(reader)
        case Damage.TRICKLE:
            await _trickle(writer, body[len(sent) :])
        case Damage.RESET:
            _reset(writer)
    return keeps_alive and response.damage not in _HALF


async def _send_in_chunks(
    writer: asyncio.StreamWriter, response: Response, chunks: AsyncIterator[bytes], request: Request | None
) -> bool:
    """Write `chunks` as they come."""
    keeps_alive = request is not None and request.keeps_alive
    head = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        "transfer-encoding: chunked",
        f"date: {formatdate(usegmt=True)}",
        "server: istio-envoy",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    try:
        writer.write("\r\n".join(head).encode("latin-1") + b"\r\n\r\n")
        async for chunk in chunks:
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    except (ConnectionError, CutOff):
        return False
    return keeps_alive


_HALF = frozenset({Damage.RESET, Damage.STALL, Damage.TRICKLE})
_UNANSWERED = frozenset({Damage.DROP, Damage.HANG, Damage.ENDLESS, Damage.GZIP_BOMB})
_TRICKLE_S = 0.05
_BOMB_BYTES = 4 << 30


async def _leave_unanswered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, response: Response) -> None:
    """Nothing, or what never ends."""
    match response.damage:
        case Damage.DROP:
            _reset(writer)
        case Damage.HANG:
            await _client_gone(reader)
        case _:
            await _send_without_end(writer, response)


async def _trickle(writer: asyncio.StreamWriter, rest: bytes) -> None:
    """One byte after the other, until the client has given up."""
    with contextlib.suppress(ConnectionError):
        for at in range(len(rest)):
            writer.write(rest[at : at + 1])
            await writer.drain()
            await asyncio.sleep(_TRICKLE_S)


async def _send_without_end(writer: asyncio.StreamWriter, response: Response) -> None:
    """The body and blanks behind it, without end, or compressed as `_BOMB_BYTES`, until the client has given up."""
    bomb = zlib.compressobj(9, wbits=31) if response.damage is Damage.GZIP_BOMB else None
    head = f"HTTP/1.1 {response.status} OK\r\ncontent-type: {response.content_type}\r\ntransfer-encoding: chunked\r\n"
    writer.write((head + ("content-encoding: gzip\r\n" if bomb else "") + "\r\n").encode())
    blanks, left = b" " * (1 << 20), _BOMB_BYTES
    with contextlib.suppress(ConnectionError):
        data = response.body
        while data and left > 0:
            sent = bomb.compress(data) if bomb else data
            if sent:
                writer.write(b"%x\r\n%b\r\n" % (len(sent), sent))
            await writer.drain()
            await asyncio.sleep(0)
            data, left = blanks, left - (len(blanks) if bomb else 0)


async def _client_gone(reader: asyncio.StreamReader) -> None:
    """Return when the client has closed the connection."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(STREAM_LIMIT_BYTES):
            pass


def _reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with RST, not FIN: the peer sees `connection reset`."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
