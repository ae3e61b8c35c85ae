"""A collection filled by import: the server reads files by itself, in place of call after call.

Import appends and does not look at what is there (the same ids again are doubled rows), files become visible one after
the other, and a task goes on when the one who began it is killed. So it fills a collection of its own, never loaded
before it is whole, which gets the wanted name at the end: a search finds all of it or nothing, and what is left
of an import that was killed is known by its name, and dropped. Source: Milvus, pkg/proto/milvus.proto (Import,
GetImportState), and seen with 2.3.5.
"""

from dataclasses import dataclass
from functools import partial
from typing import Self

import pyarrow as pa

from millrace.tasks.errors import CollectionError, ConfigurationError
from millrace.tasks.milvus.address import MilvusAddress
from millrace.tasks.milvus.collection_spec import VECTOR_FIELD, CollectionShape, check_name
from millrace.tasks.milvus.rows import row_columns

SUFFIX = "__importing"
VECTORS = VECTOR_FIELD
"""The column of the files that holds the vectors, as lists of float32."""


@dataclass(frozen=True, slots=True)
class FileState:
    """How far the import of a file is; `failure` is the server's word where it came to nothing."""

    rows: int
    percent: int
    is_done: bool
    failure: str = ""


class BulkImport:
    """A new collection that is being filled by import. A context manager: what is not finished is dropped.

    All methods raise `CollectionError` when the server cannot be reached or refuses; one that is away is waited for.
    """

    def __init__(self, address: MilvusAddress, name: str, shape: CollectionShape) -> None:
        """Begin to make the collection `name`.

        Raises:
            ConfigurationError: `name` is too long, or this Milvus cannot do what `shape` asks for.
            CollectionError: There is a collection of this name, or the server cannot be reached or refuses.
        """
        from millrace.tasks.milvus import schema
        from millrace.tasks.milvus.client.connection import Connection

        self._name, self._making, self.shape = name, f"{name}{SUFFIX}", shape
        check_name(self._making)
        self._connection = connection = Connection(address)
        self._is_finished = False
        try:
            if connection.request("looking for the collection", connection.client.has_collection, name):
                raise CollectionError(f"{connection.where} has a collection {name!r} already")
            schema.drop(connection, self._making)
            schema.ensure(connection, self._making, shape, create=True)
            connection.request("releasing the collection", connection.client.release_collection, self._making)
        except (CollectionError, ConfigurationError):
            connection.close()
            raise

    def columns(self, rows: pa.Table) -> pa.Table:
        """The columns of a file, beside `VECTORS`, for rows as `Collection.upsert` takes them."""
        return row_columns(rows, self.shape)

    def start(self, file: str) -> int:
        """Have the server read the file, by the path that it knows it by; the number of the task."""
        from millrace.tasks.milvus.client.sdk import milvus_pb2

        request = milvus_pb2.ImportRequest(collection_name=self._making, files=[file])
        # Not repeated when the answer is lost: the file would be imported twice.
        reply = self._connection.ask("Import", request, doing="asking for an import")
        return int(reply.tasks[0])

    def state(self, task: int) -> FileState:
        """How far the task is."""
        from millrace.tasks.milvus.client.sdk import common_pb2, milvus_pb2

        request = milvus_pb2.GetImportStateRequest(task=task)
        reply = self._connection.retry(
            lambda: self._connection.ask("GetImportState", request, doing="asking how far an import is")
        )
        described = {info.key: info.value for info in reply.infos}
        failed = reply.state in {common_pb2.ImportFailed, common_pb2.ImportFailedAndCleaned}
        percent = described.get("progress_percent", "0")
        return FileState(
            rows=int(reply.row_count),
            percent=int(percent) if percent.isdigit() else 0,
            is_done=reply.state == common_pb2.ImportCompleted,
            failure=(described.get("failed_reason") or "the server gives no reason") if failed else "",
        )

    def finish(self, rows: int) -> None:
        """Give the collection its name, once all of its `rows` rows are there and it can be searched.

        Raises:
            CollectionError: It has another number of rows.
        """
        from millrace.tasks.milvus import reader, schema

        connection = self._connection
        schema.load(connection, self._making)
        found = connection.retry(partial(reader.count_rows, connection, self._making))
        if found != rows:
            raise CollectionError(f"{connection.where} holds {found:,} rows after importing {rows:,}")
        connection.request("naming the collection", connection.client.rename_collection, self._making, self._name)
        self._is_finished = True

    def close(self) -> None:
        """Let go of the server; what is not finished is dropped, or by the next who begins, where that fails."""
        from millrace.tasks.milvus import schema

        try:
            if not self._is_finished:
                schema.drop(self._connection, self._making)
        except CollectionError:  # the failure that led here says more
            pass
        finally:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
