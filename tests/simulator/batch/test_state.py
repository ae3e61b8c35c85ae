"""The state file: what outlives a simulator."""

from __future__ import annotations

from pathlib import Path

from tests.simulator.batch.client import client_of, numbered, read_lines, started, upload
from tests.simulator.clock import SetClock
from tests.simulator.server import running_simulator
from tests.simulator.settings import SimulatorSettings


def settings(folder: Path, **batch: object) -> SimulatorSettings:
    return SimulatorSettings.model_validate(
        {"state_file": str(folder / "state"), "starts_at": 1e9, "batch": {"lines_per_s": 1, **batch}}
    )


def test_files_jobs_date_and_bill_outlive_a_kill(tmp_path: Path) -> None:
    with (
        running_simulator(settings(tmp_path, missing_lines=1), clock=SetClock()) as simulator,
        client_of(simulator) as client,
    ):
        left_behind = upload(client, numbered(1), "orphan.jsonl")
        job = started(client, numbered(4), metadata={"ds_name": "run"})
        client.embeddings.create(model="text-embedding-v4", input="realtime", encoding_format="float")
        simulator.advance(3)
        before = client.batches.retrieve(job.id)
        assert before.status == "in_progress"
        gone = upload(client, numbered(1))
        client.files.delete(gone)
        counts, bought = simulator.store.as_json(lines=True), simulator.books.texts_bought
        simulator.advance(100)
    # Killed in the middle of writing a line.
    with (tmp_path / "state").open("ab") as state:
        state.write(b'{"job":{"id')
    with running_simulator(settings(tmp_path), clock=SetClock()) as simulator, client_of(simulator) as client:
        assert simulator.now == 1e9 + 3
        assert client.batches.retrieve(job.id) == before
        assert simulator.store.as_json(lines=True) == counts
        assert simulator.books.texts_bought == bought
        assert counts["uploads_never_referenced"] == [left_behind]
        simulator.advance(1)
        ended = client.batches.retrieve(job.id)
        assert ended.status == "completed"
        assert len(read_lines(client, ended.output_file_id)) == 3
    with running_simulator(settings(tmp_path), clock=SetClock()) as simulator, client_of(simulator) as client:
        assert client.batches.retrieve(job.id) == ended
        assert len(read_lines(client, ended.output_file_id)) == 3
        assert simulator.books.pools["batch"].texts_bought + simulator.books.pools["batch"].texts_spoiled == 8
        assert simulator.books.texts_bought_again == 0


def test_nothing_is_left_where_no_state_is_kept() -> None:
    with running_simulator(SimulatorSettings()) as simulator, client_of(simulator) as client:
        upload(client, numbered(1))
        folder = simulator.store.shelf.path("")
        assert len(list(folder.iterdir())) == 1
    assert not folder.exists()
