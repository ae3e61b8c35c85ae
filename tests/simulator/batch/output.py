"""The result files of a job, rendered line by line while they are read."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tests.simulator.batch.job import Job, Outcome
from tests.simulator.batch.settings import TEST_ENDPOINT, ErrorForm
from tests.simulator.dialects.compatible import asked_for, embeddings_body
from tests.simulator.faults import Damage
from tests.simulator.provider import Order, Provider

_FORMS: Sequence[ErrorForm] = ("error_object", "error_code_message", "response_status")


def line_offsets(path: Path) -> list[int]:
    """Where each line of `path` begins, in bytes."""
    offsets, at = [], 0
    with path.open("rb") as lines:
        for line in lines:
            offsets.append(at)
            at += len(line)
    return offsets


def output_lines(provider: Provider, job: Job, path: Path) -> Iterator[bytes]:
    """The successes, from the input at `path`."""
    numbers = _ordered(provider, job, [n for n, outcome in enumerate(job.outcomes) if outcome.is_success])
    offsets = line_offsets(path)
    with path.open("rb") as lines:
        for number in numbers:
            damage = job.damage.get(number)
            if damage == "missing":
                continue
            line = _success(provider, job, number, _request(lines, offsets[number]))
            yield line[: len(line) // 2] + b"\n" if damage == "malformed" else line
            if damage == "duplicated":
                yield line
            if damage == "unknown_id":
                yield line.replace(b'"custom_id":"', b'"custom_id":"unknown-', 1)
    if provider.settings.batch.of_job(job.number).empty_last_line:
        yield b"\n"


def error_lines(provider: Provider, job: Job, path: Path) -> Iterator[bytes]:
    """The refusals, and the lines that a job which was cancelled or has expired did not do."""
    settings = provider.settings.batch.of_job(job.number)
    failed = [number for number, outcome in enumerate(job.outcomes) if not outcome.is_success]
    not_done = job.not_done(settings)
    if not_done is not None:
        failed += range(job.done, job.lines)
    offsets = line_offsets(path)
    with path.open("rb") as lines:
        for number in _ordered(provider, job, failed):
            if number < job.done:
                outcome = job.outcomes[number]
                form = settings.error_form
            else:
                assert not_done is not None
                custom_id = _request(lines, offsets[number])["custom_id"]
                outcome = Outcome(custom_id, 0, 400, *not_done)
                form = "error_object"
            yield _error(job, number, outcome, _FORMS[number % len(_FORMS)] if form == "mixed" else form)


def size_bytes(lines: Iterator[bytes]) -> int:
    """How long the file of these lines is."""
    return sum(len(line) for line in lines)


def _ordered(provider: Provider, job: Job, numbers: list[int]) -> list[int]:
    if provider.settings.batch.of_job(job.number).shuffled:
        random.Random(f"{provider.settings.seed}:{job.number}").shuffle(numbers)
    return numbers


def _request(lines: BinaryIO, offset: int) -> dict[str, Any]:
    lines.seek(offset)
    request: dict[str, Any] = orjson.loads(lines.readline())
    return request


def _request_id(job: Job, number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{job.id}/{number}"))


def _success(provider: Provider, job: Job, number: int, request: dict[str, Any]) -> bytes:
    outcome, request_id = job.outcomes[number], _request_id(job, number)
    if job.endpoint == TEST_ENDPOINT:
        body = _test_body(request, request_id, int(job.created_at))
    else:
        asked = asked_for(provider, request["body"])
        seen = tuple(provider.seen(asked.model, text) for text in asked.texts)
        length = asked.model.length(asked.dimensions)
        order = Order(job.account, asked.model, length, asked.form, seen, (), outcome.tokens)
        damage = Damage.WRONG_DIMENSION if job.damage.get(number) == "wrong_dimension" else None
        body = embeddings_body(provider, order, damage, request_id)
    custom_id = f"foreign-{number}" if job.is_foreign else outcome.custom_id
    quoted = request_id.encode()
    return b'{"id":"%b","custom_id":%b,"response":{"status_code":200,"request_id":"%b","body":%b},"error":null}\n' % (
        quoted,
        orjson.dumps(custom_id),
        quoted,
        body,
    )


def _test_body(request: dict[str, Any], request_id: str, created: int) -> bytes:
    message = {"role": "assistant", "content": "This is a test result."}
    return orjson.dumps(
        {
            "created": created,
            "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
            "model": request["body"]["model"],
            "id": f"chatcmpl-{request_id}",
            "choices": [{"finish_reason": "stop", "index": 0, "message": message}],
            "object": "chat.completion",
        }
    )


def _error(job: Job, number: int, outcome: Outcome, form: ErrorForm) -> bytes:
    request_id = _request_id(job, number)
    error = {"code": outcome.code, "message": outcome.message}
    line: dict[str, Any] = {"id": request_id, "custom_id": outcome.custom_id, "response": None, "error": error}
    if form == "error_code_message":
        line["error"] = {"error_code": outcome.code, "error_message": outcome.message}
    elif form == "response_status":
        body = {"error": {**error, "type": outcome.code, "param": None}, "id": request_id, "request_id": request_id}
        line |= {"response": {"status_code": outcome.status, "request_id": request_id, "body": body}, "error": None}
    return orjson.dumps(line) + b"\n"
