"""The simulated provider as a server on 127.0.0.1, and the three ways to run it.

    with running_simulator(SimulatorSettings(...)) as simulator:      # in a thread of its own
    async with serving(SimulatorSettings(...)) as simulator:          # on the running loop
    python -m tests.simulator --rps 30 --tps 20000                    # as a process

Beside the provider's endpoints it answers `GET /__books__` (`?texts=1` with every text), `GET` and `POST /__settings__`
(the body is merged into the settings), `POST /__reset__`, and `GET` and `POST /__clock__` (`{"advance_s": 600}`): the
date, in seconds since 1970.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from http import HTTPStatus

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tests.simulator.batch.store import Store
from tests.simulator.books import Books
from tests.simulator.clock import Clock
from tests.simulator.dialects.batches import Batches
from tests.simulator.dialects.compatible import CompatibleEmbeddings
from tests.simulator.dialects.dashscope_rerank import CompatibleRerank, NativeRerank
from tests.simulator.dialects.dialect import Endpoint
from tests.simulator.dialects.files import Files
from tests.simulator.dialects.iflytek import IflytekEmbeddings, IflytekRerank
from tests.simulator.dialects.native import NativeEmbeddings
from tests.simulator.dialects.openai_rerank import OpenAiRerank, TeiRerank
from tests.simulator.dialects.openai_style import OpenAiEmbeddings, OpenAiModels
from tests.simulator.model.tokens import qwen_encoding
from tests.simulator.provider import Provider
from tests.simulator.refusals import Reason, Refused
from tests.simulator.routing import Routes
from tests.simulator.settings import SimulatorSettings
from tests.simulator.wire import STREAM_LIMIT_BYTES, ProtocolError, Request, Response, read_request, send

_ENDPOINTS: tuple[Callable[[Provider], Endpoint], ...] = (
    CompatibleEmbeddings,
    NativeEmbeddings,
    CompatibleRerank,
    NativeRerank,
    IflytekEmbeddings,
    IflytekRerank,
    OpenAiEmbeddings,
    OpenAiModels,
    OpenAiRerank,
    TeiRerank,
)


_FORM_BYTES = 1 << 20
"""What a form may have around its file."""


class _Advance(BaseModel):
    """The body of `POST /__clock__`."""

    model_config = ConfigDict(extra="forbid")

    advance_s: float = Field(default=0.0, ge=0)


class Simulator:
    """The provider and its server. `change` and `reset` may be called from any thread while it runs."""

    def __init__(self, settings: SimulatorSettings | None = None, clock: Clock | None = None) -> None:
        self._provider = Provider(settings or SimulatorSettings(), clock)
        self._store = Store(self._provider)
        by_model = [kind(self._provider) for kind in _ENDPOINTS]
        self._routes = Routes([*by_model, Files(self._store), Batches(self._store)])
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._answering = 0

    @property
    def books(self) -> Books:
        """What was seen and billed, the lines of Batch jobs up to now included."""
        self._store.settle()
        return self._provider.books

    @property
    def store(self) -> Store:
        """Files and jobs, and what the books say of them (`store.as_json()`)."""
        return self._store

    @property
    def now(self) -> float:
        """The date, in seconds since 1970."""
        return self._provider.calendar.now()

    @property
    def settings(self) -> SimulatorSettings:
        return self._provider.settings

    @property
    def port(self) -> int:
        if self._server is None:
            message = "the simulator has not been started"
            raise RuntimeError(message)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def root_url(self) -> str:
        """Where the control endpoints are: `http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What a client is configured with: `http://127.0.0.1:PORT/v1`."""
        return f"{self.root_url}/v1"

    @property
    def native_url(self) -> str:
        """The root of DashScope's native API: `http://127.0.0.1:PORT/api/v1`."""
        return f"{self.root_url}/api/v1"

    @property
    def rerank_url(self) -> str:
        """The root of DashScope's compatible rerank: `http://127.0.0.1:PORT/compatible-api/v1`."""
        return f"{self.root_url}/compatible-api/v1"

    @property
    def iflytek_url(self) -> str:
        """The root of iFlytek's API: `http://127.0.0.1:PORT/iflytek/v1`."""
        return f"{self.root_url}/iflytek/v1"

    @property
    def openai_url(self) -> str:
        """The root of the server that speaks OpenAI's API: `http://127.0.0.1:PORT/openai/v1`. TEI's rerank is one up."""
        return f"{self.root_url}/openai/v1"

    @property
    def roots(self) -> dict[str, str]:
        """What a client of each API is configured with."""
        return {
            "compatible": self.base_url,
            "native": self.native_url,
            "rerank": self.rerank_url,
            "iflytek": self.iflytek_url,
            "openai": self.openai_url,
            "tei": f"{self.root_url}/openai",
        }

    def change(self, patch: Mapping[str, object]) -> None:
        """Other settings from the next request on, as `SimulatorSettings.patched`."""
        settings = self._provider.settings.patched(patch)
        self._store.settle()
        self._store.played.clear()
        self._provider.settings = settings
        self._provider.calendar.run(settings.seconds_per_second)

    def advance(self, seconds: float) -> None:
        """Let so many seconds of the calendar pass at once, by which files and jobs live; the clock stays."""
        self._provider.calendar.advance(seconds)

    def reset(self) -> None:
        """Books, limits and fault numbering as at the start, no files, no jobs; settings and date stay."""
        self._provider.reset()
        self._store.clear()

    async def start(self) -> None:
        """Listen on 127.0.0.1. Raises OSError if the port is taken."""
        qwen_encoding()
        self._server = await asyncio.start_server(
            self._converse, "127.0.0.1", self.settings.port, limit=STREAM_LIMIT_BYTES, backlog=1024
        )

    async def stop(self) -> None:
        """Close the port and every connection, hanging ones too."""
        if self._server is None:
            return
        self._provider.state.close()
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self._provider.books.connected()
        try:
            while await self._exchange(reader, writer):
                pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection is over."""
        try:
            request = await read_request(reader, writer, self._max_body_bytes)
        except ProtocolError as error:
            reason = Reason.TOO_LARGE if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else Reason.BAD_BODY
            await send(reader, writer, self._routes.nearest("/v1").refusal(Refused(reason)), None, compress=False)
            return False
        if request is None:
            return False
        found = self._routes.find(request.path)
        if found is None:
            # In a thread, since the lines of Batch jobs may have to be done first.
            control = await asyncio.to_thread(self._control, request)
            return await send(reader, writer, control, request, compress=False)
        endpoint, route, parameters = found
        self._answering += 1
        try:
            self._provider.books.arrived(self._provider.clock.now(), self._answering, route)
            response = await endpoint.answer(replace(request, route=route, parameters=parameters))
            return await send(reader, writer, response, request, compress=self.settings.gzip)
        finally:
            self._answering -= 1

    def _control(self, request: Request) -> Response:
        """The answer of an endpoint that the real provider does not have."""
        match request.method, request.path:
            case "GET", "/__books__":
                in_full = request.query == "texts=1"
                return _json({**self.books.as_json(texts=in_full), "batch": self._store.as_json(lines=in_full)})
            case "GET", "/__settings__":
                return _json(self.settings.model_dump(mode="json"))
            case "POST", "/__settings__":
                return self._changed(request.body)
            case "POST", "/__reset__":
                self.reset()
                return _json({"reset": True})
            case "GET" | "POST", "/__clock__":
                return self._clock(request.body)
            case _:
                return self._routes.nearest(request.path).refusal(Refused(Reason.BAD_ROUTE))

    def _max_body_bytes(self, path: str) -> int:
        is_upload = path.endswith("/files")
        return self.settings.files.max_file_bytes + _FORM_BYTES if is_upload else self.settings.max_body_bytes

    def _clock(self, body: bytes) -> Response:
        """The date, after it was advanced as `body` asks."""
        try:
            self.advance(_Advance.model_validate_json(body or b"{}").advance_s)
        except ValidationError as error:
            return _json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        return _json({"now": self.now, "seconds_per_second": self.settings.seconds_per_second})

    def _changed(self, body: bytes) -> Response:
        """The settings after `body` was merged into them, or 400 with what is wrong with it."""
        try:
            patch = orjson.loads(body)
            if not isinstance(patch, dict):
                return _json({"error": "the body must be a JSON object"}, HTTPStatus.BAD_REQUEST)
            self.change(patch)
        except (orjson.JSONDecodeError, ValidationError) as error:
            return _json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        return _json(self.settings.model_dump(mode="json"))


def _json(content: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(status, orjson.dumps(content))


@asynccontextmanager
async def serving(settings: SimulatorSettings | None = None, *, clock: Clock | None = None) -> AsyncIterator[Simulator]:
    """A simulator on the running loop, stopped at the end of the block."""
    simulator = Simulator(settings, clock)
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()


@contextmanager
def running_simulator(settings: SimulatorSettings | None = None, *, clock: Clock | None = None) -> Iterator[Simulator]:
    """A simulator on a loop in a thread of its own, stopped at the end of the block."""
    simulator = Simulator(settings, clock)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulator", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(simulator.start(), loop).result()
        yield simulator
    finally:
        asyncio.run_coroutine_threadsafe(simulator.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
