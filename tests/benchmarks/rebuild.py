"""`millrace rebuild` of a large collection into a Milvus server, by upserts and by import, with what the client takes for it.

The lake is made here: rows of 1,024 dimensions and about 500 tokens of text. MILLRACE_BENCH_REBUILD_ROWS is how many; a
tenth of them is rebuilt too, to see whether the client's memory grows with them.
"""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from millrace.configs.settings import load_settings
from millrace.flows.wiring import components
from millrace.tasks.lake import Lake
from millrace.tasks.records import CHUNK_SCHEMA, MANIFEST_SCHEMA, EmbeddingSpace, row_hash
from tests.benchmarks.memory import Watch
from tests.benchmarks.milvus_writes import PART_ROWS, parts
from tests.benchmarks.row import Row
from tests.system.servers.milvus_server import ROOT, MilvusServer

ROWS = int(os.environ.get("MILLRACE_BENCH_REBUILD_ROWS", "20000"))
TOKENS = 500


@dataclass(frozen=True)
class Rebuilt:
    """One rebuild in a process of its own: all of it, start-up included."""

    rows: int
    seconds: float
    cpu_s: float
    peak_mb: float

    def __str__(self) -> str:
        return (
            f"{self.rows / self.seconds:,.0f} rows/s ({self.seconds:.0f} s), {self.cpu_s / self.seconds:.2f} cores, "
            f"{self.peak_mb:,.0f} MB at the peak"
        )


def measure() -> list[Row]:
    """A row for upserts, and one for import."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as text:
        folder = Path(text)
        (folder / "bulk").mkdir()
        for name, rows in (("small", ROWS // 10), ("large", ROWS)):
            _make_lake(folder / name, rows)
        with MilvusServer(folder / "server", as_shipped=True) as server:
            at_server = (f"milvus.uri={server.uri}",)
            small = _rebuild(folder / "small", *at_server, "--into=small")
            large = _rebuild(folder / "large", *at_server, "--into=large")
            bulk = (f"milvus.bulk_path={folder / 'bulk'}", "milvus.bulk_rows=1")
            by_import = _rebuild(folder / "large", *at_server, *bulk, "--into=imported")
    memory = f"memory {large.peak_mb / small.peak_mb:.2f} times that of {small.rows:,} rows"
    return [
        Row(
            f"rebuild into a Milvus server, {ROWS:,} rows, upserts",
            ">= 3,000 rows/s, < 1 core",
            f"{large}; {memory}",
            "",
        ),
        Row(f"the same by import, {ROWS:,} rows", "", str(by_import), ""),
    ]


def _rebuild(lake: Path, *settings: str) -> Rebuilt:
    """`millrace rebuild` in a process of its own."""
    flags = [one for one in settings if one.startswith("--")]
    sets = [part for one in settings if not one.startswith("--") for part in ("--set", one)]
    command = [
        sys.executable,
        "-m",
        "millrace.flows.cli.main",
        "rebuild",
        "--json",
        "--set",
        f"lake.path={lake}",
        *sets,
        *flags,
    ]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=lake.parent, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    watch = Watch(process.pid)
    watch.start()
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    watch.join()
    report = json.loads(output)
    assert status == 0, report
    rows = report["imported" if any("bulk_path" in one for one in settings) else "upserted"]
    assert rows == report["rows"], report["notes"]
    spent = usage.ru_utime + usage.ru_stime
    rebuilt = Rebuilt(rows, time.perf_counter() - began, spent, watch.tree / 1e6)
    print(f"{' '.join(settings)}: {rebuilt}", file=sys.stderr)
    return rebuilt


def _make_lake(path: Path, rows: int) -> None:
    settings = load_settings(environment={})
    space = components.load_model(settings).space
    with Lake.open(path, "documents") as lake, lake.vectors(space) as store:
        job = lake.next_job(rows // PART_ROWS)
        documents = []
        for number, (table, vectors) in enumerate(parts(rows)):
            chunks = _chunks(table, f"/corpus/{number}.md")
            asyncio.run(store.append(chunks["text_key"].to_pylist(), vectors, [TOKENS] * len(vectors)))
            lake.chunks.write(job + number, 0, chunks)
            documents.append(_document(job + number, number, chunks.num_rows, space))
        store.seal()
        lake.manifest.commit(pa.Table.from_pylist(documents, schema=MANIFEST_SCHEMA), "run")
        lake.manifest.fold()
        lake.mark_jobs_committed()


def _chunks(table: pa.Table, source: str) -> pa.Table:
    ids: Sequence[str] = table["id"].to_pylist()
    content, metadata = table["content"].to_pylist(), table["metadata"].to_pylist()
    columns = {
        "id": ids,
        "source": [source] * len(ids),
        "content": content,
        "text_key": [hashlib.sha256(one.encode()).digest() for one in ids],
        "tokens": [TOKENS] * len(ids),
        "metadata": metadata,
        "row_hash": [row_hash(*both) for both in zip(content, metadata, strict=True)],
    }
    return pa.table(columns, schema=CHUNK_SCHEMA)


def _document(job: int, number: int, chunks: int, space: EmbeddingSpace) -> dict[str, object]:
    return {
        "source": f"/corpus/{number}.md", "path": f"/corpus/{number}.md", "size_bytes": 1, "mtime_ns": 1,
        "file_hash": "", "document_hash": "", "fingerprint": "bench", "space": space.name, "status": "live",
        "job": job, "part_first": 0, "part_last": 0, "chunks": chunks, "tokens": chunks * TOKENS, "rejects": 0,
        "run": "run",
    }  # fmt: skip
