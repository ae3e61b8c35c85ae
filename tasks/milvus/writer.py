"""Rows into the collection: calls of a bounded size, each acknowledged in full before the next is made."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import CollectionError
from tasks.milvus.connection import Connection
from tasks.milvus.messages import upsert_request
from tasks.milvus.rows import Vectors
from tasks.milvus.shape import ID_FIELD

MAX_CALL_ROWS = 500
"""Rows a call: more is no faster, and makes each call longer to repeat. Measured on Lite and on a server."""

MAX_CALL_BYTES = 16 * 1024 * 1024
"""Bytes a call, a quarter of the 64 MiB that a Milvus server takes; only very large dimensions come near it."""

MAX_CALL_IDS = 1_000
"""Ids a call that deletes: 67 kB of expression."""


def upsert_calls(rows: pa.Table, vectors: Vectors) -> Iterator[tuple[int, int]]:
    """The row ranges [start, end) to send one call each, in order; together they are all rows."""
    text_bytes = sum(
        pc.fill_null(pc.binary_length(rows[name].combine_chunks()), 0).to_numpy().astype(np.int64)
        for name in ("id", "content", "metadata")
    )
    ends = np.cumsum(text_bytes + vectors.shape[1] * vectors.itemsize)
    start = 0
    while start < rows.num_rows:
        sent = int(ends[start - 1]) if start else 0
        by_bytes = int(np.searchsorted(ends, sent + MAX_CALL_BYTES, side="right"))
        end = min(max(by_bytes, start + 1), start + MAX_CALL_ROWS, rows.num_rows)
        yield start, end
        start = end


def upsert_call(connection: Connection, name: str, rows: pa.Table, vectors: Vectors) -> int:
    """The number of rows, once Milvus has acknowledged each of them.

    Raises:
        CollectionError: Milvus cannot be reached, refuses, or acknowledges another number of rows.
    """
    taken = connection.upsert(upsert_request(name, rows, vectors))
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
    """The expression that is true of the rows with one of `ids`.

    Raises:
        ValueError: an id could end the string that holds it.
    """
    for row_id in ids:
        if '"' in row_id or "\\" in row_id:
            message = f"an id with a quote or a backslash cannot be asked for: {row_id!r}"
            raise ValueError(message)
    return f"{ID_FIELD} in [" + ",".join(f'"{row_id}"' for row_id in ids) + "]"
