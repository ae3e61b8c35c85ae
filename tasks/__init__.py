"""Stages and rooms: everything that turns documents into rows of a collection.

The stages (`scan`, `chunk`, `embed`, `load`) join the rooms; the rooms (`documents`, `chunking`, `embedding`, `lake`,
`milvus`) know only `records` and `errors`, never each other, Prefect or the terminal.
"""

import os

# Read once, when Arrow is imported, and so set before any module of ours imports it. Arrow's own allocator keeps what
# threads free that come and go, 50 MB and more a process. `pyarrow.set_memory_pool` would be too late: Parquet and what
# else Arrow does by itself stay with the first one. A choice of the user's stands.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
