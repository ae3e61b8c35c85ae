"""Rows into the collection: calls of a bounded size, each acknowledged in full before the next is made."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
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
