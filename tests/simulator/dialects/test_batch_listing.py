"""Which jobs are told to whom, through the real openai SDK."""

from __future__ import annotations

import openai
import pytest

from tests.simulator.batch.client import client_of, create, numbered, started
from tests.simulator.clock import SetClock
from tests.simulator.fixtures import StartSimulator
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


def test_listings_are_limited_to_100_a_minute_and_the_others_to_their_own(simulator: Simulator) -> None:
    simulator.change({"batch": {"list_per_minute": 3, "retrieve_per_minute": 2}})
    with client_of(simulator) as client:
        for _ in range(3):
            client.batches.list()
        with pytest.raises(openai.RateLimitError):
            client.batches.list()
        for _ in range(2):
            with pytest.raises(openai.NotFoundError):
                client.batches.retrieve("batch_nope")
        with pytest.raises(openai.RateLimitError):
            client.batches.retrieve("batch_nope")
        simulator.advance(60)
        client.batches.list()
    assert SimulatorSettings().batch.list_per_minute == 100


def test_jobs_are_listed_newest_first_by_any_of_the_filters(simulator: Simulator) -> None:
    simulator.change({"batch": {"queue_s": 3600}})
    with client_of(simulator) as client, client_of(simulator, "sk-other") as other:
        jobs = []
        for number in range(4):
            jobs.append(started(client, numbered(1), metadata={"ds_name": f"run-{number % 2} part"}))
            simulator.advance(60)
        client.batches.cancel(jobs[0].id)

        def found(**query: str) -> list[int]:
            listed = client.batches.list(extra_query=query).data or []
            return [[job.id for job in jobs].index(job.id) for job in listed]

        assert found() == [3, 2, 1, 0]
        assert found(ds_name="n-1") == [3, 1]
        assert found(status="cancelled,cancelling") == [0]
        assert found(input_file_ids=f"{jobs[1].input_file_id},file-batch-nope,{jobs[2].input_file_id}") == [2, 1]
        assert found(create_after="20261201120100") == [3, 2, 1]
        assert found(create_after="20261201120100", create_before="20261201120200") == [2, 1]
        page = client.batches.list(limit=3)
        assert (page.has_more, page.last_id) == (True, jobs[1].id)  # type: ignore[attr-defined]
        assert [job.id for job in client.batches.list(limit=3)] == [job.id for job in reversed(jobs)]
        empty = other.batches.with_raw_response.list()
        assert empty.http_response.json() == {
            "object": "list",
            "data": None,
            "first_id": None,
            "last_id": None,
            "has_more": False,
        }
        for query in ({"create_after": "yesterday"}, {"input_file_ids": ",".join("abcdefghijklmnopqrstu")}):
            with pytest.raises(openai.BadRequestError):
                client.batches.list(extra_query=query)
        with pytest.raises(openai.BadRequestError):
            client.batches.list(limit=101)


def test_a_job_is_its_accounts_and_seen_for_30_days(simulator: Simulator) -> None:
    with client_of(simulator) as client, client_of(simulator, "sk-other") as other:
        job = started(client, numbered(1))
        for act in (other.batches.retrieve, other.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                act(job.id)
        with pytest.raises(openai.NotFoundError):
            create(other, job.input_file_id)
        simulator.advance(30 * 86_400 - 1)
        assert client.batches.retrieve(job.id).status == "completed"
        simulator.advance(1)
        with pytest.raises(openai.NotFoundError):
            client.batches.retrieve(job.id)
