"""The columns that are sent for a table of rows, beside the dense vectors."""

import pyarrow as pa
import pyarrow.compute as pc

from tasks.milvus.promoted import promoted_columns
from tasks.milvus.shape import CONTENT_FIELD, ID_FIELD, METADATA_FIELD, SPARSE_FIELD, CollectionShape
from tasks.records import sparse_bytes

NOTHING = sparse_bytes([2**32 - 2], [1.0])
"""What stands for a sparse vector without entries, which Milvus Lite refuses: a word that no text has, since it is the
highest index there may be. A text without words still is a row that its dense vector finds."""


def sent_columns(rows: pa.Table, shape: CollectionShape, nullable: frozenset[str] = frozenset()) -> pa.Table:
    """What a collection of this shape is sent for `rows`, in the order of its fields.

    These are columns of `rows`, then those that its metadata fills. A column is nullable if its field is, which
    `nullable` names: on its way the two are told apart.

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
    for field, column in promoted_columns(rows[METADATA_FIELD], shape.scalar_fields, nullable):
        sent = sent.append_column(field, column)
    return sent
