"""What a client of files and batches does, for tests: the real openai SDK, and lines as it would write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import openai
import orjson

from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY

V4 = "text-embedding-v4"
DIMENSIONS = 64


@contextmanager
def client_of(simulator: Simulator, api_key: str = API_KEY) -> Iterator[openai.OpenAI]:
    """The SDK as millrace uses it: it repeats nothing by itself."""
    with openai.OpenAI(base_url=simulator.base_url, api_key=api_key, max_retries=0, timeout=20) as client:
        yield client


def line(custom_id: str, texts: Sequence[str], **changed: object) -> dict[str, Any]:
    """One request of an input file; `changed` replaces its fields."""
    body = {"model": V4, "input": list(texts), "dimensions": DIMENSIONS, "encoding_format": "float"}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body, **changed}


def file_of(requests: Sequence[Mapping[str, object]]) -> bytes:
    """The input file of these requests."""
    return b"".join(orjson.dumps(request) + b"\n" for request in requests)


def numbered(count: int, texts: int = 2) -> list[dict[str, Any]]:
    """So many requests `line-0`, `line-1`..., of texts that occur once."""
    return [line(f"line-{number}", [f"text {number}.{index}" for index in range(texts)]) for number in range(count)]


def upload(client: openai.OpenAI, requests: Sequence[Mapping[str, object]], name: str = "job.jsonl") -> str:
    """The id of the uploaded input file of these requests."""
    return client.files.create(file=(name, file_of(requests)), purpose="batch").id


def started(client: openai.OpenAI, requests: Sequence[Mapping[str, object]], **more: Any) -> openai.types.Batch:
    """A new job of these requests."""
    return create(client, upload(client, requests), **more)


def create(client: openai.OpenAI, input_file_id: str, **more: Any) -> openai.types.Batch:
    """A new job of an uploaded file."""
    asked: dict[str, Any] = {"endpoint": "/v1/embeddings", "completion_window": "24h", **more}
    return client.batches.create(input_file_id=input_file_id, **asked)


def read_lines(client: openai.OpenAI, file_id: str | None) -> list[Any]:
    """The lines of a result file, read as they come."""
    assert file_id is not None
    with client.files.with_streaming_response.content(file_id) as answer:
        return [orjson.loads(found) for found in answer.iter_lines() if found]
