"""Vectors as Arrow batches: text key, vector, tokens, in some spaces a sparse vector; never as Python lists."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millrace.tasks.records import SPARSE_PAIR, TEXT_KEY_BYTES, EmbeddingSpace

Vectors = npt.NDArray[np.float32]
KeyBytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Layout:
    """The columns of journals and parts: of every text a vector of `dimensions`, and with `sparse` a sparse one."""

    dimensions: int
    sparse: bool = False

    @classmethod
    def of(cls, space: EmbeddingSpace) -> Self:
        """The layout of a space's journals and parts."""
        return cls(space.dimensions, space.sparse)

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns.

        The list type costs 2 microseconds a vector more to read than bytes would, and every Parquet reader knows it.
        """
        item = pa.field("item", pa.float32(), nullable=False)
        fields = [
            pa.field("text_key", pa.binary(TEXT_KEY_BYTES), nullable=False),
            pa.field("vector", pa.list_(item, self.dimensions), nullable=False),
            pa.field("tokens", pa.int32(), nullable=False),
        ]
        if self.sparse:
            fields.append(pa.field("sparse", pa.binary(), nullable=False))
        return pa.schema(fields)

    def batch(
        self, keys: Sequence[bytes], vectors: Vectors, tokens: Sequence[int], sparse: Sequence[bytes] | None = None
    ) -> pa.RecordBatch:
        """One batch over the memory of `vectors`.

        Args:
            keys: 32 bytes each.
            vectors: float32, shape (n, dimensions); row i belongs to keys[i].
            tokens: What was billed for each.
            sparse: As `records.sparse_bytes` makes them, one a key; None where the layout has none.

        Raises:
            ValueError: Shapes or types do not fit together.
        """
        n = len(keys)
        if vectors.dtype != np.float32 or vectors.shape != (n, self.dimensions) or len(tokens) != n:
            raise ValueError(
                f"expected {n} float32 vectors of {self.dimensions} dimensions and {n} token counts,"
                f" got {vectors.dtype} {vectors.shape} and {len(tokens)}"
            )
        joined = b"".join(keys)
        if len(joined) != n * TEXT_KEY_BYTES or any(len(key) != TEXT_KEY_BYTES for key in keys):
            raise ValueError(f"a text key is {TEXT_KEY_BYTES} bytes")
        values = pa.array(np.ascontiguousarray(vectors).reshape(-1))
        columns = [
            pa.FixedSizeBinaryArray.from_buffers(self.schema.field(0).type, n, [None, pa.py_buffer(joined)]),
            pa.FixedSizeListArray.from_arrays(values, type=self.schema.field(1).type),
            pa.array(np.asarray(tokens, dtype=np.int32)),
        ]
        if self.sparse or sparse is not None:
            columns.append(self._sparse_column(sparse, n))
        return pa.record_batch(columns, schema=self.schema)

    def _sparse_column(self, sparse: Sequence[bytes] | None, n: int) -> pa.Array:
        if not self.sparse:
            raise ValueError("sparse vectors came for a space that has none")
        if sparse is None or len(sparse) != n:
            raise ValueError(f"expected {n} sparse vectors, got {'none' if sparse is None else len(sparse)}")
        if any(len(vector) % SPARSE_PAIR.itemsize for vector in sparse):
            raise ValueError(f"a sparse vector is entries of {SPARSE_PAIR.itemsize} bytes")
        return pa.array(sparse, pa.binary())


def keys_in(array: pa.Array) -> KeyBytes:
    """The keys of a `text_key` array without nulls: uint8, shape (n, 32), over the array's memory."""
    start = array.offset * TEXT_KEY_BYTES
    data = np.frombuffer(array.buffers()[1], np.uint8)[start : start + len(array) * TEXT_KEY_BYTES]
    return data.reshape(len(array), TEXT_KEY_BYTES)


def vectors_in(array: pa.Array) -> Vectors:
    """The vectors of a `vector` array without nulls: float32, shape (n, dimensions), over the array's memory."""
    flat: Vectors = array.flatten().to_numpy(zero_copy_only=True)
    return flat.reshape(len(array), array.type.list_size)


def crc32(array: pa.Array, before: int = 0) -> int:
    """CRC-32 over the values of a journal's or a part's column without nulls, on top of the checksum `before`."""
    for data in _contents(array):
        before = zlib.crc32(data, before)
    return before


def _contents(array: pa.Array) -> Iterator[memoryview]:
    """The memory that tells two columns of one type apart, whatever they are slices of."""
    if pa.types.is_fixed_size_binary(array.type):
        yield keys_in(array).data
    elif pa.types.is_fixed_size_list(array.type):
        yield vectors_in(array).data
    elif pa.types.is_binary(array.type):
        ends = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
        yield np.ascontiguousarray(ends - ends[0]).data
        if ends[-1] > ends[0]:
            yield memoryview(array.buffers()[2])[int(ends[0]) : int(ends[-1])]
    else:
        yield np.ascontiguousarray(array.to_numpy(zero_copy_only=True)).data


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
