"""Which lakes fill a collection: a mark among the properties of the collection itself.

Milvus keeps properties that it does not know, gives them back as they are, and leaves the rows alone when they change.
Seen with Milvus Lite 3.2.2 and with the server 2.3.5.
"""

from collections.abc import Iterable

from millrace.tasks.milvus.client.connection import Connection
from millrace.tasks.milvus.errors import CredentialsRefused, Refused

PROPERTY = "millrace.lakes"
"""The identities of the lakes, in order, separated by commas; missing where no lake has marked the collection."""


def read_owners(connection: Connection, name: str) -> frozenset[str]:
    """The identities of the lakes that fill the collection `name`; empty where none has marked it."""
    described = connection.request("describing the collection", connection.client.describe_collection, name)
    return frozenset(filter(None, str((described.get("properties") or {}).get(PROPERTY, "")).split(",")))


def write_owners(connection: Connection, name: str, owners: Iterable[str]) -> str:
    """Leaves the collection `name` marked as filled by these lakes, and by no others; why it could not be, or ""."""
    mark = {PROPERTY: ",".join(sorted(owners))}
    try:
        connection.request("marking the collection", connection.client.alter_collection_properties, name, mark)
    except (Refused, CredentialsRefused) as error:  # whoever may write rows need not be allowed to alter collections
        return str(error)
    return ""
