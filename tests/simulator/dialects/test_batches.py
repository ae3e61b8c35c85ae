"""Batch jobs, through the real openai SDK."""

from __future__ import annotations

from typing import Any

import numpy as np
import openai
import pytest

from tests.simulator.batch.client import DIMENSIONS, V4, client_of, create, numbered, read_lines, started, upload
from tests.simulator.clock import SetClock
from tests.simulator.fixtures import StartSimulator
from tests.simulator.model.vectors import expected_vector
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY, SimulatorSettings

NOON_IN_CHINA = 1_796_097_600.0
"""2026-12-01 12:00:00, UTC+8."""


@pytest.fixture
def simulator(start_simulator: StartSimulator) -> Simulator:
    """One whose time stands still until it is advanced."""
    return start_simulator(
        SimulatorSettings(keys={API_KEY: "main", "sk-other": "other"}, starts_at=NOON_IN_CHINA), SetClock()
    )


def test_a_job_from_upload_to_deletion(simulator: Simulator) -> None:
    simulator.change({"batch": {"queue_s": 600, "lines_per_s": 0.1, "finalize_s": 60}})
    requests = numbered(6)
    with client_of(simulator) as client:
        input_file_id = upload(client, requests)
        job = create(client, input_file_id, metadata={"ds_name": "millrace"})
        assert job.request_counts is not None
        assert (job.status, job.in_progress_at, job.request_counts.total) == ("validating", None, 0)
        seen = []
        for seconds in (0, 599, 31, 30, 59, 1):
            simulator.advance(seconds)
            job = client.batches.retrieve(job.id)
            assert job.request_counts is not None
            seen.append((job.status, job.request_counts.total, job.request_counts.completed))
        assert seen == [
            ("in_progress", 6, 0),
            ("in_progress", 6, 0),
            ("in_progress", 6, 3),
            ("finalizing", 6, 6),
            ("finalizing", 6, 6),
            ("completed", 6, 6),
        ]
        assert (job.in_progress_at, job.finalizing_at, job.expires_at) == (job.created_at, job.completed_at, None)
        assert job.completed_at == job.created_at + 600 + 60 + 60
        results = read_lines(client, job.output_file_id)
        for file_id in (input_file_id, job.output_file_id):
            assert file_id is not None
            assert client.files.delete(file_id).deleted
    by_id = {request["custom_id"]: request["body"]["input"] for request in requests}
    assert [result["custom_id"] for result in results] != list(by_id)
    for result in results:
        assert (result["error"], result["response"]["status_code"]) == (None, 200)
        body = result["response"]["body"]
        for text, item in zip(by_id.pop(result["custom_id"]), body["data"], strict=True):
            assert np.array_equal(np.asarray(item["embedding"], np.float32), expected_vector(V4, DIMENSIONS, text))
    assert not by_id
    books, counts = simulator.books, simulator.store.as_json()
    assert (books.texts_bought, books.texts_bought_again, books.answered) == (12, 0, 0)
    half = books.pools["batch"]
    assert (half.billed, half.texts_bought, half.yuan) == (6, 12, books.tokens_billed / 1000 * 0.0005 / 2)
    assert (counts["files_stored"], counts["jobs_by_input_file"]) == (0, {input_file_id: 1})


