"""pymilvus, imported in one place and made quiet: every other module of this room takes it from here.

It costs a second or more, so only modules that are themselves imported late import this one. pymilvus logs each failure
that it also raises, with its traceback, and gRPC writes to standard error on its own; neither reaches the user.
"""

import logging
import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC reads it once, when it is first imported

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
    # After the import, which sets pymilvus's levels, and gives its loggers a handler of their own on standard error.
    # Milvus Lite's server runs in this process, where gRPC logs each call that it does not know.
    logging.getLogger(_name).setLevel(logging.CRITICAL)
