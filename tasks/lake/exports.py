"""Rows with their vectors as a Parquet file for a database to read: not part of the lake, and not made durable."""

from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.lake.writing import disk_errors


class RowFile:
    """The file at `path`, written a group of rows at a time. A context manager.

    Vectors do not compress, and who reads the file once on the same machine gains nothing by the rest: it is plain.
    """

    def __init__(self, path: Path, *, vectors_as: str) -> None:
        """Begin it; `vectors_as` names the column of the vectors."""
        self.path = path
        self.rows = 0
        self._vectors_as = vectors_as
        self._writer: pq.ParquetWriter | None = None

    def add(self, columns: pa.Table, vectors: npt.NDArray[np.float32]) -> None:
        """Write these rows after the others; `vectors`: float32, shape (n, dimensions). Raises LakeError."""
        flat = pa.array(np.ascontiguousarray(vectors).ravel(), pa.float32())
        ends = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
        table = columns.append_column(self._vectors_as, pa.ListArray.from_arrays(pa.array(ends), flat))
        with disk_errors(self.path, "Writing"):
            if self._writer is None:
                self._writer = pq.ParquetWriter(self.path, table.schema, compression="none", use_dictionary=False)
            self._writer.write_table(table)
        self.rows += len(vectors)

    def close(self) -> None:
        """End it; safe to call twice. Raises LakeError."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with disk_errors(self.path, "Writing"):
                writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
