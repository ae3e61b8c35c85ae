"""What a chunk costs the lake while it grows from 1,000 chunks on: the manifest, the vectors, the parts, the rejects.

Vectors are prepared and short, because what may grow is what is looked up; neither a provider nor Milvus is asked.
`MILLRACE_BENCH_GROWTH=100000` stops earlier; a million takes a minute and a half. Of CPU, since the time of an fsync is
the disk's.
"""

import asyncio
import hashlib
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from millrace.configs.settings import load_settings
from millrace.flows.commands.status import lake_status
from millrace.tasks.embedding import Vectors
from millrace.tasks.lake import Lake, VectorStore
from millrace.tasks.records import MANIFEST_SCHEMA, Chunk, EmbeddingSpace, Reject, chunk_table, reject_table, text_key
from millrace.tasks.stages.scan import scan
from tests.benchmarks.row import Row

SPACE = EmbeddingSpace("growth", "prepared", 64)
LARGEST = int(os.environ.get("MILLRACE_BENCH_GROWTH", "1000000"))
PART, CHUNKS_A_DOCUMENT, TEXTS_A_REQUEST = 1_000, 10, 10
WINDOW = 20_000
"""Each cost is the mean over so many chunks, or all when there are fewer."""

T = TypeVar("T")
Costs = Mapping[str, float]
"""Microseconds a chunk, by what was done."""


@dataclass(frozen=True)
class Step:
    """The costs at `chunks` chunks: of the last that were added, and of what is done once a run for all."""

    chunks: int
    adding: Costs
    whole: Costs


def measure() -> list[Row]:
    """One row for what is done with each chunk, and one for what is done once a run: CPU a chunk at each size."""
    steps = list(grown(LARGEST))
    sizes = " / ".join(f"{step.chunks:,}" for step in steps)
    return [
        Row(
            f"lake and manifest at {sizes} chunks: adding one (look up, journal, write, read, rejects, manifest)",
            "constant",
            _sums([step.adding for step in steps]),
        ),
        Row(
            f"the same: once a run (seal, fold, scan {CHUNKS_A_DOCUMENT} chunks a file, open, status), by chunks",
            "constant or falling",
            _sums([step.whole for step in steps]),
        ),
    ]


def _sums(costs: list[Costs]) -> str:
    """The sum at each size, and the three largest of what it is made of at the last."""
    sums = " / ".join(f"{sum(cost.values()):,.0f}" for cost in costs)
    largest = sorted(costs[-1].items(), key=lambda item: -item[1])[:3]
    return f"{sums} us of CPU ({', '.join(f'{name} {cost:.1f}' for name, cost in largest)})"


