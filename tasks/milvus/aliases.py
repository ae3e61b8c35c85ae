"""Aliases: names that stand for a collection and can be moved to another one in one step, under readers that search."""

from functools import partial
from typing import Self

from millrace.tasks.errors import CollectionError, CollectionMissing, ConfigurationError
from millrace.tasks.milvus.address import MilvusAddress
from millrace.tasks.milvus.collection_spec import VECTOR_FIELD, CollectionShape, check_name
from millrace.tasks.milvus.errors import CollectionNotLoaded, Refused
from millrace.tasks.milvus.rows import Hit, Vectors


class Aliases:
    """The aliases of one Milvus, and its collections as they are, whatever their shape. A context manager.

    All methods raise `CollectionError` when Milvus cannot be reached or refuses; a server that is away is waited for.
    """

    def __init__(self, address: MilvusAddress) -> None:
        """Connect; raises as `Collection.open` does."""
        from millrace.tasks.milvus.client.connection import Connection

        self._connection = Connection(address)

    def target(self, alias: str) -> str:
        """The collection that `alias` stands for; "" when there is no such alias."""
        connection, client = self._connection, self._connection.client
        if alias not in connection.request("listing the aliases", client.list_aliases)["aliases"]:
            return ""
        described = connection.request("asking for the alias", client.describe_alias, alias)
        return str(described["collection_name"])

    def exists(self, name: str) -> bool:
        """Whether there is a collection, or an alias, of this name."""
        return bool(
            self._connection.request("looking for the collection", self._connection.client.has_collection, name)
        )

    def point(self, alias: str, name: str) -> None:
        """Leaves `alias` standing for the collection `name`, which is loaded first; moved in one step.

        Raises:
            ConfigurationError: `alias` is no name, or that of a collection.
            CollectionMissing: There is no collection `name`.
        """
        from millrace.tasks.milvus import schema

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
        try:
            if stands_for:
                self._move(alias, name)
            else:
                self._make(alias, name)
        except CollectionError:
            if self.target(alias) != name:  # it was moved, and only the answer was lost
                raise

    def _move(self, alias: str, name: str) -> None:
        self._connection.request("moving the alias", self._connection.client.alter_alias, name, alias)

    def _make(self, alias: str, name: str) -> None:
        try:
            self._connection.request("making the alias", self._connection.client.create_alias, name, alias)
        except Refused:
            # A server keeps the alias of a collection that was dropped: it stands for nothing, and yet is there.
            self._move(alias, name)

    def names(self, name: str) -> list[str]:
        """The aliases that stand for the collection `name`, in order."""
        known = self._connection.request("listing the aliases", self._connection.client.list_aliases, name)
        return sorted(known["aliases"])

    def count(self, name: str) -> int:
        """The number of rows of the collection `name`, which is loaded for it."""
        from millrace.tasks.milvus import reader, schema

        schema.load(self._connection, name)
        return self._connection.retry(partial(reader.count_rows, self._connection, name))

    def owners(self, name: str) -> frozenset[str]:
        """The identities of the lakes that fill the collection `name`; empty where none has marked it."""
        from millrace.tasks.milvus.owners import read_owners

        return read_owners(self._connection, name)

    def shape(self, name: str) -> CollectionShape:
        """What it takes to search the collection `name` as it is: the length of its vectors, and their metric."""
        from millrace.tasks.milvus import schema

        connection = self._connection
        fields = connection.retry(partial(schema.fields_of, connection, name))
        index = connection.retry(partial(schema.indexes_of, connection, name)).get(VECTOR_FIELD)
        dimensions = next((field.size for field in fields if field.name == VECTOR_FIELD), None)
        if index is None or dimensions is None:
            raise CollectionError(f"{self._connection.where}: the collection {name!r} has no indexed {VECTOR_FIELD}")
        return CollectionShape(dimensions=dimensions, metric=index.metric.upper(), index=index.kind)  # type: ignore[arg-type] # as Milvus tells them

    def search(self, name: str, shape: CollectionShape, vector: Vectors, *, top_k: int) -> list[Hit]:
        """At most `top_k` rows of the collection or alias `name` nearest to `vector`, the best first."""
        from millrace.tasks.milvus import reader, schema

        look = partial(reader.search_rows, self._connection, name, shape, vector, top_k=top_k, condition="")
        try:
            return self._connection.retry(look)
        except CollectionNotLoaded:
            schema.load(self._connection, name)
            return self._connection.retry(look)

    def close(self) -> None:
        """Let go of the server, or of the Milvus Lite path."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
