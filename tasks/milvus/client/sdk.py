"""pymilvus, imported in one place and made quiet: every other module of this room takes it from here.

It costs a second or more, so only modules that are themselves imported late import this one. pymilvus logs each failure
that it also raises, with its traceback, and gRPC writes to standard error on its own; neither reaches the user.
"""

import contextlib
import logging
import logging.config
from collections.abc import Iterator

from millrace.tasks.milvus.client.lite import variables_set


class _AllButPymilvus(logging.config.DictConfigurator):
    """Configures logging for every caller but pymilvus."""

    def configure(self) -> None:
        if not self.config.get("loggers", {}).keys() & {"pymilvus"}:
            super().configure()


@contextlib.contextmanager
def _logging_kept() -> Iterator[None]:
    """Keep pymilvus from configuring the process's logging while it is imported.

    It would close every handler that anybody has, holding the lock that all of logging shares. Prefect's handler waits
    then for a thread of its own, and that thread, if it asks for a logger at that moment, for the lock: for ever.
    """
    before = logging.config.dictConfigClass
    logging.config.dictConfigClass = _AllButPymilvus
    try:
        yield
    finally:
        logging.config.dictConfigClass = before


with _logging_kept(), variables_set(GRPC_VERBOSITY="NONE"):  # which gRPC reads once, when it is first imported
    import grpc
    from pymilvus import DataType, Function, FunctionType, MilvusClient
    from pymilvus.client.connection_manager import ConnectionConfig
    from pymilvus.exceptions import MilvusException
    from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2

__all__ = [
    "ConnectionConfig",
    "DataType",
    "Function",
    "FunctionType",
    "MilvusClient",
    "MilvusException",
    "common_pb2",
    "grpc",
    "milvus_pb2",
    "milvus_pb2_grpc",
    "schema_pb2",
]

for _name in ("pymilvus", "pymilvus.milvus_client", "pymilvus.bulk_writer", "milvus_lite", "grpc"):
    # Milvus Lite's server runs in this process, where gRPC logs each call that it does not know.
    logging.getLogger(_name).setLevel(logging.CRITICAL)
