"""The lake: everything of millrace that lasts, on disk, as Parquet wherever it is data.

What the other rooms make is kept here and nowhere else: the vectors that were paid for, the chunks that are in the
collection, one row a document in the manifest, what was refused, and what each run did. A file exists under its final
name only when it is whole and durable; nothing is deleted before its replacement is durable; every index is derived
and can be thrown away.

This room knows pyarrow, SQLite and the file system. It must not know where vectors come from, what Milvus is, or who
asks.
"""

from millrace.tasks.lake.collection.chunk_parts import ROW_LOCATION_COLUMNS, ChunkParts, PartName
from millrace.tasks.lake.collection.delta_table import where
from millrace.tasks.lake.collection.manifest import Manifest
from millrace.tasks.lake.collection.rejects import Rejects
from millrace.tasks.lake.collection.sidecars import ScratchFiles, Sidecar, Sidecars
from millrace.tasks.lake.history import (
    Bill,
    Bills,
    Evaluation,
    Evaluations,
    Reports,
    RunRecord,
    Runs,
    Timeline,
    Timelines,
    new_run_id,
    totals,
)
from millrace.tasks.lake.lake import Lake
from millrace.tasks.lake.state import Limits
from millrace.tasks.lake.storage.atomic import Checkpoint, make_folder, no_checkpoint
from millrace.tasks.lake.storage.lease import Lease, hold
from millrace.tasks.lake.storage.location import LakePath
from millrace.tasks.lake.storage.object_path import ObjectPath, ObjectStore
from millrace.tasks.lake.vectors.journal import Recovery
from millrace.tasks.lake.vectors.key_index import SeenKeys
from millrace.tasks.lake.vectors.part_file import Damage
from millrace.tasks.lake.vectors.space import SpaceSummary
from millrace.tasks.lake.vectors.store import VectorStore

__all__ = [
    "ROW_LOCATION_COLUMNS",
    "Bill",
    "Bills",
    "Checkpoint",
    "ChunkParts",
    "Damage",
    "Evaluation",
    "Evaluations",
    "Lake",
    "LakePath",
    "Lease",
    "Limits",
    "Manifest",
    "ObjectPath",
    "ObjectStore",
    "PartName",
    "Recovery",
    "Rejects",
    "Reports",
    "RunRecord",
    "Runs",
    "ScratchFiles",
    "SeenKeys",
    "Sidecar",
    "Sidecars",
    "SpaceSummary",
    "Timeline",
    "Timelines",
    "VectorStore",
    "hold",
    "make_folder",
    "new_run_id",
    "no_checkpoint",
    "totals",
    "where",
]
