"""The published limits of Beijing, at two latencies: how near the ceiling, how long, how many 429s.

Beside it the bare way on the same texts: the SDK with its own retries, and a semaphore for the number of requests. The
quick default is 800 chunks of about 400 tokens; `MILLRACE_BENCH_CHUNKS=2000` is the full one, 40 s at the least each.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from tests.benchmarks.row import Row
from tests.benchmarks.throughput import Address
from tests.flows.prose import english
from tests.flows.site import ROOT, Site, json_of
from tests.simulator.settings import API_KEY

CEILING = 20_000.0
LATENCIES = ((0.15, 0.05), (0.6, 0.2))
AT_ONCE = 10  # requests of the bare way
CHUNKS = int(os.environ.get("MILLRACE_BENCH_CHUNKS", "800"))
_SENTENCES_A_FILE = 220  # about ten chunks of 400 tokens, when 600 are allowed
_RISING_S, _FALLING_S = 5, 2  # not counted as steady


@dataclass(frozen=True)
class Course:
    """What the provider saw of one run."""

    tokens: int
    seconds: float
    steady_share: float
    throttled_share: float

    @classmethod
    def of(cls, books: dict[str, Any], seconds: float) -> "Course":
        by_second = books["by_second"][_RISING_S:-_FALLING_S]
        steady = sum(second["tokens"] for second in by_second) / max(len(by_second), 1)
        throttled = sum(books["throttled"].values())
        return cls(books["tokens_billed"], seconds, steady / CEILING, throttled / max(books["requests"], 1))

    def __str__(self) -> str:
        ideal_s = self.tokens / CEILING
        return (
            f"{self.steady_share:.1%} of the ceiling, {self.seconds / ideal_s:.3f} of the ideal time "
            f"({self.seconds:.1f} s), {self.throttled_share:.2%} answered 429"
        )


def measure() -> list[Row]:
    """One row a latency: millrace as a process of its own, then the bare way, against the same simulator process."""
    rows = []
    for latency_s, jitter_s in LATENCIES:
        with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder, _provider(latency_s, jitter_s) as url:
            site = Site(Path(folder), Address(url))
            for number in range(CHUNKS // 10):
                site.write(f"{number:04d}.txt", english(_SENTENCES_A_FILE, seed=number))
            ours = _millrace(site, url)
            _ask(url, "__reset__", post=True)
            bare = _bare_way(site, url)
        name = f"under the limits, {latency_s * 1000:.0f} +- {jitter_s * 1000:.0f} ms, {CHUNKS:,} chunks"
        target = ">= 97 % of the ceiling, <= 1.08 of the ideal time, < 0.5 % answered 429"
        rows.append(Row(name, target, str(ours), f"{bare} ({AT_ONCE} requests at once)"))
    return rows


@contextmanager
def _provider(latency_s: float, jitter_s: float) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.simulator", "--beijing", "--max-seconds", "900"]
    command += ["--latency", str(latency_s), "--jitter", str(jitter_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as provider:
        assert provider.stdout is not None
        try:
            yield provider.stdout.readline().strip()
        finally:
            provider.terminate()


def _millrace(site: Site, url: str) -> Course:
    published = [f"limits.{kind}_per_{time}=0" for kind in ("requests", "tokens") for time in ("second", "minute")]
    site.overrides = (*published, "chunking.max_tokens=600", "documents.workers=1")
    # A Python of its own, as for the bare way; `site.run` forks one that has imported the libraries.
    command, environment = site.command("ingest", str(site.corpus), "--json"), site.process_environment()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, timeout=900, check=False)
    report = json_of(done)
    assert report["outcome"] == "finished", report["error"]
    return Course.of(_ask(url, "__books__"), report["seconds"])


def _bare_way(site: Site, url: str) -> Course:
    parts = sorted((site.lake / "documents" / "chunks").glob("*.parquet"))
    texts = list(dict.fromkeys(text for part in parts for text in pq.read_table(part)["content"].to_pylist()))
    began = time.perf_counter()
    asyncio.run(_ask_for_all(texts, url))
    return Course.of(_ask(url, "__books__"), time.perf_counter() - began)


async def _ask_for_all(texts: list[str], url: str) -> None:
    from openai import AsyncOpenAI

    slots = asyncio.Semaphore(AT_ONCE)
    # With the SDK's own two retries it would not come to the end.
    async with AsyncOpenAI(api_key=API_KEY, base_url=url, max_retries=50) as client:

        async def ask(batch: list[str]) -> None:
            async with slots:
                await client.embeddings.create(
                    model="text-embedding-v4", input=batch, dimensions=1024, encoding_format="float"
                )

        await asyncio.gather(*(ask(texts[start : start + 10]) for start in range(0, len(texts), 10)))


def _ask(url: str, path: str, *, post: bool = False) -> dict[str, Any]:
    request = urllib.request.Request(f"{url.removesuffix('/v1')}/{path}", method="POST" if post else "GET")
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: dict[str, Any] = orjson.loads(response.read())
    return answer
