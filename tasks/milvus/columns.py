"""The columns that are sent of a table of rows, beside the dense vectors."""

import pyarrow as pa
import pyarrow.compute as pc

from tasks.milvus.shape import CONTENT_FIELD, ID_FIELD, METADATA_FIELD, SPARSE_FIELD, CollectionShape
from tasks.records import sparse_bytes

NOTHING = sparse_bytes([2**32 - 2], [1.0])
"""What stands for a sparse vector without entries, which Milvus Lite refuses: a word that no text has, since it is the
highest index there may be. A text without words still is a row that its dense vector finds."""


def sent_columns(rows: pa.Table, shape: CollectionShape) -> pa.Table:
    """The columns of `rows` that a collection of this shape is sent, in the order of its fields.

    Raises:
        ValueError: `rows` lacks one.
    """
    names = [ID_FIELD, CONTENT_FIELD, METADATA_FIELD] + [SPARSE_FIELD] * (shape.hybrid == "sparse")
    missing = [name for name in names if name not in rows.column_names]
    if missing:
        message = f"rows of this collection need the columns {', '.join(names)}; {', '.join(missing)} is missing"
        raise ValueError(message)
    sent = rows.select(names)
    if shape.hybrid == "sparse":
        column = sent[SPARSE_FIELD]
        marked = pc.if_else(pc.equal(pc.binary_length(column), 0), pa.scalar(NOTHING, column.type), column)
        sent = sent.set_column(names.index(SPARSE_FIELD), SPARSE_FIELD, marked)
    return sent
