"""The collection itself: found, compared, created, indexed, loaded."""

import re
from collections.abc import Mapping
from typing import Any

from tasks.errors import CollectionError, CollectionMissing, ConfigurationError
from tasks.milvus.analyzers import PARAMS, analyzer_name, check_analyzer
from tasks.milvus.connection import Connection
from tasks.milvus.sdk import DataType, Function, FunctionType, MilvusClient
from tasks.milvus.shape import (
    CONTENT_FIELD,
    VECTOR_FIELD,
    CollectionShape,
    FieldShape,
    Hybrid,
    IndexShape,
    differences,
    wanted_fields,
    wanted_indexes,
)

BUILD_TIMEOUT_S = 600.0
"""For what takes a server minutes when the collection is large: building the index, and loading."""

_NEEDED_VERSIONS: Mapping[Hybrid, tuple[int, int]] = {"none": (0, 0), "sparse": (2, 4), "bm25": (2, 5)}
"""The first Milvus with sparse vectors, and with BM25. An older one makes the collection, and says nothing."""

_SERVER_VERSION = re.compile(r"v?(\d+)\.(\d+)")


def ensure(connection: Connection, name: str, shape: CollectionShape, *, create: bool) -> None:
    """Leaves the collection there, of this shape, indexed and loaded; whatever of it is missing is made.

    Raises:
        CollectionError: it has another shape.
        CollectionMissing: it is missing and `create` is false.
        ConfigurationError: this Milvus, or this machine, cannot do what `shape` asks for.
    """
    timeout_s = connection.timeout_s
    client = connection.client
    if shape.hybrid == "bm25":
        check_analyzer(shape.analyzer, is_lite=connection.is_lite)
    if not connection.call("looking for the collection", lambda: client.has_collection(name, timeout=timeout_s)):
        if not create:
            message = f"{connection.where} has no collection {name!r}: run `millrace ingest` first"
            raise CollectionMissing(message)
        _check_version(connection, shape)
        connection.call("creating the collection", lambda: _create(client, name, shape, timeout_s))
    fields = connection.call("describing the collection", lambda: _fields(client, name, timeout_s))
    indexes = connection.call("reading the indexes", lambda: _indexes(client, name, timeout_s))
    different = differences(shape, fields, indexes)
    if different:
        message = (
            f"{connection.where}: the collection {name!r} has another shape:\n  "
            + "\n  ".join(different)
            + "\nset these settings to what is there, or name another milvus.collection, or have `millrace rebuild "
            "--drop` make this one anew from the lake, which buys nothing"
        )
        raise CollectionError(message)
    for index in wanted_indexes(shape):
        if index.field not in indexes:
            _create_index(connection, name, index)
    load(connection, name)


def drop(connection: Connection, name: str) -> None:
    """Leaves no collection of this name."""
    client, timeout_s = connection.client, connection.timeout_s
    if connection.call("looking for the collection", lambda: client.has_collection(name, timeout=timeout_s)):
        connection.call("dropping the collection", lambda: client.drop_collection(name, timeout=timeout_s))


def load(connection: Connection, name: str) -> None:
    """Leaves the collection loaded, so that it can be searched; a loaded one stays as it is."""
    client, timeout_s = connection.client, max(connection.timeout_s, BUILD_TIMEOUT_S)
    connection.call("loading the collection", lambda: client.load_collection(name, timeout=timeout_s))


def _check_version(connection: Connection, shape: CollectionShape) -> None:
    if shape.hybrid == "none" or connection.is_lite:
        return
    told = connection.call(
        "asking for the server's version", lambda: connection.client.get_server_version(timeout=connection.timeout_s)
    )
    version = _SERVER_VERSION.match(str(told))
    needed = _NEEDED_VERSIONS[shape.hybrid]
    # Others than Milvus itself, as Zilliz Cloud, tell their own version in words of their own; they have both.
    if version and (int(version[1]), int(version[2])) < needed:
        what = "sparse vectors" if shape.hybrid == "sparse" else "BM25"
        message = (
            f"milvus.hybrid = {shape.hybrid}: {connection.where} is Milvus {told}, and {what} came with "
            f"{needed[0]}.{needed[1]}; use a newer server, or set milvus.hybrid = none"
        )
        raise ConfigurationError(message)


def _create(client: Any, name: str, shape: CollectionShape, timeout_s: float) -> None:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    for field in wanted_fields(shape):
        params: dict[str, Any] = {}
        if field.size is not None:
            params = {"dim" if field.name == VECTOR_FIELD else "max_length": field.size}
        if field.analyzer:
            params |= {"enable_analyzer": True, "analyzer_params": PARAMS[shape.analyzer]}
        schema.add_field(field.name, DataType[field.kind], is_primary=field.primary, **params)
        if field.made:
            schema.add_function(Function(field.name, FunctionType.BM25, [CONTENT_FIELD], [field.name]))
    client.create_collection(name, schema=schema, timeout=timeout_s)


def _create_index(connection: Connection, name: str, wanted: IndexShape) -> None:
    params: dict[str, Any] = dict(wanted.params)
    if connection.is_lite and params:
        params = {"params": params}  # the spelling of older clients, and the only one that Milvus Lite reads
    index = MilvusClient.prepare_index_params()
    index.add_index(
        wanted.field, index_name=wanted.field, index_type=wanted.kind, metric_type=wanted.metric, params=params
    )
    client, timeout_s = connection.client, max(connection.timeout_s, BUILD_TIMEOUT_S)
    connection.call("creating the index", lambda: client.create_index(name, index, timeout=timeout_s))


def _indexes(client: Any, name: str, timeout_s: float) -> dict[str, IndexShape]:
    """The indexes that are there, by field."""
    found = {}
    for index_name in client.list_indexes(name):
        told = client.describe_index(name, index_name, timeout=timeout_s)
        params = {**told, **told.get("params", {})}  # a server tells them in the spelling they were given in
        known = sorted((key, value) for key, value in params.items() if isinstance(value, str | int | float))
        found[told["field_name"]] = IndexShape(
            told["field_name"], told.get("index_type", ""), told.get("metric_type", ""), tuple(known)
        )
    return found


def _fields(client: Any, name: str, timeout_s: float) -> tuple[FieldShape, ...]:
    described = client.describe_collection(name, timeout=timeout_s)
    return tuple(_field_shape(field) for field in described["fields"])


def _field_shape(field: dict[str, Any]) -> FieldShape:
    params = field.get("params", {})
    size = params.get("dim", params.get("max_length"))
    analyzed = str(params.get("enable_analyzer", "")).lower() == "true"
    return FieldShape(
        name=field["name"],
        kind=DataType(field["type"]).name,
        size=None if size is None else int(size),
        primary=bool(field.get("is_primary", False)),
        auto_id=bool(field.get("auto_id", False)),
        optional=bool(field.get("nullable", False)) or field.get("default_value") is not None,
        analyzer=analyzer_name(params.get("analyzer_params", "{}")) if analyzed else "",
        made=bool(field.get("is_function_output", False)),
    )
