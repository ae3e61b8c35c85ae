"""The lake: everything of millrace that lasts, on disk, as Parquet wherever it is data.

What the other components make is kept here and nowhere else: the vectors that were paid for, the chunks that are in
the collection, one row a document in the manifest, the rejects, and what each run did. A file exists under its final
name only when it is whole and durable; nothing is deleted before its replacement is durable; every index is derived
and can be thrown away.

This component knows pyarrow, SQLite and the file system. It must not know where vectors come from, what Milvus is, or
who calls it.
"""

from millrace.tasks.lake.collection.chunk_parts import ROW_LOCATION_COLUMNS, ChunkParts, PartName, row_ranges
from millrace.tasks.lake.collection.delta_table import filter_rows
from millrace.tasks.lake.collection.manifest import Manifest
from millrace.tasks.lake.collection.rejects import Rejects
from millrace.tasks.lake.collection.sidecars import ScratchFiles, Sidecar, Sidecars
from millrace.tasks.lake.history import (
    Evaluation,
    RunFiles,
    RunPages,
    RunRecord,
    RunUsage,
    Timeline,
    new_run_id,
    usage_by_model,
)
from millrace.tasks.lake.lake import Lake
from millrace.tasks.lake.parsed import FOLDER as PARSED_FOLDER
from millrace.tasks.lake.parsed import ParsedFolder
from millrace.tasks.lake.state import LearnedLimitsFile
from millrace.tasks.lake.storage.atomic import Checkpoint, Damage, make_folder, no_checkpoint
from millrace.tasks.lake.storage.lease import Holder, Lease, acquire_lease
from millrace.tasks.lake.storage.location import LakePath, local_folder
from millrace.tasks.lake.storage.object_lease import holder_at
from millrace.tasks.lake.storage.object_path import ObjectPath, ObjectStore
from millrace.tasks.lake.vectors.batch_jobs import TEXTS_SCHEMA as BATCH_TEXTS_SCHEMA
from millrace.tasks.lake.vectors.batch_jobs import BatchJob, BatchJobs, BatchState
from millrace.tasks.lake.vectors.journal import Recovery
from millrace.tasks.lake.vectors.key_index import SeenKeys
from millrace.tasks.lake.vectors.space import SpaceSummary
from millrace.tasks.lake.vectors.store import VectorStore

__all__ = [
    "BATCH_TEXTS_SCHEMA",
    "PARSED_FOLDER",
    "ROW_LOCATION_COLUMNS",
    "BatchJob",
    "BatchJobs",
    "BatchState",
    "Checkpoint",
    "ChunkParts",
    "Damage",
    "Evaluation",
    "Holder",
    "Lake",
    "LakePath",
    "LearnedLimitsFile",
    "Lease",
    "Manifest",
    "ObjectPath",
    "ObjectStore",
    "ParsedFolder",
    "PartName",
    "Recovery",
    "Rejects",
    "RunFiles",
    "RunPages",
    "RunRecord",
    "RunUsage",
    "ScratchFiles",
    "SeenKeys",
    "Sidecar",
    "Sidecars",
    "SpaceSummary",
    "Timeline",
    "VectorStore",
    "acquire_lease",
    "filter_rows",
    "holder_at",
    "local_folder",
    "make_folder",
    "new_run_id",
    "no_checkpoint",
    "row_ranges",
    "usage_by_model",
]
