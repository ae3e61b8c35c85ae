"""The lines of result files, sound and damaged."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import orjson
import pytest

from tests.simulator.batch.client import DIMENSIONS, V4, client_of, line, numbered, read_lines, started
from tests.simulator.model.vectors import expected_vector
from tests.simulator.server import Simulator


def raw_lines(simulator: Simulator, requests: list[dict[str, Any]]) -> list[bytes]:
    """The output of a job of these requests, as it comes."""
    with client_of(simulator) as client:
        job = client.batches.retrieve(started(client, requests).id)
        assert job.output_file_id is not None
        return client.files.content(job.output_file_id).content.splitlines(keepends=True)


def ids(lines: list[bytes]) -> list[str]:
    return [orjson.loads(found)["custom_id"] for found in lines]


def test_a_line_is_answered_as_the_endpoint_answers_it(simulator: Simulator) -> None:
    simulator.change({"batch": {"shuffled": False}})
    requests = [line("a", ["衣服的质量杠杠的", "text"]), line("b", ["another"])]
    answers = [orjson.loads(found)["response"]["body"] for found in raw_lines(simulator, requests)]
    with client_of(simulator) as client:
        for request, answer in zip(requests, answers, strict=True):
            direct = client.embeddings.with_raw_response.create(**request["body"]).http_response.json()
            assert {**answer, "id": ""} == {**direct, "id": ""}
    assert simulator.books.pools["batch"].tokens == simulator.books.pools["realtime"].tokens


def test_reading_twice_gives_the_same_bytes(simulator: Simulator) -> None:
    with client_of(simulator) as client:
        job = client.batches.retrieve(started(client, numbered(9)).id)
        assert job.output_file_id is not None
        first, second = (client.files.content(job.output_file_id).content for _ in range(2))
    assert first == second


def test_lines_are_shuffled_unless_they_are_not(simulator: Simulator) -> None:
    ordered = [f"line-{number}" for number in range(20)]
    assert ids(raw_lines(simulator, numbered(20))) != ordered
    simulator.change({"batch": {"shuffled": False}})
    assert ids(raw_lines(simulator, numbered(20))) == ordered


def test_base64_is_answered_where_it_is_honoured(simulator: Simulator) -> None:
    simulator.change({"encoding_format": "honour"})
    request = line("a", ["text"])
    request["body"]["encoding_format"] = "base64"
    (found,) = raw_lines(simulator, [request])
    decoded = base64.b64decode(orjson.loads(found)["response"]["body"]["data"][0]["embedding"])
    assert np.array_equal(np.frombuffer(decoded, "<f4"), expected_vector(V4, DIMENSIONS, "text"))


def test_a_text_cut_off_has_the_vector_of_what_was_left(simulator: Simulator) -> None:
    simulator.change({"over_long": "truncate"})
    (found,) = raw_lines(simulator, [line("a", ["word " * 9_000])])
    body = orjson.loads(found)["response"]["body"]
    assert body["usage"]["total_tokens"] == 8192
    with client_of(simulator) as client:
        direct = client.embeddings.create(**line("a", ["word " * 9_000])["body"])
    assert body["data"][0]["embedding"] == direct.data[0].embedding


POISONED = [line("good", ["text"]), *(line(f"bad-{number}", ["poison", "neighbour"]) for number in range(3))]
_CODE = "data_inspection_failed"
_MESSAGE = "Input or output data may contain inappropriate content."


@pytest.mark.parametrize("form", ["error_object", "error_code_message", "response_status", "mixed"])
def test_a_refused_line_is_in_the_error_file_in_any_form(simulator: Simulator, form: str) -> None:
    simulator.change({"poison_words": ["poison"], "batch": {"error_form": form}})
    with client_of(simulator) as client:
        job = client.batches.retrieve(started(client, POISONED).id)
        assert job.request_counts is not None
        assert (job.request_counts.completed, job.request_counts.failed) == (1, 3)
        assert [found["custom_id"] for found in read_lines(client, job.output_file_id)] == ["good"]
        errors = read_lines(client, job.error_file_id)
    assert sorted(found["custom_id"] for found in errors) == ["bad-0", "bad-1", "bad-2"]
    seen = set()
    for found in errors:
        if found["error"] is None:
            assert found["response"]["status_code"] == 400
            error = found["response"]["body"]["error"]
            assert (error["code"], error["message"]) == (_CODE, _MESSAGE)
            seen.add("response_status")
        else:
            assert found["response"] is None
            is_plain = "code" in found["error"]
            names = ("code", "message") if is_plain else ("error_code", "error_message")
            assert found["error"] == dict(zip(names, (_CODE, _MESSAGE), strict=True))
            seen.add("error_object" if is_plain else "error_code_message")
    assert seen == ({"error_object", "error_code_message", "response_status"} if form == "mixed" else {form})
    assert simulator.books.texts_bought == 1


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (["text"] * 11, "InvalidParameter"),
        ([" "], "InvalidParameter"),
        (["word " * 9_000], "InvalidParameter"),
        ([["text"]], "InvalidParameter"),
    ],
)
def test_a_line_is_checked_as_a_request_is(simulator: Simulator, bad: list[Any], code: str) -> None:
    with client_of(simulator) as client:
        job = client.batches.retrieve(started(client, [line("bad", bad)]).id)
        assert (job.status, job.output_file_id) == ("completed", None)
        (error,) = read_lines(client, job.error_file_id)
    assert error["error"]["code"] == code


def test_every_damage_falls_on_another_line_and_spoils_what_cannot_be_had(simulator: Simulator) -> None:
    damage = {"missing_lines": 2, "duplicated_lines": 1, "malformed_lines": 1, "unknown_ids": 1, "wrong_dimension": 1}
    simulator.change({"batch": {**damage, "empty_last_line": True}})
    lines = raw_lines(simulator, numbered(10))
    assert lines.pop() == b"\n"
    found, malformed = [], 0
    for one in lines:
        try:
            found.append(orjson.loads(one))
        except orjson.JSONDecodeError:
            malformed += 1
    own = [result["custom_id"] for result in found if not result["custom_id"].startswith("unknown-")]
    short = [
        item
        for result in found
        for item in result["response"]["body"]["data"]
        if len(item["embedding"]) == DIMENSIONS // 2
    ]
    assert (malformed, len(own), len(set(own)), len(found) - len(own), len(short)) == (1, 8, 7, 1, 1)
    books = simulator.books
    assert (books.texts_bought, books.texts_spoiled, books.texts_bought_again) == (12, 8, 0)
    assert books.pools["batch"].billed == 10


def test_the_output_may_be_that_of_another_job(simulator: Simulator) -> None:
    simulator.change({"batch": {"foreign_output": True}})
    found = ids(raw_lines(simulator, numbered(3)))
    assert len(found) == 3
    assert not {f"line-{number}" for number in range(3)} & set(found)
    assert (simulator.books.texts_bought, simulator.books.texts_spoiled) == (0, 6)


def test_reset_forgets_files_and_jobs(simulator: Simulator) -> None:
    raw_lines(simulator, numbered(1))
    simulator.reset()
    with client_of(simulator) as client:
        assert client.files.list().data == []
        assert client.batches.list().data is None
    assert simulator.books.texts_bought == simulator.store.counts.lines_bought.total() == 0
