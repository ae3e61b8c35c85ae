"""The lake: everything of millrace that lasts, on disk, as Parquet wherever it is data.

What the other rooms make is kept here and nowhere else: the vectors that were paid for, the chunks that are in the
collection, one row a document in the manifest, what was refused, and what each run did. A file exists under its final
name only when it is whole and durable; nothing is deleted before its replacement is durable; every index is derived
and can be thrown away.

This room knows pyarrow, SQLite and the file system. It must not know where vectors come from, what Milvus is, or who
asks.
"""

from tasks.lake.bills import Bill, Bills, totals
from tasks.lake.chunks import PLACES, ChunkParts, PartName
from tasks.lake.evaluations import Evaluation, Evaluations
from tasks.lake.exports import RowFile
from tasks.lake.lease import Lease, hold
from tasks.lake.ledger import where
from tasks.lake.limits import Limits
from tasks.lake.manifest import Manifest
from tasks.lake.objects import ObjectPath, ObjectStore
from tasks.lake.parts import Damage
from tasks.lake.places import Place
from tasks.lake.rejects import Rejects
from tasks.lake.reports import Reports
from tasks.lake.runs import RunRecord, Runs, new_run_id
from tasks.lake.seen_keys import SeenKeys
from tasks.lake.segments import Recovery
from tasks.lake.slips import Slip, Slips
from tasks.lake.space import SpaceSummary
from tasks.lake.spool import Spool
from tasks.lake.store import Lake
from tasks.lake.timelines import Timeline, Timelines
from tasks.lake.vectors import VectorStore
from tasks.lake.writing import Checkpoint, make_folder, pass_by

__all__ = [
    "PLACES",
    "Bill",
    "Bills",
    "Checkpoint",
    "ChunkParts",
    "Damage",
    "Evaluation",
    "Evaluations",
    "Lake",
    "Lease",
    "Limits",
    "Manifest",
    "ObjectPath",
    "ObjectStore",
    "PartName",
    "Place",
    "Recovery",
    "Rejects",
    "Reports",
    "RowFile",
    "RunRecord",
    "Runs",
    "SeenKeys",
    "Slip",
    "Slips",
    "SpaceSummary",
    "Spool",
    "Timeline",
    "Timelines",
    "VectorStore",
    "hold",
    "make_folder",
    "new_run_id",
    "pass_by",
    "totals",
    "where",
]
