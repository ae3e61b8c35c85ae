"""How a job stands as time passes, and what its results may lack."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from pydantic import ValidationError

from tests.simulator.batch.client import client_of, numbered, read_lines, started
from tests.simulator.clock import SetClock
from tests.simulator.fixtures import StartSimulator
from tests.simulator.server import Simulator
from tests.simulator.settings import SimulatorSettings


@pytest.fixture
def simulator(start_simulator: StartSimulator) -> Simulator:
    """One whose time stands still until it is advanced."""
    return start_simulator(SimulatorSettings(), SetClock())


def stands(client: openai.OpenAI, job: openai.types.Batch) -> tuple[str, int, int]:
    """Status, completed and failed."""
    job = client.batches.retrieve(job.id)
    assert job.request_counts is not None
    return job.status, job.request_counts.completed, job.request_counts.failed


@pytest.mark.parametrize(
    ("batch", "course"),
    [
        ({"validate_s": 9}, {0: ("validating", 0), 9: ("completed", 10)}),
        ({"queue_s": 50}, {49: ("in_progress", 0), 50: ("completed", 10)}),
        ({"queue_s": {"text-embedding-v4": 50}}, {49: ("in_progress", 0), 50: ("completed", 10)}),
        ({"queue_s": {"text-embedding-v3": 50, "": 9}}, {8: ("in_progress", 0), 9: ("completed", 10)}),
        ({"lines_per_s": 2}, {1: ("in_progress", 2), 4.4: ("in_progress", 8), 5: ("completed", 10)}),
        (
            {"lines_per_s": 1, "stall": {"at_share": 0.5, "for_s": 100}},
            {4: ("in_progress", 4), 5: ("in_progress", 5), 104: ("in_progress", 5), 106: ("in_progress", 6)},
        ),
        (
            {"stall": {"at_share": 0.89, "for_s": 60}},
            {0: ("in_progress", 9), 59: ("in_progress", 9), 60: ("completed", 10)},
        ),
        ({"lines_per_s": 1, "counts_step": 4}, {3: ("in_progress", 0), 9: ("in_progress", 8), 10: ("completed", 10)}),
        ({"finalize_s": 30}, {0: ("finalizing", 10), 30: ("completed", 10)}),
    ],
)
def test_a_job_takes_the_time_that_is_set(
    simulator: Simulator, batch: dict[str, Any], course: dict[float, tuple[str, int]]
) -> None:
    simulator.change({"batch": batch})
    with client_of(simulator) as client:
        job = started(client, numbered(10))
        passed_s = 0.0
        for at_s, expected in course.items():
            simulator.advance(at_s - passed_s)
            passed_s = at_s
            assert stands(client, job) == (*expected, 0), f"after {at_s} s"


def test_a_stuck_queue_may_be_freed_while_it_runs(simulator: Simulator) -> None:
    simulator.change({"batch": {"queue_s": 1e9}})
    with client_of(simulator) as client:
        job = started(client, numbered(2))
        simulator.advance(3600)
        assert stands(client, job) == ("in_progress", 0, 0)
        simulator.change({"batch": {"queue_s": 0}})
        ended = client.batches.retrieve(job.id)
        assert (ended.status, ended.completed_at) == ("completed", job.created_at + 3600)


def test_poison_falls_on_the_lines_done_while_it_is_set(simulator: Simulator) -> None:
    simulator.change({"batch": {"lines_per_s": 1}})
    with client_of(simulator) as client:
        job = started(client, numbered(4))
        simulator.advance(2)
        simulator.change({"poison_words": ["text"]})
        simulator.advance(2)
        assert stands(client, job) == ("completed", 2, 2)
    assert simulator.books.texts_bought == 4


@pytest.mark.parametrize(("listed", "failed"), [("listed", 3), ("absent", 0)])
def test_an_expired_job_keeps_what_is_done_and_bills_no_more(simulator: Simulator, listed: str, failed: int) -> None:
    simulator.change({"batch": {"queue_s": 86_400 - 2, "lines_per_s": 1, "expired_lines": listed}})
    with client_of(simulator) as client:
        job = started(client, numbered(5))
        simulator.advance(2 * 86_400)
        assert stands(client, job) == ("expired", 2, failed)
        job = client.batches.retrieve(job.id)
        assert (job.expired_at, job.completed_at) == (job.created_at + 86_400, None)
        assert {result["custom_id"] for result in read_lines(client, job.output_file_id)} == {"line-0", "line-1"}
        assert (job.error_file_id is None) == (listed == "absent")
        if job.error_file_id:
            rest = read_lines(client, job.error_file_id)
            assert {(result["custom_id"], result["error"]["code"]) for result in rest} == {
                (f"line-{number}", "batch_expired") for number in (2, 3, 4)
            }
    assert simulator.books.texts_bought == 4


def test_a_result_may_be_published_late(simulator: Simulator) -> None:
    simulator.change({"batch": {"result_published_after_s": 600}})
    with client_of(simulator) as client:
        job = client.batches.retrieve(started(client, numbered(1)).id)
        assert (job.status, job.output_file_id) == ("completed", None)
        assert client.files.list(purpose="batch_output").data == []
        simulator.advance(600)
        job = client.batches.retrieve(job.id)
        assert len(read_lines(client, job.output_file_id)) == 1


def test_a_job_without_the_right_to_batch_is_refused_line_by_line_for_nothing(simulator: Simulator) -> None:
    simulator.change({"batch": {"entitled": False}})
    with client_of(simulator) as client:
        job = started(client, numbered(3))
        assert stands(client, job) == ("completed", 0, 3)
        job = client.batches.retrieve(job.id)
        assert job.output_file_id is None
        codes = {result["error"]["code"] for result in read_lines(client, job.error_file_id)}
    assert codes == {"AccessDenied.Unpurchased"}
    assert simulator.books.tokens_billed == 0


def test_the_calendar_drives_jobs_without_being_advanced(start_simulator: StartSimulator) -> None:
    clock = SetClock()
    simulator = start_simulator(
        SimulatorSettings.model_validate({"seconds_per_second": 3600, "batch": {"queue_s": 7200}}), clock
    )
    with client_of(simulator) as client:
        job = started(client, numbered(1))
        clock.advance(1.9)
        assert client.batches.retrieve(job.id).status == "in_progress"
        clock.advance(0.1)
        assert client.batches.retrieve(job.id).status == "completed"


def test_each_job_may_have_a_fate_of_its_own(simulator: Simulator) -> None:
    late, stuck = {"queue_s": 60}, {"stall": {"at_share": 0.4, "for_s": 1e9}}
    simulator.change({"batch": {"by_job": {"1": late, "2": stuck, "3": {"missing_lines": 1}}}})
    with client_of(simulator) as client:
        jobs = [started(client, numbered(5)) for _ in range(4)]
        assert [stands(client, job)[:2] for job in jobs] == [
            ("in_progress", 0),
            ("in_progress", 2),
            ("completed", 5),
            ("completed", 5),
        ]
        damaged, sound = (client.batches.retrieve(job.id).output_file_id for job in jobs[2:])
        assert (len(read_lines(client, damaged)), len(read_lines(client, sound))) == (4, 5)
        simulator.advance(86_400)
        assert [stands(client, job) for job in jobs[:2]] == [("completed", 5, 0), ("expired", 2, 3)]


def test_a_wrong_setting_of_one_job_is_refused(simulator: Simulator) -> None:
    with pytest.raises(ValidationError, match="queue"):
        simulator.change({"batch": {"by_job": {"1": {"queue": 60}}}})
