"""The rows that go in and come back, and what is wrong with a row before it is sent.

Pure: no connection. Milvus Lite takes rows that a server refuses, or that no search can find again; both get the same
check here, so that what went into the one also fits the other.

The columns that are sent for a table of rows, beside the dense vectors.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.errors import Rejected
from millrace.tasks.milvus.collection_spec import (
    CONTENT_FIELD,
    ID_FIELD,
    METADATA_FIELD,
    SPARSE_FIELD,
    CollectionShape,
)
from millrace.tasks.milvus.scalar_fields import promoted_columns, wrong_scalar
from millrace.tasks.records import METADATA_MAX_BYTES, SPARSE_PAIR, JsonValue, sparse_bytes

NOTHING = sparse_bytes([2**32 - 2], [1.0])
"""What stands for a sparse vector without entries, which Milvus Lite refuses: a word that no text has, since it is the
highest index there may be. A text without words still is a row that its dense vector finds."""


def row_columns(rows: pa.Table, shape: CollectionShape, nullable: frozenset[str] = frozenset()) -> pa.Table:
    """What a collection of this shape is sent for `rows`, in the order of its fields.

    These are columns of `rows`, then those that its metadata fills. A column is nullable if its field is, which
    `nullable` names: on its way the two are told apart.

    Raises:
        ValueError: `rows` lacks one.
    """
    names = [ID_FIELD, CONTENT_FIELD, METADATA_FIELD]
    if shape.hybrid == "sparse":
        names.append(SPARSE_FIELD)
    missing = [name for name in names if name not in rows.column_names]
    if missing:
        message = f"rows of this collection need the columns {', '.join(names)}; {', '.join(missing)} is missing"
        raise ValueError(message)
    sent = rows.select(names)
    if shape.hybrid == "sparse":
        column = sent[SPARSE_FIELD]
        marked = pc.if_else(pc.equal(pc.binary_length(column), 0), pa.scalar(NOTHING, column.type), column)
        sent = sent.set_column(names.index(SPARSE_FIELD), SPARSE_FIELD, marked)
    for field, column in promoted_columns(rows[METADATA_FIELD], shape.scalar_fields, nullable):
        sent = sent.append_column(field, column)
    return sent


SPARSE_INDEX_END = 2**32 - 1
"""Milvus's highest index of a sparse vector is one less."""

Vectors = npt.NDArray[np.float32]

