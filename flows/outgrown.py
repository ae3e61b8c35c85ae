"""When Milvus Lite has grown too large for what it is, and what to do then."""

from configs.settings import Settings
from tasks.milvus import is_lite

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
