"""The collection itself: found, compared, created, indexed, loaded."""

from typing import Any

from tasks.errors import CollectionError, CollectionMissing
from tasks.milvus.connection import Connection
from tasks.milvus.sdk import DataType, MilvusClient
from tasks.milvus.shape import (
    VECTOR_FIELD,
    CollectionShape,
    FieldShape,
    differences,
    wanted_fields,
)

BUILD_TIMEOUT_S = 600.0
"""For what takes a server minutes when the collection is large: building the index, and loading."""


def ensure(connection: Connection, name: str, shape: CollectionShape, *, create: bool) -> None:
    """Leaves the collection there, of this shape, indexed and loaded; whatever of it is missing is made.

    Raises:
        CollectionError: it has another shape.
        CollectionMissing: it is missing and `create` is false.
    """
    timeout_s = connection.timeout_s
    client = connection.client
    if not connection.call("looking for the collection", lambda: client.has_collection(name, timeout=timeout_s)):
        if not create:
            message = f"{connection.where} has no collection {name!r}: run `millrace ingest` first"
            raise CollectionMissing(message)
        connection.call("creating the collection", lambda: _create(client, name, shape, timeout_s))
    fields = connection.call("describing the collection", lambda: _fields(client, name, timeout_s))
    metric = connection.call("reading the index", lambda: _index_metric(client, name, timeout_s))
    different = differences(shape, fields, metric)
    if different:
        message = (
            f"{connection.where}: the collection {name!r} has another shape:\n  "
            + "\n  ".join(different)
            + "\nname another milvus.collection, set embedding.dimensions to what is there, or drop the collection"
        )
        raise CollectionError(message)
    if metric is None:
        connection.call(
            "creating the index", lambda: _create_index(client, name, shape, max(timeout_s, BUILD_TIMEOUT_S))
        )
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


def _create(client: Any, name: str, shape: CollectionShape, timeout_s: float) -> None:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    for field in wanted_fields(shape):
        size = {}
        if field.size is not None:
            size = {"dim" if field.name == VECTOR_FIELD else "max_length": field.size}
        schema.add_field(field.name, DataType[field.kind], is_primary=field.primary, **size)
    client.create_collection(name, schema=schema, timeout=timeout_s)


def _create_index(client: Any, name: str, shape: CollectionShape, timeout_s: float) -> None:
    index = MilvusClient.prepare_index_params()
    index.add_index(
        VECTOR_FIELD,
        index_name=VECTOR_FIELD,
        index_type=shape.index,
        metric_type=shape.metric,
        params=dict(shape.index_params),
    )
    client.create_index(name, index, timeout=timeout_s)


def _index_metric(client: Any, name: str, timeout_s: float) -> str | None:
    """The metric of the vector's index, None if it has no index."""
    for index_name in client.list_indexes(name, field_name=VECTOR_FIELD):
        index = client.describe_index(name, index_name, timeout=timeout_s)
        return str(index["metric_type"])
    return None


def _fields(client: Any, name: str, timeout_s: float) -> tuple[FieldShape, ...]:
    described = client.describe_collection(name, timeout=timeout_s)
    return tuple(_field_shape(field) for field in described["fields"])


def _field_shape(field: dict[str, Any]) -> FieldShape:
    params = field.get("params", {})
    size = params.get("dim", params.get("max_length"))
    return FieldShape(
        name=field["name"],
        kind=DataType(field["type"]).name,
        size=None if size is None else int(size),
        primary=bool(field.get("is_primary", False)),
        auto_id=bool(field.get("auto_id", False)),
        optional=bool(field.get("nullable", False)) or field.get("default_value") is not None,
    )