def test_a_cancelled_job_keeps_what_is_done_and_counts_the_rest_as_failed(simulator: Simulator) -> None:
    simulator.change({"batch": {"lines_per_s": 1, "cancel_s": 0.5}})
    with client_of(simulator) as client:
        job = started(client, numbered(4))
        simulator.advance(1)
        told = client.batches.cancel(job.id)
        assert (told.status, told.cancelling_at) == ("cancelling", None)
        simulator.advance(0.5)
        job = client.batches.retrieve(job.id)
        assert job.request_counts is not None
        assert (job.status, job.cancelling_at) == ("cancelled", job.cancelled_at)
        assert (job.request_counts.completed, job.request_counts.failed) == (1, 3)
        done, rest = read_lines(client, job.output_file_id), read_lines(client, job.error_file_id)
    assert [result["custom_id"] for result in done] == ["line-0"]
    assert sorted(result["custom_id"] for result in rest) == ["line-1", "line-2", "line-3"]
    assert simulator.books.texts_bought == 2


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"input_file_id": "file-batch-nope"}, openai.NotFoundError, "No such File object: file-batch-nope"),
        ({"endpoint": "/v1/embedding"}, openai.BadRequestError, "'/v1/embedding' is not supported"),
        ({"completion_window": "23h"}, openai.BadRequestError, "from 24h to 336h"),
        ({"completion_window": "15d"}, openai.BadRequestError, "from 24h to 336h"),
        ({"completion_window": "1.5d"}, openai.BadRequestError, "from 24h to 336h"),
        ({"metadata": {"ds_name": "n" * 101}}, openai.BadRequestError, "ds_name must not exceed 100"),
        ({"metadata": {"ds_description": "n" * 201}}, openai.BadRequestError, "ds_description must not exceed 200"),
    ],
)
def test_a_wrong_job_is_refused(
    simulator: Simulator, asked: dict[str, Any], error: type[openai.APIStatusError], words: str
) -> None:
    with client_of(simulator) as client:
        input_file_id = asked.pop("input_file_id", None) or upload(client, numbered(1))
        with pytest.raises(error, match=words):
            create(client, input_file_id, **asked)
        assert client.batches.list().data is None


def test_a_result_file_is_no_input(simulator: Simulator) -> None:
    with client_of(simulator) as client:
        job = client.batches.retrieve(started(client, numbered(1)).id)
        assert job.output_file_id is not None
        with pytest.raises(openai.BadRequestError, match="purpose"):
            create(client, job.output_file_id)


@pytest.mark.parametrize(("window", "seconds"), [("24h", 86_400), ("336h", 1_209_600), ("14d", 1_209_600)])
def test_the_window_is_told_where_it_is_told(simulator: Simulator, window: str, seconds: int) -> None:
    simulator.change({"batch": {"expires_at": "filled"}})
    with client_of(simulator) as client:
        job = started(client, numbered(1), completion_window=window)
    assert (job.completion_window, job.expires_at) == (window, job.created_at + seconds)


@pytest.mark.parametrize(
    ("lost", "error"),
    [
        ("reset", openai.APIConnectionError),
        ("500", openai.InternalServerError),
        ("408", openai.APIStatusError),
    ],
)
def test_the_answer_to_a_creation_may_be_lost_and_the_job_found_by_its_file(
    simulator: Simulator, lost: str, error: type[Exception]
) -> None:
    simulator.change({"batch": {"create_answer_lost": lost, "create_answer_lost_times": 1}})
    with client_of(simulator) as client:
        input_file_id = upload(client, numbered(1))
        with pytest.raises(error):
            create(client, input_file_id)
        found = client.batches.list(extra_query={"input_file_ids": input_file_id})
        assert [job.input_file_id for job in found.data] == [input_file_id]
        create(client, input_file_id)
    assert simulator.store.counts.jobs_by_input_file == {input_file_id: 2}
    assert (simulator.books.texts_bought_again, simulator.store.counts.lines_bought_again) == (2, 1)


def test_a_creation_may_fail_and_leave_no_job(simulator: Simulator) -> None:
    simulator.change({"batch": {"create_fails": 1, "fails": {"retrieve": 1, "list": 1, "cancel": 1}, "queue_s": 60}})
    with client_of(simulator) as client:
        input_file_id = upload(client, numbered(1))
        with pytest.raises(openai.InternalServerError):
            create(client, input_file_id)
        assert not simulator.store.jobs
        job = create(client, input_file_id)
        for act in (client.batches.retrieve, client.batches.cancel, lambda _: client.batches.list()):
            with pytest.raises(openai.InternalServerError):
                act(job.id)
        assert client.batches.list().data[0].status == "in_progress"


