"""Settings to the Milvus room: where the collection is, what it looks like, and who may change it.

When Milvus Lite has grown too large for what it is, and what to do then.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from millrace.configs.settings import Settings
from millrace.flows.wiring.embedding_model import Model
from millrace.flows.wiring.lake_location import state_folder
from millrace.tasks.errors import CollectionError, CollectionMissing
from millrace.tasks.lake import Checkpoint, Lease, acquire_lease, make_folder, no_checkpoint
from millrace.tasks.milvus import (
    Aliases,
    Analyzer,
    BulkImport,
    Collection,
    CollectionShape,
    IndexParam,
    MilvusAddress,
    MilvusFacts,
    Waiting,
    is_lite,
    look_at,
    may_hold,
    one_spelling,
    scalar_fields,
    with_database,
    without_credentials,
)
from millrace.tasks.secrets import read_secret

LITE_ROWS = 50_000
"""Rows of Milvus Lite above which a server is advised.

It is made for one machine and some tens of thousands of rows. Measured with 1,024 dimensions (Milvus Lite 3.2.2, two
cores): rows a second 1,860 on the way to 10,000 rows, 1,280 to 50,000, 750 to 100,000, where a filter on metadata takes
8 s, and the process 1.5 GB of memory.
"""


def outgrown(settings: Settings, rows: int) -> list[str]:
    """What to tell of a collection of so many rows: one sentence, or nothing."""
    if rows <= LITE_ROWS or not is_lite(settings.milvus.uri):
        return []
    return [
        f"Milvus Lite holds {rows:,} rows, and is slow to write and to filter above {LITE_ROWS:,} or so: set "
        "milvus.uri to a Milvus server, and `millrace rebuild` brings all rows there from the lake, without buying "
        "anything"
    ]


def open_collection(
    settings: Settings,
    model: Model,
    *,
    create: bool,
    choose_analyzer: Callable[[], Analyzer] = lambda: "standard",
    environment: Mapping[str, str] | None = None,
    checkpoint: Checkpoint = no_checkpoint,
    waiting: Waiting | None = None,
) -> Collection:
    """The collection of the settings, in the shape that they and the model ask for.

    With `waiting` a server that is away is waited for also when it is connected to.
    `choose_analyzer` is asked for a new collection, where milvus.hybrid is bm25 and milvus.analyzer is auto.
    """
    return Collection.open(
        _address(settings, environment, waiting),
        settings.milvus.collection,
        shape=_shape(settings, model),
        create=create,
        choose_analyzer=choose_analyzer,
        checkpoint=checkpoint,
    )


def open_import(settings: Settings, model: Model, environment: Mapping[str, str] | None = None) -> BulkImport:
    """The import of the collection of the settings, which must not be there yet."""
    return BulkImport(_address(settings, environment), settings.milvus.collection, _shape(settings, model))


def open_aliases(
    settings: Settings, environment: Mapping[str, str] | None = None, waiting: Waiting | None = None
) -> Aliases:
    """The aliases of the Milvus of the settings; `waiting` as of `open_collection`."""
    return Aliases(_address(settings, environment, waiting))


def look_at_milvus(settings: Settings, model: Model, environment: Mapping[str, str] | None = None) -> MilvusFacts:
    """What is at the address of the settings, as it is; nothing is made, loaded or changed."""
    return look_at(_address(settings, environment), settings.milvus.collection, _shape(settings, model))


def drop_collection(settings: Settings, environment: Mapping[str, str] | None = None) -> None:
    """Drop the collection of the settings, whatever its shape."""
    Collection.drop(_address(settings, environment), settings.milvus.collection)


def milvus_is_missing(settings: Settings) -> bool:
    """Whether there is nothing at the path of Milvus Lite; a server is not asked."""
    uri = settings.milvus.uri
    return is_lite(uri) and not Path(one_spelling(uri)).exists()


def collection_is_gone(settings: Settings) -> bool:
    """Whether Milvus Lite has no such collection at its path; a server is not asked."""
    uri = settings.milvus.uri
    return is_lite(uri) and not may_hold(uri, settings.milvus.collection)


def collection_missing(settings: Settings, documents: int, *, emptied: bool = False) -> CollectionMissing:
    """What to tell when the lake knows rows of `documents` documents, and Milvus has no such collection, or no row."""
    milvus = settings.milvus
    missing = "there is no row in" if emptied else "there is no"
    return CollectionMissing(
        f"{missing} collection {milvus.collection} at {without_credentials(milvus.uri)}, though the lake knows "
        f"{documents:,} documents that have rows in it. `millrace rebuild` makes it again from the lake, without "
        "buying anything; if it was moved, correct milvus.uri"
    )


def redacted_uri(settings: Settings) -> str:
    """Where Milvus is, without what it may carry of credentials."""
    return without_credentials(_milvus_uri(settings))


def lease_collection(settings: Settings, environment: Mapping[str, str] | None = None) -> Lease:
    """The lease of the one who changes the rows of the collection, whichever lake they come from.

    For Milvus Lite it lies beside the path. For a server it lies in this user's state folder, and so keeps apart the
    processes of one user on one machine.

    Raises:
        LeaseHeld: Another living process has it.
        LakeError: The lease cannot be written.
    """
    uri, name = _milvus_uri(settings), settings.milvus.collection
    path = collection_lease_path(settings, environment)
    if not is_lite(uri):
        make_folder(path.parent)
    elif not path.parent.is_dir():
        raise CollectionError(
            f"Milvus Lite cannot open {one_spelling(uri)}: there is no folder {path.parent}; make it, or correct "
            "milvus.uri"
        )
    return acquire_lease(path, f"The collection {name} at {without_credentials(uri)}")


def collection_lease_path(settings: Settings, environment: Mapping[str, str] | None = None) -> Path:
    """The file of the lease of `lease_collection`."""
    uri, name = _milvus_uri(settings), settings.milvus.collection
    spelling = one_spelling(uri)
    if is_lite(uri):
        return Path(f"{spelling}.{name}.lease")
    digest = hashlib.sha256(f"{spelling} {name}".encode()).hexdigest()
    return state_folder(environment) / "leases" / f"{digest[:32]}.lease"


def _milvus_uri(settings: Settings) -> str:
    return with_database(settings.milvus.uri, settings.milvus.database)


def _address(
    settings: Settings, environment: Mapping[str, str] | None, waiting: Waiting | None = None
) -> MilvusAddress:
    milvus = settings.milvus
    environment = os.environ if environment is None else environment
    return MilvusAddress(
        _milvus_uri(settings),
        token=read_secret(environment, milvus.token_env),
        tls_ca=milvus.tls_ca,
        timeout_s=milvus.timeout_s,
        wait_s=milvus.wait_s,
        waiting=waiting,
    )


def _shape(settings: Settings, model: Model) -> CollectionShape:
    milvus = settings.milvus
    return CollectionShape(
        dimensions=model.space.dimensions,
        content_max_bytes=milvus.content_max_bytes,
        metric=milvus.metric,
        index=milvus.index,
        index_params=_index_params(settings),
        search_params=_search_params(settings),
        hybrid=milvus.hybrid,
        analyzer=milvus.analyzer,
        scalar_fields=scalar_fields(milvus.scalar_fields, partition_key=milvus.partition_key),
        partition_key=milvus.partition_key,
        lite_flat_rows=milvus.lite_flat_rows,
    )


def _index_params(settings: Settings) -> tuple[IndexParam, ...]:
    milvus = settings.milvus
    if milvus.index == "HNSW":
        return (("M", milvus.hnsw_m), ("efConstruction", milvus.hnsw_ef_construction))
    return (("nlist", milvus.ivf_nlist),) if milvus.index == "IVF_FLAT" else ()


def _search_params(settings: Settings) -> tuple[IndexParam, ...]:
    """What the settings say of searching the index; 0 leaves it to the number of rows asked for."""
    milvus = settings.milvus
    name, value = {
        "HNSW": ("ef", milvus.hnsw_ef),
        "IVF_FLAT": ("nprobe", milvus.ivf_nprobe),
        "DISKANN": ("search_list", milvus.diskann_search_list),
    }.get(milvus.index, ("", 0))
    return ((name, value),) if value else ()
