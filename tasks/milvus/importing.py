"""A collection filled by import: the server reads files by itself, in place of call after call.

Import appends and does not look at what is there (the same ids again are doubled rows), files become visible one after
the other, and a task goes on when the one who began it is killed. So it fills a collection of its own, never loaded
before it is whole, which gets the wanted name at the end: whoever searches finds all of it or nothing, and what is left
of an import that was killed is known by its name, and dropped. Source: Milvus, pkg/proto/milvus.proto (Import,
GetImportState), and seen with 2.3.5.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import pyarrow as pa

from tasks.errors import CollectionError, ConfigurationError
from tasks.milvus.columns import sent_columns
from tasks.milvus.patience import patiently
from tasks.milvus.shape import VECTOR_FIELD, CollectionShape, check_name

T = TypeVar("T")

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


class Importing:
    """A new collection that is being filled by import. A context manager: what is not finished is dropped.

    All methods raise `CollectionError` when the server cannot be reached or refuses; one that is away is waited for.
    """

    def __init__(
        self,
        *,
        uri: str,
        name: str,
        shape: CollectionShape,
        token: str = "",
        tls_ca: str = "",
        timeout_s: float = 30.0,
        wait_s: float = 180.0,
    ) -> None:
        """Begin to make the collection `name`; the other arguments are those of `Collection.open`.

        Raises:
            ConfigurationError: `name` is too long, or this Milvus cannot do what `shape` asks for.
            CollectionError: There is a collection of this name, or the server cannot be reached or refuses.
        """
        from tasks.milvus import schema
        from tasks.milvus.connection import Connection

        self._name, self._making, self.shape, self._wait_s = name, f"{name}{SUFFIX}", shape, wait_s
        check_name(self._making)
        self._connection = Connection(uri=uri, token=token, tls_ca=tls_ca, timeout_s=timeout_s)
        self._is_finished = False
        client = self._connection.client
        try:
            if self._ask("looking for the collection", partial(client.has_collection, name, timeout=timeout_s)):
                raise CollectionError(f"{self._connection.where} has a collection {name!r} already")
            schema.drop(self._connection, self._making)
            schema.ensure(self._connection, self._making, shape, create=True)
            self._ask("releasing the collection", partial(client.release_collection, self._making, timeout=timeout_s))
        except (CollectionError, ConfigurationError):
            self._connection.close()
            raise

    def columns(self, rows: pa.Table) -> pa.Table:
        """The columns of a file, beside `VECTORS`, for rows as `Collection.upsert` takes them."""
        return sent_columns(rows, self.shape)

    def start(self, file: str) -> int:
        """Have the server read the file, by the path that it knows it by; the number of the task."""
        from tasks.milvus.sdk import milvus_pb2

        request = milvus_pb2.ImportRequest(collection_name=self._making, files=[file])
        # Not repeated when the answer is lost: the file would be imported twice.
        reply = self._connection.ask("Import", request, doing="asking for an import")
        return int(reply.tasks[0])

    def state(self, task: int) -> FileState:
        """How far the task is."""
        from tasks.milvus.sdk import common_pb2, milvus_pb2

        request = milvus_pb2.GetImportStateRequest(task=task)
        reply = patiently(
            lambda: self._connection.ask("GetImportState", request, doing="asking how far an import is"),
            wait_s=self._wait_s,
        )
        told = {info.key: info.value for info in reply.infos}
        failed = reply.state in {common_pb2.ImportFailed, common_pb2.ImportFailedAndCleaned}
        percent = told.get("progress_percent", "0")
        return FileState(
            rows=int(reply.row_count),
            percent=int(percent) if percent.isdigit() else 0,
            is_done=reply.state == common_pb2.ImportCompleted,
            failure=(told.get("failed_reason") or "the server gives no reason") if failed else "",
        )

    def finish(self, rows: int) -> None:
        """Give the collection its name, once all of its `rows` rows are there and it can be searched.

        Raises:
            CollectionError: It has another number of rows.
        """
        from tasks.milvus import reader, schema

        client, timeout_s = self._connection.client, self._connection.timeout_s
        schema.load(self._connection, self._making)
        found = patiently(partial(reader.count_rows, self._connection, self._making), wait_s=self._wait_s)
        if found != rows:
            raise CollectionError(f"{self._connection.where} holds {found:,} rows after importing {rows:,}")
        rename = partial(client.rename_collection, self._making, self._name, timeout=timeout_s)
        self._ask("naming the collection", rename)
        self._is_finished = True

    def close(self) -> None:
        """Let go of the server; what is not finished is dropped, or by the next who begins, where that fails."""
        from tasks.milvus import schema

        try:
            if not self._is_finished:
                schema.drop(self._connection, self._making)
        except CollectionError:  # the failure that led here says more
            pass
        finally:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, doing: str, ask: Callable[[], T]) -> T:
        return patiently(lambda: self._connection.call(doing, ask), wait_s=self._wait_s)
