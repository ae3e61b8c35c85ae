"""A refused input file: every bad line is named, and nothing is bought."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.simulator.batch.client import V4, client_of, create, file_of, line, numbered, started
from tests.simulator.server import Simulator


def errors_of(simulator: Simulator, content: bytes, endpoint: str = "/v1/embeddings") -> list[tuple[Any, ...]]:
    """Code, field and line of what is wrong with an input file."""
    with client_of(simulator) as client:
        file = client.files.create(file=("a.jsonl", content), purpose="batch")
        job = client.batches.retrieve(create(client, file.id, endpoint=endpoint).id)
    assert (job.status, job.failed_at, job.in_progress_at) == ("failed", job.created_at, None)
    assert job.request_counts is not None
    assert (job.request_counts.total, job.output_file_id, job.error_file_id) == (0, None, None)
    assert job.errors is not None
    assert simulator.books.tokens_billed == 0
    return [(error.code, error.param, error.line) for error in job.errors.data or []]


def body(**changed: object) -> dict[str, object]:
    return {**line("x", ["text"])["body"], **changed}


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (line("", ["a"]), ("invalid_custom_id", "custom_id", 2)),
        (line("c" * 257, ["a"]), ("invalid_custom_id", "custom_id", 2)),
        (line("line-0", ["a"]), ("duplicate_custom_id", "custom_id", 2)),
        (line("x", ["a"], method="GET"), ("invalid_method", "method", 2)),
        (line("x", ["a"], url="/v1/embedding"), ("url_not_found", "url", 2)),
        (line("x", ["a"], url="/v1/chat/completions"), ("mismatched_url", "url", 2)),
        (line("x", ["a"], url="/v1/chat/ds-test"), ("mismatched_test_url", "url", 2)),
        (line("x", ["a"], body=body(model="batch-test-model")), ("mismatched_test_url", "url", 2)),
        (line("x", ["a"], body=body(model="text-embedding-v9")), ("model_not_found", "body.model", 2)),
        (line("x", ["a"], body="text"), ("invalid_body", "body", 2)),
    ],
)
def test_a_bad_line_is_named_by_its_number_from_one(
    simulator: Simulator, bad: dict[str, object], error: tuple[object, ...]
) -> None:
    assert errors_of(simulator, file_of([*numbered(1), bad])) == [error]


@pytest.mark.parametrize(
    ("content", "errors"),
    [
        (b"", [("empty_file", None, None)]),
        (b"{]\n" + file_of(numbered(1)) + b"\n[1]\n", [("invalid_json_line", None, number) for number in (1, 3, 4)]),
        (file_of(numbered(1)).rstrip(b"\n") + b"\n{", [("invalid_json_line", None, 2)]),
    ],
)
def test_every_line_is_one_json_object(simulator: Simulator, content: bytes, errors: Sequence[object]) -> None:
    assert errors_of(simulator, content) == errors


def test_one_file_has_one_model(simulator: Simulator) -> None:
    simulator.change({"batch": {"models": [V4, "text-embedding-v3"]}})
    other = line("x", ["a"], body=body(model="text-embedding-v3"))
    assert errors_of(simulator, file_of([*numbered(2), other])) == [("mismatched_model", "body.model", 3)]


def test_lines_and_their_bytes_are_bounded(simulator: Simulator) -> None:
    simulator.change({"batch": {"max_lines": 2, "line_bytes": 300}})
    long = line("long", ["a" * 300])
    assert errors_of(simulator, file_of([long, *numbered(2)])) == [
        ("line_too_long", None, 1),
        ("max_lines_exceeded", None, None),
    ]


def test_the_last_line_needs_no_end(simulator: Simulator) -> None:
    with client_of(simulator) as client:
        file = client.files.create(file=("a.jsonl", file_of(numbered(2)).rstrip(b"\n")), purpose="batch")
        assert client.batches.retrieve(create(client, file.id).id).status == "completed"


def test_singapore_has_no_embeddings_by_batch(simulator: Simulator) -> None:
    simulator.change({"batch": {"region": "singapore"}})
    assert errors_of(simulator, file_of(numbered(2))) == [
        ("model_not_found", "body.model", number) for number in (1, 2)
    ]


def test_a_refusal_may_take_a_while(simulator: Simulator) -> None:
    simulator.change({"batch": {"validate_s": 300}})
    with client_of(simulator) as client:
        job = started(client, [line("x", ["a"], method="GET")])
        assert client.batches.retrieve(job.id).status == "validating"
        simulator.advance(300)
        assert client.batches.retrieve(job.id).status == "failed"
