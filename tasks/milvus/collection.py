"""The collection as the stages use it: writes, reads, waits for a server that is away, and closes.

Several calls to a server are in flight at once, and none is left behind when one of them fails.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import pyarrow as pa

from millrace.tasks.errors import CollectionError, CollectionMissing, ConfigurationError
from millrace.tasks.milvus.address import MilvusAddress, is_lite, one_spelling
from millrace.tasks.milvus.collection_spec import CONTENT_FIELD, Analyzer, CollectionShape, check_name
from millrace.tasks.milvus.errors import CollectionNotLoaded
from millrace.tasks.milvus.rows import Hit, StoredRow, Vectors, row_columns

if TYPE_CHECKING:
    from millrace.tasks.milvus.client.connection import Connection


MAX_IN_FLIGHT = 4
"""Calls to a server at once: two already keep it busy while the next are packed; more make a restart dearer."""


def run_concurrently(calls: Iterable[Callable[[], object]], threads: Executor, *, at_once: int) -> Iterator[None]:
    """Once for each of `calls`, in their order, when it has returned; at most `at_once` are under way.

    Raises what a call raises, when those under way beside it have ended too; no further ones are begun.
    """
    under_way: deque[Future[object]] = deque()
    try:
        for call in calls:
            if len(under_way) == at_once:
                under_way.popleft().result()
                yield
            under_way.append(threads.submit(call))
        while under_way:
            under_way.popleft().result()
            yield
    finally:
        wait(under_way)


T = TypeVar("T")


class Collection:
    """An open Milvus collection. Use it as a context manager, or `close` it.

    Calls to a server that is away are repeated as long as its address says. All methods raise `CollectionError` when
    Milvus cannot be reached or refuses.
    """

    def __init__(
        self,
        connection: "Connection",
        name: str,
        shape: CollectionShape,
        *,
        nullable: frozenset[str],
        analyzer: str = "",
        checkpoint: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Wrap what `open` has connected and checked.

        `nullable` names the fields that take null; `analyzer` is what cuts contents into words, "" for nothing.
        """
        self._connection = connection
        self._checkpoint = checkpoint
        self._nullable = nullable
        self._threads = ThreadPoolExecutor(MAX_IN_FLIGHT, thread_name_prefix="milvus")
        self.name = name
        self.shape = shape
        self.analyzer = analyzer
        self.is_lite = connection.is_lite

    @classmethod
    def open(
        cls,
        address: MilvusAddress,
        name: str,
        *,
        shape: CollectionShape | None = None,
        create: bool = True,
        choose_analyzer: Callable[[], Analyzer] = lambda: "standard",
        checkpoint: Callable[[str], None] = lambda _: None,
    ) -> Self:
        """The collection `name`, ready to write, read and search; made if it is missing and `create` is true.

        Opening fails within about 10 seconds if the server does not answer; only later calls wait for a server.
        `checkpoint` hears of each call that changed something and was acknowledged: "upserted", "deleted" or "marked".
        `choose_analyzer` is asked where the shape leaves the analyzer of a new collection open.

        Raises:
            ConfigurationError: The address or the name is invalid, or this Milvus cannot do what `shape` asks for.
            CollectionError: Milvus cannot be opened or reached, or the collection has another shape (listed field by
                field).
            CollectionMissing: It is missing and `create` is false; nothing was made.
        """
        from millrace.tasks.milvus import schema
        from millrace.tasks.milvus.client.connection import Connection

        shape = shape or CollectionShape()
        check_name(name)
        uri = address.uri
        if not create and is_lite(uri) and not Path(one_spelling(uri)).exists():
            message = (
                f"Milvus Lite has nothing at {one_spelling(uri)}: run `millrace ingest` first, or correct milvus.uri"
            )
            raise CollectionMissing(message)
        connection = Connection(address)
        try:
            fields = schema.ensure(connection, name, shape, create=create, choose_analyzer=choose_analyzer)
        except (CollectionError, ConfigurationError):
            connection.close()
            raise
        nullable = frozenset(field.name for field in fields.values() if field.optional)
        analyzer = fields[CONTENT_FIELD].analyzer
        return cls(connection, name, shape, nullable=nullable, analyzer=analyzer, checkpoint=checkpoint)

    @staticmethod
    def drop(address: MilvusAddress, name: str) -> None:
        """Leaves no collection `name`, whatever its shape; one that is not there is no error. Raises as `open` does."""
        from millrace.tasks.milvus import schema
        from millrace.tasks.milvus.client.connection import Connection

        check_name(name)
        connection = Connection(address)
        try:
            schema.drop(connection, name)
        finally:
            connection.close()

    def upsert(self, rows: pa.Table, vectors: Vectors) -> int:
        """The number of rows, all of them acknowledged; each replaces the row that had its id.

        `rows` has the columns id, content and metadata (JSON strings), and sparse where the shape has it from rows;
        others are ignored. `vectors`: float32, shape (len(rows), dimensions), vector i belongs to row i.
        `check_rows` says beforehand which rows Milvus would refuse.
        """
        from millrace.tasks.milvus import writer

        rows = row_columns(rows, self.shape, self._nullable)

        def send(start: int, end: int) -> int:
            part = rows.slice(start, end - start)
            return self._ask(lambda: writer.upsert_call(self._connection, self.name, part, vectors[start:end]))

        # Milvus Lite takes one call after the other anyway.
        at_once = 1 if self.is_lite else MAX_IN_FLIGHT
        calls = (partial(send, start, end) for start, end in writer.upsert_calls(rows, vectors))
        for _ in run_concurrently(calls, self._threads, at_once=at_once):
            self._checkpoint("upserted")
        return int(rows.num_rows)

    def delete(self, ids: Sequence[str]) -> None:
        """Leaves none of `ids` in the collection; an id that is not there is no error."""
        from millrace.tasks.milvus import writer

        for batch in _batches(ids, writer.MAX_CALL_IDS):
            self._ask(partial(writer.delete_ids, self._connection, self.name, batch))
            self._checkpoint("deleted")

    def present(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that have a row."""
        from millrace.tasks.milvus import reader

        found: set[str] = set()
        for batch in _batches(ids, reader.MAX_CALL_ROWS):
            rows = self._ask(partial(reader.query_ids, self._connection, self.name, batch, ["id"]))
            found.update(row["id"] for row in rows)
        return found

    def fetch(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[StoredRow]:
        """The rows of `ids` that are there, in the order of `ids`."""
        from millrace.tasks.milvus import reader

        found: list[StoredRow] = []
        for batch in _batches(ids, reader.MAX_CALL_ROWS):
            found += self._ask(
                partial(reader.fetch_rows, self._connection, self.name, self.shape, batch, with_vectors=with_vectors)
            )
        return found

    def ids(self) -> Iterator[list[str]]:
        """Every id in the collection, once, in batches and no order."""
        from millrace.tasks.milvus import reader

        return reader.all_ids(self._connection, self.name)

    def count(self, ids: Sequence[str] | None = None) -> int:
        """The number of rows, or of rows with one of `ids`, of which a server can hold several to an id."""
        from millrace.tasks.milvus import reader, writer

        if ids is None:
            return self._ask(lambda: reader.count_rows(self._connection, self.name))
        conditions = (writer.id_filter(batch) for batch in _batches(ids, reader.MAX_CALL_ROWS))
        return sum(
            self._ask(partial(reader.count_rows, self._connection, self.name, condition)) for condition in conditions
        )

    def search(self, vector: Vectors, *, top_k: int, filter: str = "") -> list[Hit]:  # noqa: A002
        """At most `top_k` rows nearest to `vector` (float32, shape (dimensions,)), the best first.

        `filter` is a Milvus expression, e.g. `metadata["page_start"] <= 3`.

        Raises:
            ConfigurationError: Milvus cannot make sense of `filter`.
            ValueError: `vector` has another shape, is all zeros, or is not finite.
        """
        from millrace.tasks.milvus import reader

        return self._ask(
            lambda: reader.search_rows(self._connection, self.name, self.shape, vector, top_k=top_k, condition=filter)
        )

    def hybrid_search(
        self,
        vector: Vectors,
        *,
        top_k: int,
        filter: str = "",  # noqa: A002
        sparse: bytes | None = None,
        text: str = "",
        rrf_k: int = 60,
    ) -> list[Hit]:
        """At most `top_k` rows that are near to `vector` or share words with the query, the best first.

        The two rankings are fused: a row's score is the sum of 1 / (`rrf_k` + its rank) over those it is in. The words
        are those of `sparse` (as `records.sparse_bytes` makes them) or of `text`, as `shape.hybrid` asks for. A code in
        `text`, such as a part number, brings the rows that hold it whole before the others.

        Raises:
            ConfigurationError: the collection has no words to search, or Milvus cannot make sense of `filter`.
            ValueError: `vector` cannot be searched with, or the words are missing.
        """
        from millrace.tasks.milvus import hybrid

        words = hybrid.words_of(self.shape, sparse, text)
        return self._ask(
            lambda: hybrid.search_rows(
                self._connection,
                self.name,
                self.shape,
                vector,
                words,
                text=text,
                top_k=top_k,
                condition=filter,
                rrf_k=rrf_k,
            )
        )

    def settle_index(self) -> str:
        """The kind of the index of `embedding`; to be asked by who has written, when it is done.

        On Milvus Lite, which holds FLAT until then, the index of the shape is built here when there are as many rows as
        it says. That takes about a millisecond a row, and other users of this process wait.
        """
        from millrace.tasks.milvus import schema

        return schema.settle_index(self._connection, self.name, self.shape)

    def owners(self) -> frozenset[str]:
        """The identities of the lakes that fill the collection; empty where none has marked it."""
        from millrace.tasks.milvus.owners import read_owners

        return read_owners(self._connection, self.name)

    def mark_owners(self, owners: Iterable[str]) -> str:
        """Leaves the collection marked as filled by these lakes, and by no others; why it could not be, or ""."""
        from millrace.tasks.milvus.owners import write_owners

        refusal = write_owners(self._connection, self.name, owners)
        if not refusal:
            self._checkpoint("marked")
        return refusal

    def stop_waiting(self) -> None:
        """Have an absent server reported at once from now on, also to a call that waits already; from any thread."""
        self._connection.waiting.stop.set()

    def close(self) -> None:
        """Let go of the server, or of the Milvus Lite path so that another process can open it."""
        self._threads.shutdown()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, ask: Callable[[], T]) -> T:
        """What `ask` returns; the server is waited for, and a collection that was released is loaded again."""
        try:
            return self._connection.retry(ask)
        except CollectionNotLoaded:
            from millrace.tasks.milvus import schema

            schema.load(self._connection, self.name)
            return self._connection.retry(ask)


def _batches(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
