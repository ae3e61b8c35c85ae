"""One connection to Milvus: opening a file or a server, calling it, and letting go of it again.

Rows are sent through the Milvus protocol's own generated client rather than `MilvusClient.upsert` (see `messages`);
everything else goes through `MilvusClient`.
"""

import base64
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from millrace.tasks.errors import CollectionError, ConfigurationError
from millrace.tasks.milvus.address import MilvusAddress, Waiting, is_lite, without_credentials
from millrace.tasks.milvus.client import lite
from millrace.tasks.milvus.client.sdk import (
    ConnectionConfig,
    MilvusClient,
    MilvusException,
    common_pb2,
    grpc,
    milvus_pb2_grpc,
)
from millrace.tasks.milvus.client.server_wait import wait_for_server
from millrace.tasks.milvus.errors import CredentialsRefused, ServerAway, from_rpc, from_status

T = TypeVar("T")

CONNECT_TIMEOUT_S = 8.0
"""Enough for a distant server to answer, and short enough to hear soon that it does not."""

_SERVER_OPTIONS: Mapping[str, int] = {"grpc.max_send_message_length": -1, "grpc.max_receive_message_length": -1}
_LITE_OPTIONS: Mapping[str, int] = {
    **_SERVER_OPTIONS,
    # A proxy named in the environment is for the world outside; gRPC would send even loopback through it.
    "grpc.enable_http_proxy": 0,
    # pymilvus pings every 10 s; Milvus Lite hangs up on a client that pings while it has nothing else to say.
    "grpc.keepalive_time_ms": 2**31 - 1,
    "grpc.keepalive_permit_without_calls": 0,
}


class Connection:
    """A client of one Milvus, and the way each call to it is made: with a time-out, its failures translated."""

    def __init__(self, address: MilvusAddress) -> None:
        """Connect; answers, or fails, within `CONNECT_TIMEOUT_S`, unless the address says that a server is waited for.

        Raises:
            ConfigurationError: The URI is neither a path that ends in `.db` nor http://, https:// or tcp://; or
                `tls_ca` cannot be read, or is of no use for it.
            CollectionError: The path cannot be opened, or the server does not answer or does not let us in.
        """
        uri = address.uri
        self.is_lite = is_lite(uri)
        authorities = _authorities(uri, address.tls_ca)
        self.where = f"Milvus Lite at {uri}" if self.is_lite else f"the Milvus server at {without_credentials(uri)}"
        self.timeout_s = address.timeout_s
        self.wait_s = 0.0 if self.is_lite else address.wait_s
        self.waiting = address.waiting or Waiting()
        self._lite = lite.acquire(uri) if self.is_lite else None
        config = ConnectionConfig.from_uri(self._lite.uri if self._lite else uri, token=address.token)
        options = dict(_LITE_OPTIONS if self.is_lite else _SERVER_OPTIONS)
        secure = bool(config.get_handler_kwargs().get("secure"))
        try:
            connect = partial(
                MilvusClient,
                config.uri,
                token=config.token,
                db_name=config.db_name,
                timeout=min(self.timeout_s, CONNECT_TIMEOUT_S),
                dedicated=True,
                server_pem_path=address.tls_ca,  # what pymilvus calls the authorities
                grpc_options=options,
            )
            self.client: Any = self.retry(
                partial(self.call, "connecting", connect), wait_s=self.wait_s if address.waiting else 0.0
            )
        except CollectionError as error:
            self._release_lite()
            if secure and isinstance(error, ServerAway):  # a certificate that is not trusted looks just like it
                message = f"{error}; see also that its certificate is for this host, by an authority in milvus.tls_ca"
                raise ServerAway(message) from error
            raise
        if secure:
            credentials = grpc.ssl_channel_credentials(root_certificates=authorities)
            self._channel = grpc.secure_channel(config.address, credentials, list(options.items()))
        else:
            self._channel = grpc.insecure_channel(config.address, list(options.items()))
        self._stub = milvus_pb2_grpc.MilvusServiceStub(self._channel)
        self._metadata = [("dbname", config.db_name)]
        if config.token:
            self._metadata.append(("authorization", base64.b64encode(config.token.encode()).decode()))

    def call(self, doing: str, ask: Callable[[], T]) -> T:
        """What `ask` returns; `doing` says in messages what was being done.

        Raises:
            CollectionError: Milvus cannot be reached, or refuses.
        """
        try:
            return ask()
        except MilvusException as error:
            # pymilvus hides the transport's word in the cause; `raise e from e` there makes some their own cause.
            if isinstance(error.__cause__, grpc.RpcError):
                failure = from_rpc(error.__cause__, doing=doing, where=self.where)
            else:
                code = error.code if isinstance(error.code, int) else -1
                failure = from_status(code, error.message, retriable=error.retriable, doing=doing, where=self.where)
            raise failure from (None if isinstance(failure, CredentialsRefused) else error)
        except grpc.RpcError as error:
            failure = from_rpc(error, doing=doing, where=self.where)
            raise failure from (None if isinstance(failure, CredentialsRefused) else error)

    def retry(self, ask: Callable[[], T], *, wait_s: float | None = None) -> T:
        """What `ask` returns, which calls Milvus and is harmless to repeat; a server that is away is waited for."""
        stop = self.waiting.stop
        return wait_for_server(
            ask,
            wait_s=self.wait_s if wait_s is None else wait_s,
            sleep=stop.wait,
            keep_waiting=lambda: not stop.is_set(),
            availability=self.waiting.availability,
        )

    def request(self, doing: str, method: Callable[..., T], *arguments: object) -> T:
        """What a method of `client` returns, asked again while the server is away, within the time-out each time."""
        return self.retry(lambda: self.call(doing, lambda: method(*arguments, timeout=self.timeout_s)))

    def ask(self, method: str, request: Any, *, doing: str) -> Any:
        """The reply to a request of the Milvus protocol, whose `method` it is; some are a status and nothing else.

        Raises:
            CollectionError: the server cannot be reached, or refuses.
        """
        send = getattr(self._stub, method)
        reply = self.call(doing, lambda: send(request, timeout=self.timeout_s, metadata=self._metadata))
        status = reply if isinstance(reply, common_pb2.Status) else reply.status
        if status.code or status.error_code:
            code = status.code or status.error_code
            raise from_status(code, status.reason, retriable=status.retriable, doing=doing, where=self.where)
        return reply

    def close(self) -> None:
        """Let go of the server, or of the Lite path so that another process can open it."""
        self._channel.close()
        self.client.close()
        self._release_lite()

    def _release_lite(self) -> None:
        if self._lite is not None:
            self._lite.release()
            self._lite = None


def _authorities(uri: str, tls_ca: str) -> bytes | None:
    if not tls_ca:
        return None
    if not uri.lower().startswith("https://"):
        message = f"milvus.tls_ca is for a server at https://, and milvus.uri is {without_credentials(uri)}"
        raise ConfigurationError(message)
    try:
        return Path(tls_ca).read_bytes()
    except OSError as error:
        message = f"milvus.tls_ca: {tls_ca} cannot be read: {error.strerror or error}"
        raise ConfigurationError(message) from error
