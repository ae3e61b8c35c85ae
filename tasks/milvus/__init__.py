"""Rows into the collection and back: the schema, the writer and the reader of one Milvus collection.

This room alone names pymilvus and milvus-lite; it knows rows and vectors, not documents, settings or files of the lake.
Importing it is cheap: pymilvus itself is imported by the first `Collection.open`.
"""

from tasks.milvus.address import MilvusAddress, is_lite, one_spelling, with_database, without_credentials
from tasks.milvus.aliases import Aliases
from tasks.milvus.collection import Collection
from tasks.milvus.importing import FileState, Importing
from tasks.milvus.lite import may_hold
from tasks.milvus.promoted import scalar_fields
from tasks.milvus.rows import Hit, StoredRow, check_rows
from tasks.milvus.shape import CollectionShape, IndexParam

__all__ = [
    "Aliases",
    "Collection",
    "CollectionShape",
    "FileState",
    "Hit",
    "Importing",
    "IndexParam",
    "MilvusAddress",
    "StoredRow",
    "check_rows",
    "is_lite",
    "may_hold",
    "one_spelling",
    "scalar_fields",
    "with_database",
    "without_credentials",
]