def test_open_jobs_are_bounded_and_the_peak_is_kept(simulator: Simulator) -> None:
    simulator.change({"batch": {"open_jobs": 2, "queue_s": 60}})
    with client_of(simulator) as client:
        input_file_id = upload(client, numbered(1))
        for _ in range(2):
            create(client, input_file_id)
        with pytest.raises(openai.RateLimitError):
            create(client, input_file_id)
        simulator.advance(60)
        create(client, input_file_id)
    assert simulator.store.counts.peak_open_jobs == 2


def test_a_job_that_has_ended_cannot_be_cancelled(simulator: Simulator) -> None:
    with client_of(simulator) as client:
        job = started(client, numbered(1))
        with pytest.raises(openai.BadRequestError, match="'completed'"):
            client.batches.cancel(job.id)


def test_a_cancel_that_comes_too_late_does_not_stop_the_job(simulator: Simulator) -> None:
    simulator.change({"batch": {"queue_s": 100, "cancel_s": 1e9}})
    with client_of(simulator) as client:
        job = started(client, numbered(2))
        assert client.batches.cancel(job.id).status == client.batches.cancel(job.id).status == "cancelling"
        simulator.advance(100)
        assert client.batches.retrieve(job.id).status == "completed"
    assert simulator.books.texts_bought == 4


def test_a_job_cancelled_before_its_first_line_has_no_output(simulator: Simulator) -> None:
    simulator.change({"batch": {"queue_s": 100}})
    with client_of(simulator) as client:
        job = started(client, numbered(2))
        client.batches.cancel(job.id)
        job = client.batches.retrieve(job.id)
        assert (job.status, job.output_file_id) == ("cancelled", None)
        assert job.request_counts is not None
        assert (job.request_counts.total, job.request_counts.completed, job.request_counts.failed) == (2, 0, 2)
        assert job.error_file_id is not None
        assert job.error_file_id.startswith("file-batch_output-")
    assert simulator.books.tokens_billed == 0


def test_what_both_roads_bought_is_bought_twice(simulator: Simulator) -> None:
    with client_of(simulator) as client:
        client.batches.retrieve(started(client, numbered(1)).id)
        client.embeddings.create(model=V4, input=["text 0.0"], dimensions=DIMENSIONS, encoding_format="float")
    books = simulator.books
    assert (books.texts_bought, books.texts_bought_again, books.answered) == (3, 1, 1)
    realtime, batch = books.pools["realtime"], books.pools["batch"]
    assert (realtime.texts_bought, batch.texts_bought) == (1, 2)
    assert realtime.tokens + batch.tokens == books.tokens_billed
    assert realtime.yuan / realtime.tokens == pytest.approx(2 * batch.yuan / batch.tokens)


def test_the_test_endpoint_is_free(simulator: Simulator) -> None:
    simulator.change({"batch": {"queue_s": 10, "entitled": False}})
    requests = [
        {
            "custom_id": f"{number}",
            "method": "POST",
            "url": "/v1/chat/ds-test",
            "body": {"model": "batch-test-model", "messages": [{"role": "user", "content": "Hello"}]},
        }
        for number in range(100)
    ]
    with client_of(simulator) as client:
        too_long = started(client, [*requests, {**requests[0], "custom_id": "100"}], endpoint="/v1/chat/ds-test")
        first, _ = (started(client, requests, endpoint="/v1/chat/ds-test") for _ in range(2))
        with pytest.raises(openai.RateLimitError):
            started(client, requests, endpoint="/v1/chat/ds-test")
        simulator.advance(10)
        results = read_lines(client, client.batches.retrieve(first.id).output_file_id)
        assert client.batches.retrieve(too_long.id).status == "failed"
    said = {result["response"]["body"]["choices"][0]["message"]["content"] for result in results}
    assert (len(results), said) == (100, {"This is a test result."})
    assert (simulator.books.tokens_billed, simulator.books.pools["batch"].billed) == (0, 0)
