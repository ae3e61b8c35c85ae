"""Failures of Milvus as this project's errors: pymilvus's and gRPC's exceptions end here."""

import re
from typing import Any

from millrace.tasks.errors import CollectionError

_UNAVAILABLE_CODES = frozenset(
    [
        2,  # service unavailable; also pymilvus's own word for "cannot connect"
        3,  # memory limit: the server asks for a pause
        4,  # request limit
        8,  # rate limit
        500,  # a channel is being moved to another node, as after a restart
        501,
        503,
        901,  # a node is gone, and its work not yet taken over
    ]
)
"""Codes that pass by themselves. Source: Milvus, pkg/util/merr/errors.go."""

_NOT_READY = 1
_NOT_LOADED = 101
_CREDENTIALS_CODES = frozenset([1800, 1801, 1802])
_CREDENTIALS_WORDS = re.compile(r"auth check fail|unauthenticated|permission ?denied|invalid token", re.IGNORECASE)


class ServerAway(CollectionError):
    """The server cannot be reached, or cannot work at the moment: worth another try after a wait."""


class CollectionNotLoaded(CollectionError):
    """The collection is there, but released: loading brings it back."""


class CredentialsRefused(CollectionError):
    """The server does not let us in. Its own words, which may repeat the credentials, are not passed on."""


class Refused(CollectionError):
    """The server understood the request and refuses it, e.g. for a filter that does not parse."""


def from_rpc(error: Any, *, doing: str, where: str) -> CollectionError:
    """The `CollectionError` for a `grpc.RpcError`, which is how pymilvus passes on the transport's failures."""
    name = error.code().name
    detail = str(error.details() or name).strip()
    if name == "DEADLINE_EXCEEDED":
        return ServerAway(f"{where} did not answer in time while {doing}; see whether it is alive, or busy")
    if name in {"UNAVAILABLE", "CANCELLED", "ABORTED", "INTERNAL", "UNKNOWN"}:
        return ServerAway(f"{where} cannot be reached while {doing}; see whether it is running ({detail})")
    if name in {"UNAUTHENTICATED", "PERMISSION_DENIED"}:
        return _credentials_refused(doing, where)
    if name == "UNIMPLEMENTED":
        return _not_milvus(doing, where, detail)
    return CollectionError(f"{where} failed while {doing}: {name}: {detail}")


def from_status(code: int, reason: str, *, retriable: bool, doing: str, where: str) -> CollectionError:
    """The `CollectionError` for an error that Milvus, or pymilvus, reports by its code."""
    reason = reason.strip() or "no reason given"
    if code in _CREDENTIALS_CODES or _CREDENTIALS_WORDS.search(reason):
        return _credentials_refused(doing, where)
    if "UNIMPLEMENTED" in reason:
        return _not_milvus(doing, where, reason)
    if code == _NOT_LOADED:
        return CollectionNotLoaded(f"{where}: the collection is not loaded, seen while {doing}")
    if retriable or code in _UNAVAILABLE_CODES or (code == _NOT_READY and "not ready" in reason):
        return ServerAway(f"{where} cannot work at the moment, seen while {doing}: {reason} (code {code})")
    return Refused(f"{where} refused while {doing}: {reason} (code {code})")


def _credentials_refused(doing: str, where: str) -> CredentialsRefused:
    message = (
        f"{where} does not accept the credentials, seen while {doing}; see that the environment variable named by "
        f"milvus.token_env holds a valid token, or user:password"
    )
    return CredentialsRefused(message)


def _not_milvus(doing: str, where: str, detail: str) -> CollectionError:
    message = f"{where} does not speak Milvus ({detail}), seen while {doing}; milvus.uri must name its gRPC port"
    return CollectionError(message)
