"""The collection itself: found, compared, created, indexed, loaded."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from millrace.tasks.errors import CollectionError, CollectionMissing, ConfigurationError
from millrace.tasks.milvus.client.connection import Connection
from millrace.tasks.milvus.client.sdk import DataType, Function, FunctionType, MilvusClient, milvus_pb2
from millrace.tasks.milvus.collection_spec import (
    CONTENT_FIELD,
    LITE_INDEXES,
    PARAMS,
    VECTOR_FIELD,
    Analyzer,
    CollectionShape,
    FieldShape,
    IndexShape,
    analyzer_name,
    check_analyzer,
    differences,
    first_indexes,
    wanted_fields,
    wanted_indexes,
)
from millrace.tasks.milvus.errors import Refused
from millrace.tasks.milvus.reader import count_rows

BUILD_TIMEOUT_S = 600.0
"""For what takes a server minutes when the collection is large: building the index, and loading."""

_SERVER_VERSION = re.compile(r"v?(\d+)\.(\d+)")


def ensure(
    connection: Connection,
    name: str,
    shape: CollectionShape,
    *,
    create: bool,
    choose_analyzer: Callable[[], Analyzer] = lambda: "standard",
) -> Mapping[str, FieldShape]:
    """The fields of the collection, which is then there, of this shape, indexed and loaded; what is missing is made.

    `choose_analyzer` is asked where the shape leaves the analyzer of a new collection open.

    Raises:
        CollectionError: it has another shape.
        CollectionMissing: it is missing and `create` is false.
        ConfigurationError: this Milvus, or this machine, cannot do what `shape` asks for.
    """
    timeout_s = connection.timeout_s
    client, is_lite = connection.client, connection.is_lite
    _check_lite(connection, shape)
    if not connection.call("looking for the collection", lambda: client.has_collection(name, timeout=timeout_s)):
        if not create:
            message = f"{connection.where} has no collection {name!r}: run `millrace ingest` first"
            raise CollectionMissing(message)
        _check_version(connection, shape)
        if shape.hybrid == "bm25":
            analyzer = choose_analyzer() if shape.analyzer == "auto" else shape.analyzer
            check_analyzer(analyzer, is_lite=is_lite)
            shape = replace(shape, analyzer=analyzer)
        connection.call("creating the collection", lambda: _create(client, name, shape, timeout_s))
    fields = fields_of(connection, name)
    indexes = indexes_of(connection, name)
    different = differences(shape, fields, indexes, is_lite=is_lite)
    content = next((field for field in fields if field.name == CONTENT_FIELD), None)
    if shape.hybrid == "bm25" and content is not None:
        check_analyzer(content.analyzer, is_lite=is_lite)
    if different:
        message = (
            f"{connection.where}: the collection {name!r} has another shape:\n  "
            + "\n  ".join(different)
            + "\nset these settings to what is there, or name another milvus.collection, or have `millrace rebuild "
            "--drop` make this one anew from the lake, which buys nothing, or `millrace switch` another one beside it, "
            "without a gap for searches"
        )
        raise CollectionError(message)
    of_vectors, *others = first_indexes(shape, is_lite=is_lite)
    for index in (of_vectors, *others):
        if index.field not in indexes:
            make = _create_index if index.metric else _create_scalar_index
            make(connection, name, index)
    try:
        load(connection, name)
    except Refused:
        if not is_lite:
            raise
        # Milvus Lite refuses for ever what a process that was killed had written half of an index.
        _replace_index(connection, name, of_vectors)
    return {field.name: field for field in fields}


def drop(connection: Connection, name: str) -> None:
    """Leaves no collection of this name."""
    client, timeout_s = connection.client, connection.timeout_s
    if connection.call("looking for the collection", lambda: client.has_collection(name, timeout=timeout_s)):
        connection.call("dropping the collection", lambda: client.drop_collection(name, timeout=timeout_s))


def settle_index(connection: Connection, name: str, shape: CollectionShape) -> str:
    """The kind of the index of `embedding`: that of `shape`, or FLAT as long as Milvus Lite has few rows.

    Where it has rows enough by now, the other index is built here, in seconds or minutes, while searches wait.
    """
    wanted = wanted_indexes(shape)[0]
    if not connection.is_lite:
        return wanted.kind
    found = indexes_of(connection, name)[VECTOR_FIELD].kind
    if found == wanted.kind or count_rows(connection, name) < shape.lite_flat_rows:
        return found
    _replace_index(connection, name, wanted)
    return wanted.kind


def _replace_index(connection: Connection, name: str, index: IndexShape) -> None:
    """Leaves Milvus Lite with `index` in place of another on its field; when cut short, with none there."""
    client = connection.client
    connection.call("releasing the collection", lambda: client.release_collection(name, timeout=connection.timeout_s))
    # `MilvusClient.drop_index` names no field, and Milvus Lite then drops the indexes of all.
    request = milvus_pb2.DropIndexRequest(collection_name=name, field_name=index.field)
    connection.ask("DropIndex", request, doing="dropping the index")
    _create_index(connection, name, index)
    load(connection, name)


def load(connection: Connection, name: str) -> None:
    """Leaves the collection loaded, so that it can be searched; a loaded one stays as it is."""
    client, timeout_s = connection.client, _build_timeout_s(connection)
    connection.call("loading the collection", lambda: client.load_collection(name, timeout=timeout_s))


def _check_lite(connection: Connection, shape: CollectionShape) -> None:
    if connection.is_lite and shape.index not in LITE_INDEXES:
        message = (
            f"milvus.index = {shape.index}: Milvus Lite has no such index, only {', '.join(sorted(LITE_INDEXES))}; set "
            f"one of them, or use a Milvus server"
        )
        raise ConfigurationError(message)


def _check_version(connection: Connection, shape: CollectionShape) -> None:
    """Raise `ConfigurationError` for what an old server would take without a word, and then do otherwise."""
    needs = _needs(shape)
    if not needs or connection.is_lite:
        return
    described = connection.call(
        "asking for the server's version", lambda: connection.client.get_server_version(timeout=connection.timeout_s)
    )
    version = _SERVER_VERSION.match(str(described))
    for setting, what, needed in needs:
        # Others than Milvus itself, as Zilliz Cloud, report versions of their own; they have it all.
        if version and (int(version[1]), int(version[2])) < needed:
            message = (
                f"{setting}: {connection.where} is Milvus {described}, and {what} came with {needed[0]}.{needed[1]}; "
                f"use a newer server, or leave {setting.partition(' ')[0]} as it is by default"
            )
            raise ConfigurationError(message)


def _needs(shape: CollectionShape) -> list[tuple[str, str, tuple[int, int]]]:
    """What of the shape needs which Milvus: the setting, what it is, and the first version that has it."""
    needs = []
    if shape.hybrid == "sparse":
        needs.append(("milvus.hybrid = sparse", "sparse vectors", (2, 4)))
    if shape.hybrid == "bm25":
        needs.append(("milvus.hybrid = bm25", "BM25", (2, 5)))
    if shape.partition_key:
        # 2.3 puts upserted rows into partitions by another field, and a filter on the key then does not find them.
        # Source: milvus pull request 30772, and seen with 2.3.5.
        needs.append((f"milvus.partition_key = {shape.partition_key}", "upserting by partition key", (2, 4)))
    return needs


def _create(client: Any, name: str, shape: CollectionShape, timeout_s: float) -> None:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    for field in wanted_fields(shape):
        params: dict[str, Any] = {}
        if field.size is not None:
            params = {"dim" if field.name == VECTOR_FIELD else "max_length": field.size}
        if field.analyzer:
            params |= {"enable_analyzer": True, "analyzer_params": PARAMS[field.analyzer]}
        if field.optional:
            params["nullable"] = True  # which a server older than 2.5 passes over; the field is then described as it is
        if field.parts:
            params["is_partition_key"] = True
        schema.add_field(field.name, DataType[field.kind], is_primary=field.primary, **params)
        if field.made:
            schema.add_function(Function(field.name, FunctionType.BM25, [CONTENT_FIELD], [field.name]))
    client.create_collection(name, schema=schema, timeout=timeout_s)


def _create_index(connection: Connection, name: str, wanted: IndexShape) -> None:
    own = dict(wanted.params)
    # Milvus Lite reads them only in the spelling of older clients.
    params: dict[str, Any] = {"params": own} if connection.is_lite and own else {**own}
    index = MilvusClient.prepare_index_params()
    if wanted.metric:
        params["metric_type"] = wanted.metric
    index.add_index(wanted.field, wanted.kind, wanted.field, params=params)
    client, timeout_s = connection.client, _build_timeout_s(connection)
    # Milvus Lite has it when the call returns, and pymilvus would sleep half a second before it looks.
    wait = not connection.is_lite
    connection.call("creating the index", lambda: client.create_index(name, index, timeout=timeout_s, sync=wait))


def _build_timeout_s(connection: Connection) -> float | None:
    """None for Milvus Lite, which builds in this process: it is at work, and cannot be away."""
    return None if connection.is_lite else max(connection.timeout_s, BUILD_TIMEOUT_S)


def _create_scalar_index(connection: Connection, name: str, wanted: IndexShape) -> None:
    """The index of a promoted field, or what an older server has for its type, or none: filters work without one."""
    for kind in (wanted.kind, "") if not connection.is_lite else (wanted.kind,):
        try:
            _create_index(connection, name, replace(wanted, kind=kind))
        except Refused:
            continue
        return


def indexes_of(connection: Connection, name: str) -> dict[str, IndexShape]:
    """The indexes that are there, by field."""
    return connection.call("reading the indexes", lambda: _indexes(connection.client, name, connection.timeout_s))


def _indexes(client: Any, name: str, timeout_s: float) -> dict[str, IndexShape]:
    found = {}
    for index_name in client.list_indexes(name, timeout=timeout_s):
        described = client.describe_index(name, index_name, timeout=timeout_s)
        params = {**described, **described.get("params", {})}  # a server gives them in the spelling it got
        known = sorted((key, value) for key, value in params.items() if isinstance(value, str | int | float))
        found[described["field_name"]] = IndexShape(
            described["field_name"], described.get("index_type", ""), described.get("metric_type", ""), tuple(known)
        )
    return found


def fields_of(connection: Connection, name: str) -> tuple[FieldShape, ...]:
    """The fields of the collection, in its order."""
    client, timeout_s = connection.client, connection.timeout_s
    described = connection.call(
        "describing the collection", lambda: client.describe_collection(name, timeout=timeout_s)
    )
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
        parts=bool(field.get("is_partition_key", False)),
    )
