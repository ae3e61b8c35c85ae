"""Rows out of the collection. Every read is strongly consistent: it sees all that was acknowledged before it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from millrace.tasks.errors import ConfigurationError
from millrace.tasks.milvus.client.connection import Connection
from millrace.tasks.milvus.collection_spec import (
    CONTENT_FIELD,
    ID_FIELD,
    METADATA_FIELD,
    SPARSE_FIELD,
    VECTOR_FIELD,
    CollectionShape,
    search_tuning,
)
from millrace.tasks.milvus.errors import Refused
from millrace.tasks.milvus.rows import NOTHING, Hit, StoredRow, Vectors
from millrace.tasks.milvus.writer import id_filter
from millrace.tasks.records import JsonValue, sparse_bytes

MAX_CALL_ROWS = 1_000
"""Rows a query: with vectors and full contents some 12 MB."""

MAX_PAGE_IDS = 10_000
"""Ids a page of the iterator, below the 16,384 rows that a server returns at most."""

LISTING_TIMEOUT_S = 600.0
_NO_LIMIT = 2**31 - 1


def query_ids(connection: Connection, name: str, ids: Sequence[str], fields: Sequence[str]) -> list[dict[str, Any]]:
    """The rows with one of `ids` as Milvus gives them, in no order."""
    client, timeout_s, expression = connection.client, connection.timeout_s, id_filter(ids)
    rows = connection.call(
        "reading rows by id",
        lambda: client.query(
            name, filter=expression, output_fields=list(fields), consistency_level="Strong", timeout=timeout_s
        ),
    )
    return list(rows)


def fetch_rows(
    connection: Connection, name: str, shape: CollectionShape, ids: Sequence[str], *, with_vectors: bool
) -> list[StoredRow]:
    """The rows of `ids` that are there, in the order of `ids`."""
    fields = [ID_FIELD, CONTENT_FIELD, METADATA_FIELD]
    if with_vectors:
        fields.append(VECTOR_FIELD)
    if with_vectors and shape.hybrid == "sparse":
        fields.append(SPARSE_FIELD)
    found = {row[ID_FIELD]: row for row in query_ids(connection, name, ids, fields)}
    return [_stored_row(found[row_id]) for row_id in dict.fromkeys(ids) if row_id in found]


def _stored_row(row: dict[str, Any]) -> StoredRow:
    vector, sparse = row.get(VECTOR_FIELD), row.get(SPARSE_FIELD)
    return StoredRow(
        id=row[ID_FIELD],
        content=row[CONTENT_FIELD],
        metadata=_metadata(row),
        vector=None if vector is None else np.asarray(vector, dtype=np.float32),
        sparse=None if sparse is None else _sparse(sparse),
    )


def _sparse(entries: Mapping[int, float]) -> bytes:
    sent = sparse_bytes(list(entries), list(entries.values()))
    return b"" if sent == NOTHING else sent


def _metadata(row: Mapping[str, Any]) -> Mapping[str, JsonValue] | None:
    """The metadata of a row or hit; None if it is no JSON object, as another writer may have left it."""
    try:
        value = row[METADATA_FIELD]
    except ValueError:  # pymilvus parses it only now; json's and orjson's errors are both of this kind
        return None
    return value if isinstance(value, dict) else None


def all_ids(connection: Connection, name: str) -> Iterator[list[str]]:
    """Every id in the collection, once, in batches.

    From Lite they come in one answer (64 bytes a row): it has no bound on a query's rows, and pages through them by
    sorting all of them again for each page, five times as slow at 40,000 rows. A server's iterator takes no notice of
    the consistency asked for (2.3.5: right after an upsert it lists nothing); a strong read before it brings the
    server up to what was acknowledged, and what it has once shown it goes on showing.
    """
    client, timeout_s = connection.client, connection.timeout_s
    if connection.is_lite:
        rows = connection.call(
            "listing the ids",
            lambda: client.query(name, filter="", output_fields=[ID_FIELD], limit=_NO_LIMIT, timeout=LISTING_TIMEOUT_S),
        )
        for start in range(0, len(rows), MAX_PAGE_IDS):
            yield [row[ID_FIELD] for row in rows[start : start + MAX_PAGE_IDS]]
        return
    count_rows(connection, name)
    pages = connection.call(
        "listing the ids",
        lambda: client.query_iterator(
            name, batch_size=MAX_PAGE_IDS, output_fields=[ID_FIELD], consistency_level="Strong", timeout=timeout_s
        ),
    )
    try:
        while page := connection.call("listing the ids", pages.next):
            yield [row[ID_FIELD] for row in page]
    finally:
        pages.close()


def count_rows(connection: Connection, name: str, condition: str = "") -> int:
    """The number of rows for which `condition` holds, overwritten ones not counted twice (as statistics would).

    Rows with one id, which a server can hold several of, are all counted, while queries and listings show one of them.
    """
    client, timeout_s = connection.client, connection.timeout_s
    answer = connection.call(
        "counting rows",
        lambda: client.query(
            name, filter=condition, output_fields=["count(*)"], consistency_level="Strong", timeout=timeout_s
        ),
    )
    return int(answer[0]["count(*)"])


def search_rows(
    connection: Connection, name: str, shape: CollectionShape, vector: Vectors, *, top_k: int, condition: str
) -> list[Hit]:
    """At most `top_k` rows nearest to `vector` for which `condition` holds, the best first.

    Raises:
        ConfigurationError: Milvus cannot make sense of `condition`.
        CollectionError: Milvus cannot be reached, or refuses.
        ValueError: `vector` cannot be searched with: of another shape, all zeros, or not finite.
    """
    query = query_vector(vector, shape)
    client, timeout_s = connection.client, connection.timeout_s
    with filter_errors(condition):
        answers = connection.call(
            "searching",
            lambda: client.search(
                name,
                data=[query],
                anns_field=VECTOR_FIELD,
                filter=condition,
                limit=top_k,
                output_fields=[CONTENT_FIELD, METADATA_FIELD],
                search_params=search_params(shape, top_k),
                consistency_level="Strong",
                timeout=timeout_s,
            ),
        )
    return [
        Hit(hit[ID_FIELD], float(hit["distance"]), hit["entity"][CONTENT_FIELD], _metadata(hit["entity"]) or {})
        for hit in answers[0]
    ]


def query_vector(vector: Vectors, shape: CollectionShape) -> Vectors:
    """`vector` as it is sent. Raises `ValueError` when it cannot be searched with."""
    if vector.shape != (shape.dimensions,) or not np.isfinite(vector).all() or not vector.any():
        message = f"a query vector has {shape.dimensions} finite numbers, not all zero; got shape {vector.shape}"
        raise ValueError(message)
    return np.ascontiguousarray(vector, dtype=np.float32)


def search_params(shape: CollectionShape, rows: int) -> dict[str, Any]:
    """How the index of `embedding` is asked for its best `rows`."""
    return {"metric_type": shape.metric, "params": dict(search_tuning(shape, rows))}


@contextmanager
def filter_errors(condition: str) -> Iterator[None]:
    """A search that Milvus refuses although it can be searched: it is the filter, if there is one."""
    try:
        yield
    except Refused as error:
        if not condition:
            raise
        message = f"the filter {condition!r} was not understood: {error}"
        raise ConfigurationError(message) from error