def grown(largest: int) -> Iterator[Step]:
    """A lake on its way from 1,000 to `largest` chunks, by tens."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as name:
        growth = _Growth(Path(name))
        size = 1_000
        while size <= largest:
            yield growth.to(size)
            size *= 10


class _Growth:
    def __init__(self, folder: Path) -> None:
        self._corpus, self._path = folder / "corpus", folder / "lake"
        self._corpus.mkdir()
        self._chunks = 0
        self._seconds: dict[str, float] = defaultdict(float)

    def to(self, size: int) -> Step:
        """Add parts until there are `size` chunks, as one run, then do what a run does once."""
        with Lake.open(self._path, "documents") as lake:
            store = lake.vectors(SPACE)
            first = lake.next_job((size - self._chunks) // PART)
            counted = 0
            for job in range(first, first + (size - self._chunks) // PART):
                if size - self._chunks <= WINDOW:
                    counted += PART
                    self._add_part(lake, store, job)
                else:
                    before = dict(self._seconds)
                    self._add_part(lake, store, job)
                    self._seconds = defaultdict(float, before)
            adding, self._seconds = self._per(counted), defaultdict(float)
            self._end_run(lake, store)
            lake.mark_jobs_committed()
        self._next_run()
        whole, self._seconds = self._per(size), defaultdict(float)
        return Step(size, adding, whole)

    def _add_part(self, lake: Lake, store: VectorStore, job: int) -> None:
        first = self._chunks // CHUNKS_A_DOCUMENT
        numbers = range(first, first + PART // CHUNKS_A_DOCUMENT)
        files = [self._write(number) for number in numbers]
        rows = chunk_table([chunk for file in files for chunk in _chunks(file)])
        keys: list[bytes] = rows["text_key"].to_pylist()
        vectors = np.frombuffer(b"".join(key * 8 for key in keys), np.uint8).astype(np.float32).reshape(-1, 256)[:, :64]
        self._timed("write a chunk part", lambda: lake.chunks.write(job, 0, rows))
        missing = self._timed("look up texts that are not there", lambda: store.missing(keys))
        assert len(missing) == PART
        self._timed("journal the vectors, ten at a time", lambda: asyncio.run(_append(store, keys, vectors)))
        self._timed("look up texts that are there", lambda: store.missing(keys))
        self._timed("read the vectors", lambda: store.read(keys))
        self._timed("read a chunk part", lambda: lake.chunks.read(job, 0, 0))
        rejects = reject_table([Reject("read", str(files[0]), "page 1", "blank", "it is blank", "look at it")])
        names = [str(file) for file in files]
        self._timed("replace rejects", lambda: lake.rejects.replace(names, rejects, run="run", name=f"job-{job}"))
        manifest = _manifest(files, job)
        self._timed("commit to the manifest", lambda: lake.manifest.commit(manifest, f"job-{job}"))
        self._chunks += PART

    def _end_run(self, lake: Lake, store: VectorStore) -> None:
        def end_store() -> None:
            store.compact()
            store.close()

        self._timed("seal and compact the vectors", end_store)
        self._timed("fold the manifest", lake.manifest.fold)
        self._timed("fold the rejects", lake.rejects.fold)
        self._timed("look for light and dangling parts", lambda: _tidied(lake))

    def _next_run(self) -> None:
        settings = load_settings(overrides=[f"lake.path={self._path}", "milvus.collection=documents"], environment={})
        lake = self._timed("open the lake", lambda: Lake.open(self._path, "documents"))
        with lake:
            store = self._timed("open the vectors", lambda: lake.vectors(SPACE))
            store.close()
            found = self._timed(
                "scan the corpus, unchanged",
                lambda: scan([self._corpus], lake.manifest, fingerprint="growth"),
            )
            assert (len(found.jobs), found.unchanged.documents) == (0, self._chunks // CHUNKS_A_DOCUMENT)
        status = self._timed("status", lambda: lake_status(settings))
        assert status.chunks == self._chunks

    def _write(self, number: int) -> Path:
        path = self._corpus / f"{number // 1_000:04d}" / f"{number:08d}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(number))
        return path

    def _timed(self, name: str, do: Callable[[], T]) -> T:
        busy = time.process_time()
        try:
            return do()
        finally:
            self._seconds[name] += time.process_time() - busy

    def _per(self, chunks: int) -> Costs:
        return {name: seconds * 1e6 / chunks for name, seconds in self._seconds.items()}


def _tidied(lake: Lake) -> None:
    lake.compact_chunks(part_rows=PART)
    lake.chunks.remove(lake.chunks.dangling(lake.manifest.read()))


def _chunks(file: Path) -> list[Chunk]:
    blank = Chunk("", str(file), "", 0, 0, 0, 1, None, None, (), "growth", "", {})
    texts = [f"passage {number} of {file} " + "words " * 300 for number in range(CHUNKS_A_DOCUMENT)]
    return [
        replace(blank, id=text_key(text).hex(), content=text, number=number, end=len(text))
        for number, text in enumerate(texts)
    ]


def _manifest(files: list[Path], job: int) -> pa.Table:
    stats = [file.stat() for file in files]
    digest = [hashlib.sha256(str(file).encode()).hexdigest() for file in files]
    same: dict[str, object] = {"fingerprint": "growth", "space": SPACE.name, "status": "live"}
    same |= {"run": "20261121T000000.000Z-000000", "job": job, "part_first": 0, "part_last": 0}
    same |= {"chunks": CHUNKS_A_DOCUMENT, "tokens": 5_000, "rejects": 0}
    columns: dict[str, list[Any]] = {name: [value] * len(files) for name, value in same.items()}
    names = [str(file) for file in files]
    columns |= {"source": names, "path": names, "file_hash": digest, "document_hash": digest}
    columns |= {"size_bytes": [stat.st_size for stat in stats], "mtime_ns": [stat.st_mtime_ns for stat in stats]}
    return pa.table(columns, schema=MANIFEST_SCHEMA)


async def _append(store: VectorStore, keys: list[bytes], vectors: Vectors) -> None:
    await asyncio.gather(
        *(
            store.append(keys[i : i + TEXTS_A_REQUEST], vectors[i : i + TEXTS_A_REQUEST], [500] * TEXTS_A_REQUEST)
            for i in range(0, len(keys), TEXTS_A_REQUEST)
        )
    )
