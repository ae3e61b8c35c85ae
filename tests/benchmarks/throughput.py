"""Provider without limits or latency, plain text, Milvus Lite: chunks a second, beside a bare loop on the same files.

The bare loop reads, encodes, asks, writes Parquet and upserts, one after the other, and keeps no books.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.row import Row
from tests.flows.prose import english
from tests.flows.site import ROOT, Site, json_of
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY
from tests.simulator.tokens import qwen_encoding

FILES, ROUNDS = 400, 3
SENTENCES = 110  # about 7.5 kB, 1,700 tokens


def measure() -> list[Row]:
    """One row: millrace as a process of its own and the bare loop, `ROUNDS` times in turn, against one simulator."""
    ours: list[float] = []
    bare: list[float] = []
    with simulator_process() as base_url:
        for number in range(ROUNDS):
            with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
                corpus = Path(folder) / "corpus"
                corpus.mkdir()
                for file in range(FILES):  # other texts in each round: the simulator remembers those it was asked for
                    text = english(SENTENCES, seed=number * FILES + file)
                    (corpus / f"{file:04d}.txt").write_text(text, encoding="utf-8")
                chunks, seconds = _millrace(Path(folder), base_url)
                ours.append(chunks / seconds)
                bare_chunks, bare_seconds = _bare_loop(Path(folder), corpus, base_url)
                bare.append(bare_chunks / bare_seconds)
    ratios = [mine / theirs for mine, theirs in zip(ours, bare, strict=True)]
    return [
        Row(
            f"no limits, plain text, Milvus Lite, {FILES} files ({chunks:,} chunks), start-up included",
            ">= 0.86 of the bare loop",
            f"{statistics.median(ours):,.0f} chunks/s",
            f"{statistics.median(bare):,.0f} chunks/s ({bare_chunks:,} chunks)",
            f"{statistics.median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})",
        )
    ]


@contextmanager
def simulator_process() -> Iterator[str]:
    """The base URL of a simulator without limits or latency, in a process of its own."""
    command = [sys.executable, "-m", "tests.simulator", "--max-seconds", "1800"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as provider:
        assert provider.stdout is not None
        try:
            yield provider.stdout.readline().strip()
        finally:
            provider.terminate()


class Address(Simulator):
    """Stands for a simulator in another process: a site asks it only where it is."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    @property
    def base_url(self) -> str:
        return self._base_url


def _millrace(folder: Path, base_url: str) -> tuple[int, float]:
    site = Site(folder, Address(base_url))
    began = time.perf_counter()
    done = site.run("ingest", str(site.corpus), "--json")
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    return int(json_of(done)["chunks"]["upserted"]), seconds


def _bare_loop(folder: Path, corpus: Path, base_url: str) -> tuple[int, float]:
    script = f"""
import sys, time
from pathlib import Path
from tests.benchmarks.throughput import bare_loop
print(bare_loop(Path({str(folder)!r}), Path({str(corpus)!r}), {base_url!r}))
"""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT, timeout=300
    )
    return int(done.stdout), time.perf_counter() - began


def bare_loop(folder: Path, corpus: Path, base_url: str) -> int:
    """Read, encode, ask, write Parquet and upsert, one after the other; the number of chunks."""
    from openai import OpenAI
    from pymilvus import DataType, MilvusClient

    encoding = qwen_encoding()
    chunks: list[str] = []
    for path in sorted(corpus.iterdir()):
        tokens = encoding.encode_ordinary(path.read_text(encoding="utf-8"))
        chunks += [encoding.decode(tokens[i : i + 512]) for i in range(0, len(tokens), 512)]
    provider = OpenAI(base_url=base_url, api_key=API_KEY, max_retries=0)
    vectors: list[list[float]] = []
    for start in range(0, len(chunks), 10):
        answer = provider.embeddings.create(
            model="text-embedding-v4", input=chunks[start : start + 10], dimensions=1024, encoding_format="float"
        )
        vectors += [item.embedding for item in sorted(answer.data, key=lambda item: item.index)]
    pq.write_table(pa.table({"content": chunks, "vector": vectors}), folder / "bare.parquet")
    client = MilvusClient(str(folder / "bare.db"))
    schema = client.create_schema()
    schema.add_field("id", DataType.VARCHAR, max_length=64, is_primary=True)
    schema.add_field("content", DataType.VARCHAR, max_length=8192)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=1024)
    index = client.prepare_index_params()
    parameters = {"M": 16, "efConstruction": 256}
    index.add_index("embedding", index_type="HNSW", metric_type="COSINE", params=parameters)
    client.create_collection("bare", schema=schema, index_params=index)
    rows = [
        {"id": f"{number:064d}", "content": content, "embedding": vector}
        for number, (content, vector) in enumerate(zip(chunks, vectors, strict=True))
    ]
    for start in range(0, len(rows), 500):
        client.upsert("bare", rows[start : start + 500])
    return len(chunks)
