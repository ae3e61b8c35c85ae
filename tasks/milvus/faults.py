"""Failures of Milvus, told in this project's words. pymilvus's exceptions end here."""

import re
from typing import Any

from tasks.errors import CollectionError

COLLECTION_NOT_FOUND = 100
NOT_LOADED = 101

_CONNECT_FAILED = 2
_RETRIABLE_CODES = frozenset(
    [
        2,  # service unavailable, and pymilvus's own "cannot connect"
        3,  # memory limit: the server asks for a pause
        4,  # request limit
        8,  # rate limit
        500,  # a channel is being moved to another node, as after a restart
        501,
        503,
        901,  # a node is gone and its work not yet taken over
    ]
)
_AUTHENTICATION_CODES = frozenset([1800, 1801, 1802])
_AUTHENTICATION_WORDS = re.compile(r"auth check fail|unauthenticated|permission ?denied|invalid token", re.IGNORECASE)
_LOADING_WORDS = re.compile(r"not ready|not healthy|not fully loaded|no available|not available", re.IGNORECASE)


class ServerAway(CollectionError):
    """The server cannot be reached, or cannot work at the moment: worth another try after a wait."""


class NotLoaded(CollectionError):
    """The collection is there and released: `load_collection` brings it back."""


class Refused(CollectionError):
    """The server understood the request and refuses it, e.g. for a filter that does not parse."""


def from_rpc(error: Any, *, doing: str, where: str) -> CollectionError:
    """The `CollectionError` for a `grpc.RpcError` that pymilvus let through."""
    name = error.code().name
    detail = str(error.details() or "").strip()
    if name == "DEADLINE_EXCEEDED":
        return ServerAway(f"{where} did not answer in time while {doing}; see whether the server is alive, or busy")
    if name in {"UNAVAILABLE", "CANCELLED", "ABORTED", "INTERNAL", "UNKNOWN"}:
        return ServerAway(f"{where} cannot be reached while {doing} ({detail or name}); see whether it is running")
    if name in {"UNAUTHENTICATED", "PERMISSION_DENIED"}:
        return _refused_credentials(where, doing)
    if name == "UNIMPLEMENTED":
        message = f"{where} does not speak Milvus ({detail or name}); milvus.uri must name its gRPC port, usually 19530"
        return CollectionError(message)
    return CollectionError(f"{where} failed while {doing}: {name} {detail}".rstrip())


def from_status(code: int, reason: str, *, retriable: bool, doing: str, where: str) -> CollectionError:
    """The `CollectionError` for an error that Milvus itself reports, by its code."""
    reason = reason.strip()
    if code in _AUTHENTICATION_CODES or _AUTHENTICATION_WORDS.search(reason):
        return _refused_credentials(where, doing)
    if "UNIMPLEMENTED" in reason:
        message = (
            f"{where} does not speak Milvus; milvus.uri must name its gRPC port, usually 19530 (asked while {doing})"
        )
        return CollectionError(message)
    if "DEADLINE_EXCEEDED" in reason or "Retry timeout" in reason:
        return ServerAway(f"{where} did not answer in time while {doing}; see whether the server is alive, or busy")
    if code == _CONNECT_FAILED:
        return ServerAway(f"{where} cannot be reached while {doing}; see whether it is running and milvus.uri is right")
    if code == NOT_LOADED:
        return NotLoaded(f"{where}: the collection is not loaded, found while {doing}")
    if retriable or code in _RETRIABLE_CODES or _LOADING_WORDS.search(reason):
        return ServerAway(f"{where} cannot do its work at the moment, while {doing}: {reason}")
    return Refused(f"{where} refused while {doing}: {reason or 'no reason given'} (code {code})")


def _refused_credentials(where: str, doing: str) -> CollectionError:
    message = (
        f"{where} does not accept the credentials, while {doing}; see that the environment variable named by "
        f"milvus.token_env holds a valid token, or user:password"
    )
    return CollectionError(message)
