"""What is at an address, as it is: the version, and a collection beside the shape that is wanted of it.

Nothing is made, loaded or changed. What the tests have run against is said here, beside what it leaves out.
"""

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from millrace.tasks.milvus.address import MilvusAddress
from millrace.tasks.milvus.collection_spec import CollectionShape, check_name, differences

TESTED_SERVER = "2.3.5"
"""The server that `make test-server` runs."""

_TESTED_LITE = "3.2"
_NEWER = "sparse vectors (milvus.hybrid), BM25, partition keys and null in promoted fields"


@dataclass(frozen=True, slots=True)
class MilvusFacts:
    """A Milvus and one collection in it.

    `version` is the server's word, or the release of Milvus Lite. `untested` says what of it no test has run, "" for
    nothing. `owners` are the identities of the lakes that fill the collection; `differences` are those between it and
    the shape that was asked about, both empty where it is not there.
    """

    version: str
    is_lite: bool
    untested: str
    has_collection: bool
    owners: frozenset[str] = frozenset()
    differences: tuple[str, ...] = ()


def look_at(address: MilvusAddress, name: str, shape: CollectionShape) -> MilvusFacts:
    """The facts. Raises ConfigurationError, CollectionError as `Collection.open`; a server that is away is not awaited.

    Of Milvus Lite the path is opened, which makes it where it is not there.
    """
    from millrace.tasks.milvus import schema
    from millrace.tasks.milvus.client.connection import Connection
    from millrace.tasks.milvus.owners import read_owners

    check_name(name)
    connection = Connection(address)
    connection.wait_s = 0.0
    try:
        client = connection.client
        release = _lite_release() if connection.is_lite else connection.request("asking", client.get_server_version)
        found = bool(connection.request("looking for the collection", client.has_collection, name))
        fields = schema.fields_of(connection, name) if found else ()
        indexes = schema.indexes_of(connection, name) if found else {}
        owners = read_owners(connection, name) if found else frozenset[str]()
    finally:
        connection.close()
    return MilvusFacts(
        version=str(release),
        is_lite=connection.is_lite,
        untested=untested(str(release), is_lite=connection.is_lite),
        has_collection=found,
        owners=owners,
        differences=tuple(differences(shape, fields, indexes, is_lite=connection.is_lite)) if found else (),
    )


def untested(release: str, *, is_lite: bool) -> str:
    """What of a Milvus of this version no test of millrace has run; "" for nothing.

    >>> untested("v2.3.5", is_lite=False), untested("3.2.4", is_lite=True)
    ('', '')
    """
    if is_lite:
        return "" if release.startswith(f"{_TESTED_LITE}.") else f"the tests ran with Milvus Lite {_TESTED_LITE}"
    number = re.match(r"v?(\d+)\.(\d+)", release)
    if number is None:
        return f"this version is not known; the tests ran with a server of version {TESTED_SERVER}"
    if (int(number[1]), int(number[2])) <= (2, 3):
        return "" if number[0].lstrip("v") == "2.3" else f"the tests ran with a server of version {TESTED_SERVER}"
    return f"the tests ran with a server of version {TESTED_SERVER}, so that {_NEWER} were never tried on a server"


def _lite_release() -> str:
    try:
        return version("milvus-lite")
    except PackageNotFoundError:
        return "of unknown version"
