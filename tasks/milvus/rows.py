"""The rows that go in and come back, and what is wrong with a row before it is sent.

Pure: no connection. Milvus Lite takes rows that a server refuses, or that no search can find again; both get the same
check here, so that what went into the one also fits the other.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import Rejected
from tasks.milvus.shape import METADATA_MAX_BYTES, CollectionShape
from tasks.records import JsonValue

Vectors = npt.NDArray[np.float32]

_ID = re.compile(r"[0-9a-f]{64}")
_LONG_NUMBER = re.compile(r"\d{19}")


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that a search found. `score` is in the collection's metric: for COSINE, 1 is the same direction."""

    id: str
    score: float
    content: str
    metadata: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True, eq=False)
class StoredRow:
    """A row as the collection holds it, by whomever it was written.

    `metadata` is None where the collection holds no JSON object. `vector`: float32, shape (dimensions,), or None where
    it was not asked for.
    """

    id: str
    content: str
    metadata: Mapping[str, JsonValue] | None
    vector: Vectors | None = None


def check_rows(rows: pa.Table, vectors: Vectors, shape: CollectionShape) -> list[tuple[int, Rejected]]:
    """The rows that must not be sent, by row number (ascending, each at most once) with the reason.

    `rows` has the columns id, content and metadata (a JSON string); `vectors`: float32, shape (len(rows), dimensions).
    Of rows with the same id the first is kept.

    Raises:
        ValueError: there is not one vector a row.
    """
    if vectors.ndim != 2 or len(vectors) != rows.num_rows:
        message = f"expected one vector a row ({rows.num_rows} rows), got an array of shape {vectors.shape}"
        raise ValueError(message)
    found: dict[int, Rejected] = {}
    for number, reason in _wrong_vectors(vectors, shape):
        found.setdefault(number, reason)
    content = rows["content"].combine_chunks()
    sizes = pc.fill_null(pc.binary_length(content), -1).to_numpy()
    for number in np.flatnonzero((sizes < 0) | (sizes > shape.content_max_bytes)).tolist():
        found.setdefault(number, _wrong_content(int(sizes[number]), shape))
    seen: set[str] = set()
    for number, row_id in enumerate(rows["id"].to_pylist()):
        refusal = _wrong_id(row_id, seen)
        seen.add(row_id)
        if refusal is not None:
            found.setdefault(number, refusal)
    for number, metadata in enumerate(rows["metadata"].to_pylist()):
        refusal = _wrong_metadata(metadata)
        if refusal is not None:
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


def _wrong_content(size: int, shape: CollectionShape) -> Rejected:
    if size < 0:
        return Rejected("the content is missing", reason="content_missing", remedy="chunk the document again")
    return Rejected(
        f"the content has {size} UTF-8 bytes, the column holds {shape.content_max_bytes}",
        reason="content_too_long",
        remedy="lower chunking.max_tokens so that chunks fit, or use a collection with a longer content field",
    )


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


def _wrong_metadata(metadata: str | None) -> Rejected | None:
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
