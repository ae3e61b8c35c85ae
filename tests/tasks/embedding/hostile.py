"""A server that says exactly the bytes it is told to: 127.0.0.1 only, one answer a connection, on the running loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

Say = Callable[["Conversation"], Awaitable[None]]


@dataclass
class Conversation:
    """One request, and the way to answer it."""

    number: int
    """From 1."""
    headers: dict[str, str]
    body: dict[str, Any]
    writer: asyncio.StreamWriter

    async def say(self, *parts: bytes, every_s: float = 0.0) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(every_s)

    async def answer(self, body: bytes, *, status: str = "200 OK", headers: bytes = b"") -> None:
        length = f"content-length: {len(body)}\r\n".encode()
        await self.say(b"HTTP/1.1 " + status.encode() + b"\r\n" + length + headers + b"\r\n" + body)

    @property
    def texts(self) -> list[str]:
        given = self.body["input"]
        texts: list[str] = given["texts"] if isinstance(given, dict) else given
        return texts


@dataclass
class HostileServer:
    url: str = ""
    requests: int = 0
    embedded: list[str] = field(default_factory=list)
    """Texts for which whole, right vectors were sent."""


@asynccontextmanager
async def hostile(say: Say) -> AsyncIterator[HostileServer]:
    server = HostileServer()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            body = orjson.loads(await reader.readexactly(int(headers["content-length"])))
            server.requests += 1
            await say(Conversation(server.requests, headers, body, writer))
        writer.close()

    listener = await asyncio.start_server(converse, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listener.close()