_ID = re.compile(r"[0-9a-f]{64}")
_LONG_NUMBER = re.compile(r"\d{19}")


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that a search found.

    `score` is in the collection's metric (for COSINE, 1 is the same direction), of a hybrid search the fused one.
    """

    id: str
    score: float
    content: str
    metadata: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True, eq=False)
class StoredRow:
    """A row as the collection holds it, by whomever it was written.

    `metadata` is None where the collection holds no JSON object. `vector`: float32, shape (dimensions,), or None where
    it was not asked for; so is `sparse`, also where rows bring none.
    """

    id: str
    content: str
    metadata: Mapping[str, JsonValue] | None
    vector: Vectors | None = None
    sparse: bytes | None = None


def check_rows(rows: pa.Table, vectors: Vectors, shape: CollectionShape) -> list[tuple[int, Rejected]]:
    """The rows that must not be sent, by row number (ascending, each at most once) with the reason.

    `rows` has the columns id, content and metadata (a JSON string), and sparse where the shape has it from rows;
    `vectors`: float32, shape (len(rows), dimensions). Of rows with the same id the first is kept. A sparse vector may
    be without entries: the row is found by its dense one.

    Raises:
        ValueError: there is not one vector a row.
    """
    if vectors.ndim != 2 or len(vectors) != rows.num_rows:
        message = f"expected one vector a row ({rows.num_rows} rows), got an array of shape {vectors.shape}"
        raise ValueError(message)
    found: dict[int, Rejected] = {}
    for number, refusal in chain(
        _wrong_vectors(vectors, shape),
        _wrong_sparse(rows[SPARSE_FIELD]) if shape.hybrid == "sparse" else (),
        _wrong_contents(rows["content"], shape),
        _wrong_ids(rows["id"]),
        _wrong_metadata(rows["metadata"], shape),
    ):
        found.setdefault(number, refusal)
    return sorted(found.items())


def _wrong_vectors(vectors: Vectors, shape: CollectionShape) -> list[tuple[int, Rejected]]:
    if vectors.shape[1] != shape.dimensions:
        refusal = Rejected(
            f"the vector has {vectors.shape[1]} dimensions, the collection {shape.dimensions}",
            reason="vector_dimension",
            remedy="set embedding.dimensions to the collection's, or name another milvus.collection",
        )
        return [(number, refusal) for number in range(len(vectors))]
    # The sum of squares in float32 is what a cosine divides by: NaN and infinity carry through it, a zero vector gives
    # zero, and so does one too small, or infinity one too large, for its length to be a float32.
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float32)
    wrong = np.flatnonzero(~(np.isfinite(squares) & (squares > 0)))
    return [(number, _wrong_vector(vectors[number])) for number in wrong.tolist()]


def _wrong_vector(vector: Vectors) -> Rejected:
    if not np.isfinite(vector).all():
        what, reason = "the vector holds NaN or infinity", "vector_not_finite"
    elif not vector.any():
        what, reason = "the vector is all zeros", "vector_zero"
    else:
        what, reason = "the vector's length is no number in float32", "vector_length"
    return Rejected(what, reason=reason, remedy="embed the text again; if it recurs, report the text to the provider")


_WRONG_SPARSE = Rejected(
    "the sparse vector is none: its indices must ascend below 2**32 - 1 and its values be positive numbers",
    reason="sparse_malformed",
    remedy="embed the text again; if it recurs, report the text to the provider",
)


def _wrong_sparse(column: pa.ChunkedArray) -> Iterator[tuple[int, Rejected]]:
    sizes = pc.fill_null(pc.binary_length(column), -1).to_numpy()
    partial = (sizes < 0) | (sizes % SPARSE_PAIR.itemsize != 0)
    whole = pc.if_else(pa.array(partial), pa.scalar(b"", column.type), column)
    entries = np.frombuffer(b"".join(whole.to_pylist()), SPARSE_PAIR)
    row = np.repeat(np.arange(len(sizes)), np.where(partial, 0, sizes // SPARSE_PAIR.itemsize))
    index, value = entries["index"], entries["value"]
    bad = ~(np.isfinite(value) & (value > 0)) | (index >= SPARSE_INDEX_END)
    bad[1:] |= (row[1:] == row[:-1]) & (index[1:] <= index[:-1])
    for number in sorted({*np.flatnonzero(partial).tolist(), *row[bad].tolist()}):
        yield number, _WRONG_SPARSE


def _wrong_contents(column: pa.ChunkedArray, shape: CollectionShape) -> Iterator[tuple[int, Rejected]]:
    sizes = pc.fill_null(pc.binary_length(column), -1).to_numpy()
    for number in np.flatnonzero((sizes < 0) | (sizes > shape.content_max_bytes)).tolist():
        yield number, _wrong_content(int(sizes[number]), shape)


def _wrong_content(size: int, shape: CollectionShape) -> Rejected:
    if size < 0:
        return Rejected("the content is missing", reason="content_missing", remedy="chunk the document again")
    return Rejected(
        f"the content has {size} UTF-8 bytes, the column holds {shape.content_max_bytes}",
        reason="content_too_long",
        remedy="lower chunking.max_tokens so that chunks fit, or use a collection with a longer content field",
    )


def _wrong_ids(column: pa.ChunkedArray) -> Iterator[tuple[int, Rejected]]:
    seen: set[str] = set()
    for number, row_id in enumerate(column.to_pylist()):
        refusal = _wrong_id(row_id, seen)
        seen.add(row_id)
        if refusal is not None:
            yield number, refusal


def _wrong_id(row_id: str | None, seen: set[str]) -> Rejected | None:
    if not row_id:
        return Rejected("the id is empty", reason="id_missing", remedy="chunk the document again")
    if not _ID.fullmatch(row_id):
        shown = row_id if len(row_id) <= 80 else row_id[:77] + "..."
        return Rejected(
            f"the id {shown!r} is not 64 lower-case hex digits",
            reason="id_malformed",
            remedy="chunk the document again",
        )
    if row_id in seen:
        return Rejected(
            f"the id {row_id} is there twice", reason="id_doubled", remedy="list each document once, under one name"
        )
    return None


def _wrong_metadata(column: pa.ChunkedArray, shape: CollectionShape) -> Iterator[tuple[int, Rejected]]:
    for number, metadata in enumerate(column.to_pylist()):
        refusal = check_metadata(metadata)
        if refusal is None and shape.scalar_fields:
            refusal = wrong_scalar(orjson.loads(metadata), shape.scalar_fields)
        if refusal is not None:
            yield number, refusal


def check_metadata(metadata: str | None) -> Rejected | None:
    """Why Milvus would refuse this JSON, or give other JSON back; None where it would not."""
    remedy = "correct the metadata columns of the record, or leave them out"
    if metadata is None:
        return Rejected("the metadata is missing", reason="metadata_missing", remedy="chunk the document again")
    # Three bytes a UTF-16 unit at most, four a character: the length need not be counted for nearly every row.
    if len(metadata) * 4 > METADATA_MAX_BYTES and len(metadata.encode()) > METADATA_MAX_BYTES:
        return Rejected(
            f"the metadata has {len(metadata.encode())} bytes of JSON, Milvus holds {METADATA_MAX_BYTES}",
            reason="metadata_too_long",
            remedy="leave long columns out of the metadata",
        )
    try:
        value = orjson.loads(metadata)
    except orjson.JSONDecodeError as error:
        # NaN and Infinity, which json.dumps writes, end here too: no JSON, and Milvus Lite would store null.
        return Rejected(f"the metadata is no JSON: {error}", reason="metadata_not_json", remedy=remedy)
    if not isinstance(value, dict):
        return Rejected(
            f"the metadata is a JSON {type(value).__name__}, not an object", reason="metadata_not_object", remedy=remedy
        )
    # Compared as text: 2**64 and its float are equal numbers, and hash to different rows.
    if _LONG_NUMBER.search(metadata) and json.dumps(json.loads(metadata)) != json.dumps(value):
        message = "the metadata holds an integer beyond 64 bits, which would come back as another number"
        return Rejected(message, reason="metadata_number", remedy="give such numbers as text")
    return None
