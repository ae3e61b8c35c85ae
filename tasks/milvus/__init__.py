"""Rows into the collection and back: the schema, the writer and the reader of one Milvus collection.

This room alone names pymilvus and milvus-lite; it knows rows and vectors, not documents, settings or files of the lake.
Importing it is cheap: pymilvus itself is imported by the first `Collection.open`.
"""

from millrace.tasks.milvus.address import (
    MilvusAddress,
    Waiting,
    is_lite,
    one_spelling,
    with_database,
    without_credentials,
)
from millrace.tasks.milvus.aliases import Aliases
from millrace.tasks.milvus.bulk_import import BulkImport, FileState
from millrace.tasks.milvus.client.lite import may_hold
from millrace.tasks.milvus.collection import Collection
from millrace.tasks.milvus.collection_spec import (
    Analyzer,
    CollectionShape,
    IndexParam,
    analyzer_for,
    why_words_are_not_found,
)
from millrace.tasks.milvus.facts import MilvusFacts, look_at
from millrace.tasks.milvus.rows import Hit, StoredRow, check_metadata, check_rows
from millrace.tasks.milvus.scalar_fields import scalar_fields

__all__ = [
    "Aliases",
    "Analyzer",
    "BulkImport",
    "Collection",
    "CollectionShape",
    "FileState",
    "Hit",
    "IndexParam",
    "MilvusAddress",
    "MilvusFacts",
    "StoredRow",
    "Waiting",
    "analyzer_for",
    "check_metadata",
    "check_rows",
    "is_lite",
    "look_at",
    "may_hold",
    "one_spelling",
    "scalar_fields",
    "why_words_are_not_found",
    "with_database",
    "without_credentials",
]
