"""CPU of one answer of 10 vectors of 1,024 numbers: from the bytes to proven float32, and the SDK's own way.

Both clients are the real ones, over a transport that hands out the bytes; what the request itself costs is measured by
the same client with an answer that is next to empty, and taken off.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import httpx2
import numpy as np
import orjson
from openai import AsyncOpenAI

from millrace.tasks.embedding.providers.validation import decode, validate_response
from tests.benchmarks.row import Row

TEXTS, DIMENSIONS = 10, 1024
ANSWERS, ROUNDS = 40, 5
TARGET_MS = 2.0


def measure() -> list[Row]:
    """One row: both ways in turn, `ROUNDS` times; the medians."""
    body = answer(TEXTS, DIMENSIONS)
    ours, sdk = [], []
    for _ in range(ROUNDS):
        ours.append(_cpu_ms(lambda: _prove(body)))
        sdk.append(asyncio.run(_sdk_ms(body)))
    our_ms, sdk_ms = statistics.median(ours), statistics.median(sdk)
    return [
        Row(
            f"CPU of an answer of {TEXTS} x {DIMENSIONS:,} numbers ({len(body) / 1000:,.0f} kB)",
            f"<= {TARGET_MS:g} ms",
            f"{our_ms:.2f} ms",
            f"{sdk_ms:.1f} ms (the SDK's parsing, into lists)",
            f"{our_ms / sdk_ms:.2f}",
        )
    ]


def answer(texts: int, dimensions: int) -> bytes:
    """An answer as the provider writes it: numbers of 16 to 20 characters."""
    vectors = np.random.default_rng(0).standard_normal((texts, dimensions)) / dimensions**0.5
    data = [{"object": "embedding", "index": i, "embedding": vector.tolist()} for i, vector in enumerate(vectors)]
    usage = {"prompt_tokens": 4_000, "total_tokens": 4_000}
    return orjson.dumps({"object": "list", "data": data, "model": "text-embedding-v4", "usage": usage, "id": "1"})


def _prove(body: bytes) -> None:
    validate_response(decode(body), texts=TEXTS, dimensions=DIMENSIONS)


def _cpu_ms(do: Callable[[], None]) -> float:
    began = time.process_time()
    for _ in range(ANSWERS):
        do()
    return (time.process_time() - began) / ANSWERS * 1000


async def _sdk_ms(body: bytes) -> float:
    """What `embeddings.create` takes for this answer beyond what it takes for one of a single number."""
    return await _asked_ms(body, TEXTS, DIMENSIONS) - await _asked_ms(answer(1, 1), 1, 1)


async def _asked_ms(body: bytes, texts: int, dimensions: int) -> float:
    headers = {"content-type": "application/json"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=body, headers=headers))
    client = AsyncOpenAI(
        api_key="none", base_url="http://127.0.0.1", http_client=httpx2.AsyncClient(transport=transport)
    )
    wanted = ["text"] * texts

    async def ask() -> None:
        await client.embeddings.create(
            model="text-embedding-v4", input=wanted, dimensions=dimensions, encoding_format="float"
        )

    await ask()
    return await _cpu_ms_of(ask)


async def _cpu_ms_of(do: Callable[[], Awaitable[None]]) -> float:
    began = time.process_time()
    for _ in range(ANSWERS):
        await do()
    return (time.process_time() - began) / ANSWERS * 1000
