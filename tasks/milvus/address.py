"""The way to a Milvus, and what its URI says: a path for Milvus Lite or a server, and what of it may be shown."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from millrace.tasks.errors import ConfigurationError
from millrace.tasks.outages import Availability

_SERVER_SCHEMES = ("http", "https", "tcp")


@dataclass(frozen=True, slots=True)
class MilvusAddress:
    """Where a Milvus is, how it is entered, and how patiently it is asked.

    `uri`: a path that ends in `.db` for Milvus Lite, else `http://`, `https://` or `tcp://` and a server, with the
    database as its path if it is not the default one. `token`: an API key, or `user:password`. `tls_ca`: a PEM file
    with the authorities to trust in place of the usual ones, for `https://`. `timeout_s` bounds each call. A server
    that is away is waited for during `wait_s` seconds; Milvus Lite never is. With `waiting` so is one that is away when
    it is connected to.
    """

    uri: str
    token: str = field(default="", repr=False)
    tls_ca: str = ""
    timeout_s: float = 30.0
    wait_s: float = 180.0
    waiting: "Waiting | None" = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How one run waits for a server that is away: who hears of it, and what has it given up at once."""

    availability: Availability = field(default_factory=lambda: Availability("milvus"))
    stop: threading.Event = field(default_factory=threading.Event)


def is_lite(uri: str) -> bool:
    """Whether `uri` is a path for Milvus Lite.

    Raises:
        ConfigurationError: it is neither that nor a server's URI.
    """
    if "://" not in uri and uri.endswith(".db"):
        return True
    if _is_server(uri):
        return False
    message = (
        f"milvus.uri: {without_credentials(uri)!r} is neither a Milvus Lite path, which ends in .db, nor the URI of a "
        f"server, as http://host:19530 or https://host"
    )
    raise ConfigurationError(message)


def one_spelling(uri: str) -> str:
    """The same string for the spellings of one address: a path made absolute, a server without its credentials.

    >>> one_spelling("HTTP://root:secret@Milvus.example:19530/") == one_spelling("http://milvus.example:19530")
    True

    Raises:
        ConfigurationError: `uri` is neither a Milvus Lite path nor a server's URI.
    """
    if is_lite(uri):
        return str(Path(uri).expanduser().resolve())
    scheme, _, rest = without_credentials(uri).partition("://")
    authority, _, database = rest.partition("/")
    return f"{scheme.lower()}://{authority.lower()}/{database.rstrip('/')}"


def with_database(uri: str, database: str) -> str:
    """`uri` with `database` as its path, where it names one; "" leaves it as it is.

    >>> with_database("http://milvus.example:19530", "sales")
    'http://milvus.example:19530/sales'

    Raises:
        ConfigurationError: `uri` is that of Milvus Lite, which has no databases, or names another one.
    """
    if not database:
        return uri
    if is_lite(uri):
        message = f"milvus.database = {database}: Milvus Lite has no databases; leave it empty, or use a Milvus server"
        raise ConfigurationError(message)
    scheme, _, rest = uri.partition("://")
    authority, _, path = rest.partition("/")
    if path.strip("/") not in ("", database):
        message = f"milvus.database = {database}, and milvus.uri names another: {without_credentials(uri)}"
        raise ConfigurationError(message)
    return f"{scheme}://{authority}/{database}"


def without_credentials(uri: str) -> str:
    """`uri` without the user and password it may carry, fit to be shown."""
    scheme, mark, rest = uri.rpartition("://")
    authority, slash, path = rest.partition("/")
    return scheme + mark + authority.rpartition("@")[2] + slash + path if mark else uri


def _is_server(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return parts.scheme in _SERVER_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # what urlsplit says of an invalid port or IPv6 address
        return False
