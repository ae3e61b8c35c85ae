"""A provider that breaks every rule: the real dispatcher loses nothing, stores nothing wrong, and ends in bounded time."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
import zlib
from typing import Any

import numpy as np
import orjson
import pytest

from millrace.tasks.embedding.dispatch.dispatcher import PROBE, Dispatcher
from millrace.tasks.embedding.dispatch.queue import Text
from millrace.tasks.embedding.dispatch.retry_policy import RetryPolicy
from millrace.tasks.embedding.models import find_model
from millrace.tasks.embedding.providers.client import Vectors
from millrace.tasks.embedding.providers.factory import make_client
from millrace.tasks.embedding.rate_limit.limiter import RateLimiter
from millrace.tasks.errors import MillraceError
from tests.tasks.embedding.hostile import Conversation, HostileServer, Say, hostile
from tests.tasks.embedding.providers.test_faults import Rows

DIMENSIONS = 256
HURRIED = RetryPolicy(
    first_backoff_s=0.005, longest_backoff_s=0.02, linger_s=0.05, give_up_s=0.2, max_lost_rounds=6, grace_s=1.0
)


def vector_of(text: str) -> Vectors:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)


def sound(texts: list[str]) -> dict[str, Any]:
    data = [{"index": i, "embedding": vector_of(text).tolist()} for i, text in enumerate(texts)]
    return {"data": data, "usage": {"total_tokens": 10 * len(texts)}}


def body_of(talk: Conversation) -> bytes:
    return orjson.dumps(sound(talk.texts))


def changed(talk: Conversation, **item: Any) -> bytes:
    answer = sound(talk.texts)
    answer["data"][-1] |= item
    return orjson.dumps(answer)


async def slow_head(talk: Conversation) -> None:
    await talk.say(*(bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\nx-a: " + b"b" * 10_000), every_s=0.02)


async def slow_body(talk: Conversation) -> None:
    body = body_of(talk)
    await talk.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
    await talk.say(*(bytes([byte]) for byte in body), every_s=0.02)


async def too_short(talk: Conversation) -> None:
    body = body_of(talk)
    await talk.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (len(body) + 50) + body)


async def too_long(talk: Conversation) -> None:
    body = body_of(talk)
    await talk.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (len(body) - 50) + body)


async def two_lengths(talk: Conversation) -> None:
    body = body_of(talk)
    await talk.say(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


async def chunks_without_end(talk: Conversation) -> None:
    await talk.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    await talk.say(*[b"10000\r\n" + b" " * 0x10000 + b"\r\n"] * 10_000)


async def a_chunk_of_no_size(talk: Conversation) -> None:
    await talk.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFF\r\n{}")


async def a_page(talk: Conversation) -> None:
    await talk.answer(b"<!doctype html><h1>Welcome</h1>", headers=b"content-type: text/html\r\n")


async def a_redirect(talk: Conversation) -> None:
    await talk.answer(b"", status="307 Temporary Redirect", headers=b"location: http://127.0.0.1:9/\r\n")


async def hints_without_end(talk: Conversation) -> None:
    await talk.say(*[b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"] * 100_000, every_s=0.001)


async def not_http(talk: Conversation) -> None:
    await talk.say(b"220 mail ESMTP\r\n")


async def a_head_without_end(talk: Conversation) -> None:
    await talk.say(b"HTTP/1.1 200 OK\r\n", *[b"x-a: " + b"b" * 10_000 + b"\r\n"] * 1_000)


async def a_broken_gzip(talk: Conversation) -> None:
    await talk.answer(gzip.compress(body_of(talk))[:-20] + b"x" * 12, headers=b"content-encoding: gzip\r\n")


async def half_a_gzip(talk: Conversation) -> None:
    body = gzip.compress(body_of(talk))
    await talk.answer(body[: len(body) // 2], headers=b"content-encoding: gzip\r\n")


async def an_encoding_of_its_own(talk: Conversation) -> None:
    await talk.answer(body_of(talk), headers=b"content-encoding: br\r\n")


async def deep_nesting(talk: Conversation) -> None:
    await talk.answer(b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


async def a_deep_error(talk: Conversation) -> None:
    await talk.answer(b'{"error":{"message":' + b"[" * 900 + b"1" + b"]" * 900 + b"}}", status="400 Bad Request")


async def an_error_without_end(talk: Conversation) -> None:
    await talk.say(b"HTTP/1.1 500 Internal Server Error\r\ntransfer-encoding: chunked\r\n\r\n")
    await talk.say(*[b"10000\r\n" + b"x" * 0x10000 + b"\r\n"] * 10_000)


async def an_unknown_status(talk: Conversation) -> None:
    await talk.answer(b"{}", status="299 Fine")


async def no_content(talk: Conversation) -> None:
    await talk.say(b"HTTP/1.1 204 No Content\r\n\r\n")


def says(**item: Any) -> Say:
    async def say(talk: Conversation) -> None:
        await talk.answer(changed(talk, **item))

    return say


HOSTILE: dict[str, Say] = {
    **{
        say.__name__: say
        for say in (
            *(slow_head, slow_body, too_short, too_long, two_lengths, chunks_without_end, a_chunk_of_no_size),
            *(a_page, a_redirect, hints_without_end, not_http, a_head_without_end, a_broken_gzip, half_a_gzip),
            *(an_encoding_of_its_own, deep_nesting, a_deep_error, an_error_without_end, an_unknown_status),
            *(no_content,),
        )
    },
    "index twice": says(index=0),
    "index as a float": says(index=9.0),
    "index as a text": says(index="9"),
    "huge index": says(index=2**64),
    "number beyond float32": says(embedding=[1e39] * DIMENSIONS),
    "numbers that vanish as float32": says(embedding=[1e-60] * DIMENSIONS),
    "an object for a vector": says(embedding={"a": 1}),
    "a text for a vector": says(embedding="not base64 at all!"),
}


def texts(count: int) -> list[Text]:
    names = [f"passage {number} on sluices" for number in range(count)]
    return [Text(hashlib.sha256(name.encode()).digest(), name, 10, f"{name}.md") for name in names]


async def run(
    server: HostileServer, given: list[Text], rows: Rows, *, timeout_s: float
) -> tuple[list[BaseException | None], float, MillraceError | None]:
    """What became of each text, the seconds that it took, and what stopped the run."""
    spec = find_model("dashscope", "", base_url=server.url)
    client = make_client(spec, base_url=server.url, api_key="sk-hostile-1", dimensions=DIMENSIONS, timeout_s=timeout_s)
    began = time.monotonic()
    stop: MillraceError | None = None
    dispatcher = Dispatcher(
        client, RateLimiter(), texts_per_request=10, tokens_per_request=0, store=rows, retry_policy=HURRIED
    )
    futures = [await dispatcher.submit(text) for text in given]
    try:
        async with dispatcher:
            pass
    except MillraceError as error:
        stop = error
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    await client.close()
    return outcomes, time.monotonic() - began, stop


# An error 500 without end is an outage, which is waited for.
@pytest.mark.parametrize("name", sorted(HOSTILE.keys() - {"an_error_without_end"}))
async def test_a_hostile_provider_gets_no_vector_in_and_the_run_ends_with_an_error_of_ours(name: str) -> None:
    given, rows = texts(30), Rows()
    async with hostile(HOSTILE[name]) as server:
        outcomes, seconds, stop = await run(server, given, rows, timeout_s=0.5)
    assert seconds < 30
    assert all(isinstance(outcome, MillraceError) or outcome is None for outcome in outcomes)
    # Vectors that are in are right, and those that are not have an error each: nothing is lost.
    assert {text.key for text, outcome in zip(given, outcomes, strict=True) if outcome is None} == rows.vectors.keys()
    assert all(np.array_equal(rows.vectors[t.key], vector_of(t.text)) for t in given if t.key in rows.vectors)
    assert stop is not None or all(outcomes)
    assert "Traceback" not in str(stop)
    assert len(str(stop)) < 2_000


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_provider_that_is_hostile_now_and_then_costs_retries_and_nothing_else(name: str) -> None:
    given, rows = texts(60), Rows()
    sent: list[str] = []

    async def say(talk: Conversation) -> None:
        if talk.number % 4 == 2:
            await HOSTILE[name](talk)
            return
        sent.extend(talk.texts)
        body = body_of(talk)
        match talk.number % 3:
            case 0:
                await talk.say(b"HTTP/1.0 200 OK\r\n\r\n" + body)
            case 1:
                compressed = zlib.compress(body)
                await talk.say(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
                await talk.answer(compressed, headers=b"content-encoding: deflate\r\n")
            case _:
                await talk.answer(body)

    async with hostile(say) as server:
        outcomes, seconds, stop = await run(server, given, rows, timeout_s=3.0)
    if name == "a_redirect":
        # What waiting cannot cure stops the run; what was embedded until then stays.
        assert stop is not None
        return
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert stop is None
    assert refused == []
    assert seconds < 30
    assert all(np.array_equal(rows.vectors[text.key], vector_of(text.text)) for text in given)
    paid_for = [text for text in sent if text != PROBE.text]
    assert sorted(paid_for) == sorted(text.text for text in given)
