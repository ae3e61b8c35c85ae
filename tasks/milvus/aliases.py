"""Aliases: names that stand for a collection and can be moved to another one in one step, under readers that search."""

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from tasks.errors import CollectionError, CollectionMissing, ConfigurationError
from tasks.milvus.faults import NotLoaded, Refused
from tasks.milvus.patience import patiently
from tasks.milvus.rows import Hit, Vectors
from tasks.milvus.shape import VECTOR_FIELD, CollectionShape, check_name

T = TypeVar("T")


class Aliases:
    """The aliases of one Milvus, and its collections as they are, whatever their shape. A context manager.

    All methods raise `CollectionError` when Milvus cannot be reached or refuses; a server that is away is waited for.
    """

    def __init__(
        self, *, uri: str, token: str = "", tls_ca: str = "", timeout_s: float = 30.0, wait_s: float = 180.0
    ) -> None:
        """Connect; the arguments are those of `Collection.open`, and so is what is raised."""
        from tasks.milvus.connection import Connection

        self._connection = Connection(uri=uri, token=token, tls_ca=tls_ca, timeout_s=timeout_s)
        self._wait_s = 0.0 if self._connection.is_lite else wait_s

    def target(self, alias: str) -> str:
        """The collection that `alias` stands for; "" when there is no such alias."""
        client, timeout_s = self._connection.client, self._connection.timeout_s
        known = self._ask("listing the aliases", lambda: client.list_aliases(timeout=timeout_s))
        if alias not in known["aliases"]:
            return ""
        told = self._ask("asking for the alias", lambda: client.describe_alias(alias, timeout=timeout_s))
        return str(told["collection_name"])

    def exists(self, name: str) -> bool:
        """Whether there is a collection, or an alias, of this name."""
        client, timeout_s = self._connection.client, self._connection.timeout_s
        return bool(self._ask("looking for the collection", lambda: client.has_collection(name, timeout=timeout_s)))

    def point(self, alias: str, name: str) -> None:
        """Leaves `alias` standing for the collection `name`, which is loaded first; moved in one step.

        Raises:
            ConfigurationError: `alias` is no name, or that of a collection.
            CollectionMissing: There is no collection `name`.
        """
        from tasks.milvus import schema

        check_name(alias)
        if not self.exists(name):
            raise CollectionMissing(f"{self._connection.where} has no collection {name!r}")
        stands_for = self.target(alias)
        if not stands_for and self.exists(alias):
            raise ConfigurationError(
                f"milvus.alias: {alias!r} is the name of a collection at {self._connection.where}; an alias needs "
                "another name"
            )
        schema.load(self._connection, name)
        client, timeout_s = self._connection.client, self._connection.timeout_s
        alter = partial(client.alter_alias, name, alias, timeout=timeout_s)
        try:
            if stands_for:
                self._ask("moving the alias", alter)
            else:
                self._make(partial(client.create_alias, name, alias, timeout=timeout_s), alter)
        except CollectionError:
            if self.target(alias) != name:  # it was moved, and only the answer was lost
                raise

    def _make(self, create: Callable[[], object], alter: Callable[[], object]) -> None:
        try:
            self._ask("making the alias", create)
        except Refused:
            # A server keeps the alias of a collection that was dropped: it stands for nothing, and yet is there.
            self._ask("moving the alias", alter)

    def names(self, name: str) -> list[str]:
        """The aliases that stand for the collection `name`, in order."""
        client, timeout_s = self._connection.client, self._connection.timeout_s
        known = self._ask("listing the aliases", lambda: client.list_aliases(name, timeout=timeout_s))
        return sorted(known["aliases"])

    def shape(self, name: str) -> CollectionShape:
        """What it takes to search the collection `name` as it is: the length of its vectors, and their metric."""
        from tasks.milvus import schema

        client, timeout_s = self._connection.client, self._connection.timeout_s
        fields = self._ask("describing the collection", lambda: schema.fields_of(client, name, timeout_s))
        indexes = self._ask("reading the indexes", lambda: schema.indexes_of(client, name, timeout_s))
        index = indexes.get(VECTOR_FIELD)
        dimensions = next((field.size for field in fields if field.name == VECTOR_FIELD), None)
        if index is None or dimensions is None:
            raise CollectionError(f"{self._connection.where}: the collection {name!r} has no indexed {VECTOR_FIELD}")
        return CollectionShape(dimensions=dimensions, metric=index.metric.upper(), index=index.kind)  # type: ignore[arg-type] # as Milvus tells them

    def search(self, name: str, shape: CollectionShape, vector: Vectors, *, top_k: int) -> list[Hit]:
        """At most `top_k` rows of the collection or alias `name` nearest to `vector`, the best first."""
        from tasks.milvus import reader, schema

        look = partial(reader.search_rows, self._connection, name, shape, vector, top_k=top_k, condition="")
        try:
            return patiently(look, wait_s=self._wait_s)
        except NotLoaded:
            schema.load(self._connection, name)
            return patiently(look, wait_s=self._wait_s)

    def close(self) -> None:
        """Let go of the server, or of the Milvus Lite path."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, doing: str, ask: Callable[[], T]) -> T:
        return patiently(lambda: self._connection.call(doing, ask), wait_s=self._wait_s)
