"""What the commands that compare cost by the number of files: memory and CPU at 10,000 files and ten times as many.

`MILLRACE_BENCH_SCALE=10000,100000,1000000` measures a million too, which takes half an hour and 10 GB of disk. The lake
is made directly, one short document a file, with prepared vectors. Milvus is a stand-in that has the rows of the
lake: `python -m tests.benchmarks.scale COMMAND ...` is the command with it. CPU is of all processes of a command,
memory the most that its own process had, libraries and mapped files with it; readers are not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.benchmarks.row import Row

if TYPE_CHECKING:  # Arrow is to be imported by the command, as ever: it settles with which allocator
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from millrace.tasks.lake import Lake, PartName, VectorStore
    from millrace.tasks.milvus import CollectionShape
    from millrace.tasks.milvus.rows import StoredRow

ROOT = Path(__file__).parents[2]
SIZES = [int(size) for size in os.environ.get("MILLRACE_BENCH_SCALE", "10000,100000").split(",")]
A_FOLDER, A_REQUEST, DIMENSIONS = 1_000, 64, 1_024
MOST_READ = 100_000
"""Of more files the first plan, which reads them all, is not measured: its cost is that of reading."""

COMMANDS = ("plan", "ingest", "verify", "status")


@dataclass(frozen=True)
class Cost:
    """CPU seconds of all processes of a command, and bytes at most of its own."""

    cpu_s: float
    peak: int


def measure() -> list[Row]:
    """One row a command: nothing changed, one document changed, and the first plan."""
    costs: dict[str, list[Cost]] = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory(prefix="millrace-bench-") as name:
            corpus = Corpus(Path(name), size)
            corpus.make()
            for what, cost in corpus.costs():
                costs.setdefault(what, []).append(cost)
    return [
        Row(
            f"{what}, at {' / '.join(f'{size:,}' for size in SIZES[: len(of)])} files",
            _target(what),
            _figure(of),
            ratio=_ratio(of),
        )
        for what, of in costs.items()
    ]


def _target(what: str) -> str:
    return "memory <= 1.15 times" + (", <= 12 us more a file" if what.startswith(("plan", "ingest, nothing")) else "")


def _figure(costs: list[Cost]) -> str:
    each = (f"{cost.cpu_s:,.1f} s, {cost.peak / 1e6:,.0f} MB" for cost in costs)
    files = SIZES[len(costs) - 1] - SIZES[0]
    more = (costs[-1].cpu_s - costs[0].cpu_s) / files * 1e6 if files else 0.0
    return f"{' / '.join(each)}; {more:,.1f} us of CPU more for each file more"


def _ratio(costs: list[Cost]) -> str:
    return f"{max(cost.peak for cost in costs) / costs[0].peak:.2f}"


@dataclass(frozen=True)
class Corpus:
    """Files and the lake that knows them, below `folder`."""

    folder: Path
    size: int

    @property
    def files(self) -> Path:
        return self.folder / "corpus"

    def assignments(self) -> list[str]:
        return [
            *(f"lake.path={self.folder / 'lake'}", "milvus.uri=http://127.0.0.1:9"),
            *("embedding.provider=local",),
        ]

    def costs(self) -> Iterator[tuple[str, Cost]]:
        """What each command takes."""
        for command in COMMANDS:
            yield f"{command}, nothing changed", self.run(command)
        (self.files / "0000" / "000500.txt").write_text("Another text than the one that was here before.")
        yield "ingest, one changed", self.run("ingest")
        if self.size <= MOST_READ:
            yield "first plan", self.run("plan", "--set", "milvus.collection=other")

    def run(self, command: str, *more: str) -> Cost:
        """Run the command over the corpus."""
        sources = [] if command == "status" else [str(self.files)]
        sets = [part for each in self.assignments() for part in ("--set", each)]
        words = [sys.executable, "-m", "tests.benchmarks.scale", command, *sources, *sets, *more]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "PYTHONPATH": os.pathsep.join(sys.path)}
        environment |= {"MILLRACE_BENCH_LAKE": str(self.folder / "lake"), "MILLRACE_BENCH_ROWS": str(self.size)}
        before = _children_s()
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        ) as running:
            watch = _Watch(running.pid)
            watch.start()
            out, err = running.communicate()
            watch.join()
        assert running.returncode == 0, (command, out[-2_000:], err[-2_000:])
        return Cost(_children_s() - before, watch.peak)

    def make(self) -> None:
        """Write the files, and the lake as an ingest of them leaves it."""
        from millrace.configs.settings import load_settings
        from millrace.flows.wiring.components import fingerprint, load_model
        from millrace.tasks.lake import Lake

        settings = load_settings(overrides=self.assignments(), environment={})
        model = load_model(settings)
        with Lake.open(self.folder / "lake", "documents") as lake:
            store = lake.vectors(model.space)
            for job in range(1, self.size // A_FOLDER + 1):
                self._make_part(lake, store, job, fingerprint(settings, model))
            store.compact()
            store.close()
            lake.manifest.fold()
            lake.next_job(self.size // A_FOLDER)
            lake.mark_jobs_committed()

    def _make_part(self, lake: Lake, store: VectorStore, job: int, fingerprint: str) -> None:
        from millrace.tasks.records import MANIFEST_SCHEMA, Chunk, chunk_table

        folder = self.files / f"{job - 1:04d}"
        folder.mkdir(parents=True)
        chunks, rows = [], []
        for number in range(A_FOLDER):
            path = folder / f"{number:06d}.txt"
            text = f"Passage {number} of folder {job}: the sluice is opened at dawn, and the wheel turns until dusk."
            path.write_text(text)
            stat, digest = path.stat(), hashlib.sha256(text.encode()).hexdigest()
            chunks.append(Chunk(digest, str(path), text, 20, 0, 0, len(text), None, None, (), digest, path.stem, {}))
            rows.append(
                {"source": str(path), "path": str(path), "size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns,
                 "file_hash": digest, "document_hash": digest, "fingerprint": fingerprint, "space": store.space.name,
                 "status": "live", "job": job, "part_first": 0, "part_last": 0, "chunks": 1, "tokens": 20,
                 "rejects": 0, "run": "20261121T000000.000Z-000000", "ctime_ns": stat.st_ctime_ns,
                 "inode": stat.st_ino}
            )  # fmt: skip
        import pyarrow as pa

        table = chunk_table(chunks)
        lake.chunks.write(job, 0, table)
        keys = table["text_key"].to_pylist()
        asyncio.run(_append(store, keys))
        lake.manifest.commit(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), f"job-{job}")


async def _append(store: VectorStore, keys: list[bytes]) -> None:
    requests = [keys[i : i + A_REQUEST] for i in range(0, len(keys), A_REQUEST)]
    await asyncio.gather(*(store.append(some, _vectors(some), [20] * len(some)) for some in requests))


def _vectors(keys: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """The vectors that the lake has of these texts."""
    import numpy as np

    return np.frombuffer(b"".join(key * 32 for key in keys), np.uint8).astype(np.float32).reshape(-1, DIMENSIONS)


class _Watch(threading.Thread):
    """Asks the system for the peak of a process until it is gone.

    `ru_maxrss` of a process that has ended would include what its parent had when it was started.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self.peak = 0

    def run(self) -> None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            while peak := re.search(r"VmHWM:\s*(\d+) kB", self._status.read_text()):
                self.peak = max(self.peak, int(peak[1]) * 1024)
                time.sleep(0.02)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class LakeRows:
    """Stands for a `Collection` that holds the rows of the lake; they are asked for in the order of its parts."""

    def __init__(self, shape: CollectionShape) -> None:
        from millrace.tasks.lake import Lake

        self.shape, self.is_lite = shape, True
        self._lake = Lake.open(Path(os.environ["MILLRACE_BENCH_LAKE"]), "documents", read_only=True)
        self._parts = itertools.cycle(self._lake.chunks.all())
        self._rows: dict[str, StoredRow] = {}

    @classmethod
    def open(cls, *_: object, shape: CollectionShape, **__: object) -> Self:
        return cls(shape)

    def owners(self) -> frozenset[str]:
        return frozenset([self._lake.identity])

    def count(self, ids: Sequence[str] | None = None) -> int:
        return int(os.environ["MILLRACE_BENCH_ROWS"]) if ids is None else len(ids)

    def ids(self) -> Iterator[list[str]]:
        for part in self._lake.chunks.all():
            yield self._lake.chunks.read(*part, part.number, columns=["id"])["id"].to_pylist()

    def fetch(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[StoredRow]:
        del with_vectors  # they are at hand
        while ids[0] not in self._rows:
            self._rows = {row.id: row for row in self._rows_of(next(self._parts))}
        return [self._rows[row_id] for row_id in ids]

    def _rows_of(self, part: PartName) -> Iterator[StoredRow]:
        from millrace.tasks.milvus.rows import StoredRow

        rows = self._lake.chunks.read(*part, part.number)
        vectors = _vectors(rows["text_key"].to_pylist())
        for row, vector in zip(rows.select(["id", "content", "metadata"]).to_pylist(), vectors, strict=True):
            yield StoredRow(row["id"], row["content"], json.loads(row["metadata"]), vector)

    def upsert(self, rows: pa.Table, vectors: npt.NDArray[np.float32]) -> int:
        assert len(vectors) == rows.num_rows
        return int(rows.num_rows)

    def present(self, ids: Sequence[str]) -> set[str]:
        return set(ids)

    def delete(self, ids: Sequence[str]) -> None:
        pass

    def settle_index(self) -> str:
        return "HNSW"

    def stop_waiting(self) -> None:
        pass

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    from millrace.flows.cli.environment import set_variables
    from millrace.flows.cli.main import main

    set_variables()  # as `main` does, before the next line imports Arrow
    from millrace.tasks.stages.memory import configure_allocator

    configure_allocator()
    from millrace.flows.wiring import milvus

    setattr(milvus, "Collection", LakeRows)  # noqa: B010 - it is not exported, and it is replaced on purpose
    main()
