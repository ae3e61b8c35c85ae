"""Vectors as Arrow batches: text key, vector, tokens; never as Python lists."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.records import TEXT_KEY_BYTES

Vectors = npt.NDArray[np.float32]
KeyBytes = npt.NDArray[np.uint8]


def vector_schema(dimensions: int) -> pa.Schema:
    """The columns of journals and parts.

    The list type costs 2 microseconds a vector more to read than bytes would, and every Parquet reader knows it.
    """
    return pa.schema(
        [
            pa.field("text_key", pa.binary(TEXT_KEY_BYTES), nullable=False),
            pa.field("vector", pa.list_(pa.field("item", pa.float32(), nullable=False), dimensions), nullable=False),
            pa.field("tokens", pa.int32(), nullable=False),
        ]
    )


def vector_batch(keys: Sequence[bytes], vectors: Vectors, tokens: Sequence[int], dimensions: int) -> pa.RecordBatch:
    """One batch over the memory of `vectors`.

    Args:
        keys: 32 bytes each.
        vectors: float32, shape (n, dimensions); row i belongs to keys[i].
        tokens: What was billed for each.
        dimensions: Of the space.

    Raises:
        ValueError: Shapes or types do not fit together.
    """
    n = len(keys)
    if vectors.dtype != np.float32 or vectors.shape != (n, dimensions) or len(tokens) != n:
        raise ValueError(
            f"expected {n} float32 vectors of {dimensions} dimensions and {n} token counts,"
            f" got {vectors.dtype} {vectors.shape} and {len(tokens)}"
        )
    joined = b"".join(keys)
    if len(joined) != n * TEXT_KEY_BYTES or any(len(key) != TEXT_KEY_BYTES for key in keys):
        raise ValueError(f"a text key is {TEXT_KEY_BYTES} bytes")
    schema = vector_schema(dimensions)
    values = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.record_batch(
        [
            pa.FixedSizeBinaryArray.from_buffers(schema.field(0).type, n, [None, pa.py_buffer(joined)]),
            pa.FixedSizeListArray.from_arrays(values, type=schema.field(1).type),
            pa.array(np.asarray(tokens, dtype=np.int32)),
        ],
        schema=schema,
    )


def keys_in(array: pa.Array) -> KeyBytes:
    """The keys of a `text_key` array without nulls: uint8, shape (n, 32), over the array's memory."""
    start = array.offset * TEXT_KEY_BYTES
    data = np.frombuffer(array.buffers()[1], np.uint8)[start : start + len(array) * TEXT_KEY_BYTES]
    return data.reshape(len(array), TEXT_KEY_BYTES)


def vectors_in(array: pa.Array, dimensions: int) -> Vectors:
    """The vectors of a `vector` array without nulls: float32, shape (n, dimensions), over the array's memory."""
    flat: Vectors = array.flatten().to_numpy(zero_copy_only=True)
    return flat.reshape(len(array), dimensions)


def as_keys(keys: Sequence[bytes] | KeyBytes) -> list[bytes]:
    """The keys as bytes; an array is uint8 of shape (n, 32), since numpy's own bytes drop trailing zeros.

    Raises:
        ValueError: The array has another shape or type.
    """
    if not isinstance(keys, np.ndarray):
        return list(keys)
    if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != TEXT_KEY_BYTES:
        raise ValueError(f"expected keys as uint8 of shape (n, {TEXT_KEY_BYTES}), got {keys.dtype} {keys.shape}")
    data = keys.tobytes()
    return [data[i : i + TEXT_KEY_BYTES] for i in range(0, len(data), TEXT_KEY_BYTES)]
