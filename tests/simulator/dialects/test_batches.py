"""Batch jobs, through the real openai SDK."""

from __future__ import annotations

import numpy as np
import pytest

from tests.simulator.batch.client import DIMENSIONS, V4, client_of, create, numbered, read_lines, started, upload
from tests.simulator.clock import SetClock
from tests.simulator.fixtures import StartSimulator
from tests.simulator.model.vectors import expected_vector
from tests.simulator.server import Simulator


@pytest.fixture
def simulator(start_simulator: StartSimulator) -> Simulator:
    """One whose time stands still until it is advanced."""
    return start_simulator(clock=SetClock())


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
