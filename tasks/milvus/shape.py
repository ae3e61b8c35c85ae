"""What the collection looks like, and how an existing one differs from it. Pure: no connection, no pymilvus."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tasks.errors import ConfigurationError

IndexParam: TypeAlias = tuple[str, "int | float | str | bool"]
Metric = Literal["COSINE", "IP", "L2"]

ID_FIELD = "id"
CONTENT_FIELD = "content"
VECTOR_FIELD = "embedding"
METADATA_FIELD = "metadata"

ID_MAX_BYTES = 64
METADATA_MAX_BYTES = 65_536
"""A Milvus server's limit for one JSON value. Source: `common.JSON.maxLength` of its configuration."""

NAME_MAX_CHARACTERS = 255
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class CollectionShape:
    """The collection's fields and index.

    `dimensions` is the length of `embedding`; `content_max_bytes` the length of `content` in UTF-8 bytes;
    `index_params` are the index's own, as sorted pairs so that a shape can be hashed.
    """

    dimensions: int = 1024
    content_max_bytes: int = 8192
    metric: Metric = "COSINE"
    index: str = "HNSW"
    index_params: tuple[IndexParam, ...] = (("M", 16), ("efConstruction", 256))


@dataclass(frozen=True, slots=True)
class FieldShape:
    """One field as Milvus tells it: `kind` names its data type; `size` is its dimension or `max_length`, if any."""

    name: str
    kind: str
    size: int | None = None
    primary: bool = False
    auto_id: bool = False
    optional: bool = False

    def __str__(self) -> str:
        size = "" if self.size is None else f"({self.size})"
        return f"{self.kind}{size}" + " primary key" * self.primary + " with automatic ids" * self.auto_id


def wanted_fields(shape: CollectionShape) -> tuple[FieldShape, ...]:
    """The four fields of a collection of this shape, in schema order."""
    return (
        FieldShape(ID_FIELD, "VARCHAR", ID_MAX_BYTES, primary=True),
        FieldShape(CONTENT_FIELD, "VARCHAR", shape.content_max_bytes),
        FieldShape(VECTOR_FIELD, "FLOAT_VECTOR", shape.dimensions),
        FieldShape(METADATA_FIELD, "JSON"),
    )


def differences(shape: CollectionShape, fields: tuple[FieldShape, ...], metric: str | None) -> list[str]:
    """What stands between an existing collection and `shape`, one line a field; empty when rows fit.

    A further field counts only if rows must fill it. `metric` is the vector index's, None where there is no index yet.
    The kind of index is not compared: it changes how fast a row is found, not which rows fit.
    """
    found: Mapping[str, FieldShape] = {field.name: field for field in fields}
    lines = []
    for wanted in wanted_fields(shape):
        came = found.get(wanted.name)
        if came is None:
            lines.append(f"{wanted.name}: expected {wanted}, there is no such field")
        elif str(came) != str(wanted):
            lines.append(f"{wanted.name}: expected {wanted}, found {came}")
    ours = {wanted.name for wanted in wanted_fields(shape)}
    lines += [
        f"{field.name}: found {field}, which every row would have to fill"
        for field in fields
        if field.name not in ours and not field.optional
    ]
    if metric is not None and metric.upper() != shape.metric:
        lines.append(f"metric: expected {shape.metric}, found {metric}")
    return lines


def check_name(name: str) -> None:
    """Nothing, if Milvus takes `name` for a collection.

    Raises:
        ConfigurationError: the name would be refused by a server; Milvus Lite would take it and the move to a server
            would then fail.
    """
    if not _NAME.fullmatch(name) or len(name) > NAME_MAX_CHARACTERS:
        message = (
            f"milvus.collection: {name!r} is no name for a Milvus collection; it must begin with a letter or an "
            f"underscore, hold only letters, digits and underscores, and have at most {NAME_MAX_CHARACTERS} characters"
        )
        raise ConfigurationError(message)
