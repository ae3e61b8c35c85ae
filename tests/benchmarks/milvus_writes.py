"""Rows into Milvus: a server and Milvus Lite, beside a bare loop of `MilvusClient.upsert` over the same rows.

Rows have 1,024 dimensions and about 500 tokens of text. MILLRACE_BENCH_ROWS is how many go to the server; Lite and the
bare loops take a tenth.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from millrace.tasks.milvus import Collection, MilvusAddress
from millrace.tasks.milvus.rows import Vectors
from millrace.tasks.records import metadata_json
from tests.benchmarks.row import Row
from tests.flows.prose import english
from tests.system.servers.milvus_server import MilvusServer

ROWS = int(os.environ.get("MILLRACE_BENCH_ROWS", "20000"))
PART_ROWS = 1_000
CALL_ROWS = 500
CHARACTERS = 2_200  # about 500 tokens

Write = Callable[[pa.Table, Vectors], object]


@dataclass(frozen=True)
class Rate:
    """Rows a second, of all and of the last tenth, and how many cores of this process they took."""

    rows_per_s: float
    last_tenth_per_s: float
    cores: float


def measure() -> list[Row]:
    """A row for the server, and one for Milvus Lite."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        with MilvusServer(Path(folder) / "server", as_shipped=True) as server:
            with Collection.open(MilvusAddress(server.uri), "ours") as collection:
                ours = _timed(collection.upsert, ROWS)
                assert collection.count() == ROWS
            with Collection.open(MilvusAddress(server.uri), "bare") as collection:
                bare = _timed(_bare(collection), ROWS // 10)
        rates = {"ours": 0.0, "bare": 0.0}
        for name in ("bare", "ours", "bare", "ours"):
            path = str(Path(folder) / f"{name}-{rates[name]}.db")
            with Collection.open(MilvusAddress(path), "rows") as collection:
                write = collection.upsert if name == "ours" else _bare(collection)
                rates[name] = max(rates[name], _timed(write, ROWS // 10).rows_per_s)
    return [
        Row(
            f"a Milvus server, {ROWS:,} rows",
            ">= 3,000 rows/s sustained, < 1 core",
            f"{ours.rows_per_s:,.0f} rows/s (the last tenth {ours.last_tenth_per_s:,.0f}), {ours.cores:.2f} cores",
            f"{bare.rows_per_s:,.0f} rows/s, {bare.cores:.2f} cores ({ROWS // 10:,} rows)",
        ),
        Row(
            f"Milvus Lite, {ROWS // 10:,} rows",
            ">= 90 % of the bare loop",
            f"{rates['ours']:,.0f} rows/s; {rates['ours'] / rates['bare']:.2f} of the bare loop",
            f"{rates['bare']:,.0f} rows/s",
        ),
    ]


def _timed(write: Write, rows: int) -> Rate:
    """Write that many rows; making them is not counted."""
    spent: list[float] = []
    cores = 0.0
    for table, vectors in parts(rows):
        began, cpu = time.perf_counter(), time.process_time()
        write(table, vectors)
        spent.append(time.perf_counter() - began)
        cores += time.process_time() - cpu
    tenth = spent[-max(1, len(spent) // 10) :]
    return Rate(rows / sum(spent), len(tenth) * PART_ROWS / sum(tenth), cores / sum(spent))


def parts(rows: int) -> Iterator[tuple[pa.Table, Vectors]]:
    """That many rows, in parts: ids and vectors that never repeat, texts that do."""
    vectors = np.random.default_rng(0).standard_normal((PART_ROWS, 1024)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = [english(40, seed=number)[:CHARACTERS] for number in range(PART_ROWS)]
    for part in range(rows // PART_ROWS):
        ids = [hashlib.sha256(f"{part} {number}".encode()).hexdigest() for number in range(PART_ROWS)]
        metadata = [
            metadata_json({"source": f"/corpus/{part}.md", "title": "a title", "chunk_number": number, "tokens": 500})
            for number in range(PART_ROWS)
        ]
        yield pa.table({"id": ids, "content": texts, "metadata": metadata}), np.roll(vectors, part, axis=1)


def _bare(collection: Collection) -> Write:
    """What anybody would write: dictionaries, `MilvusClient.upsert`, one call after the other."""
    client, name = collection._connection.client, collection.name

    def write(table: pa.Table, vectors: Vectors) -> None:
        rows = table.to_pylist()
        for row, vector in zip(rows, vectors, strict=True):
            row["embedding"] = vector
        for start in range(0, len(rows), CALL_ROWS):
            client.upsert(name, rows[start : start + CALL_ROWS])

    return write
