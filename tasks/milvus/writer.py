"""Rows into the collection: calls of a bounded size, each acknowledged in full before the next is made.

Rows as the message that Milvus's protocol knows, made in a hundredth of the client library's time.

`MilvusClient.upsert` walks every string character by character and turns every vector into a Python list: 90 us a row
of 1,024 dimensions and 500 tokens. A packed `repeated float` of protocol buffers is a tag, a length and the floats in
little-endian order, which is what a float32 array is in memory, so its bytes go in as they are: 1 us a row. So do those
of a sparse vector, whose form is the same everywhere. The message is the same, byte for byte; a test compares the two.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.errors import CollectionError
from millrace.tasks.milvus.client.connection import Connection
from millrace.tasks.milvus.client.sdk import DataType, milvus_pb2, schema_pb2
from millrace.tasks.milvus.collection_spec import CONTENT_FIELD, ID_FIELD, METADATA_FIELD, SPARSE_FIELD, VECTOR_FIELD
from millrace.tasks.milvus.rows import Vectors

_OWN_COLUMNS = frozenset([ID_FIELD, CONTENT_FIELD, METADATA_FIELD, SPARSE_FIELD])
_SCALARS = {
    pa.int64(): (DataType.INT64, "long_data"),
    pa.float64(): (DataType.DOUBLE, "double_data"),
    pa.bool_(): (DataType.BOOL, "bool_data"),
    pa.string(): (DataType.VARCHAR, "string_data"),
}

_DATA_TAG = b"\x0a"
"""Field 1, length-delimited: `FloatArray.data` in schema.proto, packed as proto3 packs."""


def upsert_request(collection: str, rows: pa.Table, vectors: Vectors) -> Any:
    """An `UpsertRequest` for `rows` and `vectors` (float32, one a row).

    `rows` has the columns id, content and metadata, sparse where the collection takes it, and a column for each
    further field.
    """
    request = milvus_pb2.UpsertRequest(collection_name=collection, num_rows=rows.num_rows)
    _add_strings(request, ID_FIELD, rows["id"].to_pylist())
    _add_strings(request, CONTENT_FIELD, rows["content"].to_pylist())
    request.fields_data.append(_vector_field(vectors))
    metadata = request.fields_data.add(field_name=METADATA_FIELD, type=DataType.JSON)
    metadata.scalars.json_data.data.extend(rows["metadata"].cast(pa.binary()).to_pylist())
    if SPARSE_FIELD in rows.column_names:
        sparse = request.fields_data.add(field_name=SPARSE_FIELD, type=DataType.SPARSE_FLOAT_VECTOR)
        sparse.vectors.sparse_float_vector.contents.extend(rows[SPARSE_FIELD].to_pylist())
    for field in rows.schema:
        if field.name not in _OWN_COLUMNS:
            _add_scalars(request, field, rows[field.name])
    return request


def _add_strings(request: Any, name: str, values: Sequence[str]) -> None:
    field = request.fields_data.add(field_name=name, type=DataType.VARCHAR)
    field.scalars.string_data.data.extend(values)


def _add_scalars(request: Any, field: pa.Field, column: pa.ChunkedArray) -> None:
    """A nullable field is sent as which of its values there are, and those."""
    kind, array = _SCALARS[field.type]
    sent = request.fields_data.add(field_name=field.name, type=kind)
    getattr(sent.scalars, array).data.extend(column.drop_null().to_pylist())
    if field.nullable:
        sent.valid_data.extend(column.is_valid().to_pylist())


def _vector_field(vectors: Vectors) -> Any:
    raw = np.ascontiguousarray(vectors, dtype="<f4").tobytes()
    field = schema_pb2.FieldData(field_name=VECTOR_FIELD, type=DataType.FLOAT_VECTOR)
    field.vectors.dim = vectors.shape[1]
    field.vectors.float_vector.MergeFromString(_DATA_TAG + _varint(len(raw)) + raw)
    return field


def _varint(number: int) -> bytes:
    r"""`number` as protocol buffers write lengths: seven bits a byte, lowest first; the top bit says that more follow.

    >>> _varint(4096)
    b'\x80 '
    """
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


MAX_CALL_ROWS = 500
"""Rows a call: more is no faster, and makes each call longer to repeat. Measured on Lite and on a server."""

MAX_CALL_BYTES = 16 * 1024 * 1024
"""Bytes a call, a quarter of the 64 MiB that a Milvus server takes; only very large dimensions come near it."""

MAX_CALL_IDS = 1_000
"""Ids a call that deletes: 67 kB of expression."""

_ESCAPED = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r"})
"""What ends or breaks a string in an expression; seen to be undone by Lite and by a server."""


def upsert_calls(rows: pa.Table, vectors: Vectors) -> Iterator[tuple[int, int]]:
    """The row ranges [start, end) to send one call each, in order; together they are all rows."""
    sizes = np.full(rows.num_rows, vectors.shape[1] * vectors.itemsize, np.int64)
    for name in {"id", "content", "metadata", "sparse"}.intersection(rows.column_names):
        sizes += pc.fill_null(pc.binary_length(rows[name]), 0).to_numpy()
    return ranges_within(sizes, max_rows=MAX_CALL_ROWS, max_bytes=MAX_CALL_BYTES)


def ranges_within(sizes: npt.NDArray[np.int64], *, max_rows: int, max_bytes: int) -> Iterator[tuple[int, int]]:
    """Ranges [start, end) that cover all `sizes` (bytes) in order, each within both bounds or of a single item."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        fitting = int(np.searchsorted(ends, before + max_bytes, side="right"))
        end = min(max(fitting, start + 1), start + max_rows, len(sizes))
        yield start, end
        start = end


def upsert_call(connection: Connection, name: str, rows: pa.Table, vectors: Vectors) -> int:
    """The number of rows, once Milvus has acknowledged each of them.

    Raises:
        CollectionError: Milvus cannot be reached, refuses, or acknowledges another number of rows.
    """
    taken = int(connection.ask("Upsert", upsert_request(name, rows, vectors), doing="upserting").upsert_cnt)
    if taken != rows.num_rows:
        message = (
            f"{connection.where} acknowledged {taken} of {rows.num_rows} rows upserted into {name!r}; run again, and "
            f"see the server's log if it recurs"
        )
        raise CollectionError(message)
    return taken


def delete_ids(connection: Connection, name: str, ids: Sequence[str]) -> None:
    """Leaves none of `ids` in the collection; an id that is not there is no error."""
    client, timeout_s = connection.client, connection.timeout_s
    expression = id_filter(ids)
    connection.call("deleting rows", lambda: client.delete(name, filter=expression, timeout=timeout_s))


def id_filter(ids: Sequence[str]) -> str:
    """The expression that is true of the rows with one of `ids`, which may be any that another writer chose."""
    return f"{ID_FIELD} in [" + ",".join(f'"{row_id.translate(_ESCAPED)}"' for row_id in ids) + "]"
