"""Files, through the real openai SDK."""

from __future__ import annotations

import asyncio

import httpx2
import openai
import pytest

from tests.simulator.batch.client import client_of, create, file_of, numbered, read_lines, started, upload
from tests.simulator.clock import SetClock
from tests.simulator.fixtures import StartSimulator
from tests.simulator.raw import post
from tests.simulator.server import Simulator, serving
from tests.simulator.settings import API_KEY, SimulatorSettings


@pytest.fixture
def simulator(start_simulator: StartSimulator) -> Simulator:
    """One whose time stands still until it is advanced."""
    return start_simulator(SimulatorSettings(keys={API_KEY: "main", "sk-other": "other"}), SetClock())


def content(client: openai.OpenAI, file_id: str | None) -> bytes:
    assert file_id is not None
    with client.files.with_streaming_response.content(file_id) as answer:
        return b"".join(answer.iter_bytes())


def test_an_upload_can_be_looked_at_read_and_deleted(simulator: Simulator) -> None:
    data = file_of(numbered(3))
    with client_of(simulator) as client, client_of(simulator, "sk-other") as other:
        file = client.files.create(file=("part-1.jsonl", data), purpose="batch")
        assert (file.bytes, file.filename, file.purpose, file.status) == (
            len(data),
            "part-1.jsonl",
            "batch",
            "processed",
        )
        assert client.files.retrieve(file.id) == file
        assert client.files.list(purpose="batch").data == [file]
        assert content(client, file.id) == data
        assert other.files.list().data == []
        for act in (other.files.retrieve, other.files.delete, other.files.content):
            with pytest.raises(openai.NotFoundError):
                act(file.id)
        assert simulator.store.as_json()["uploads_never_referenced"] == [file.id]
        assert client.files.delete(file.id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(file.id)
    assert (simulator.store.as_json()["files_stored"], simulator.store.as_json()["bytes_stored"]) == (0, 0)


def test_files_are_listed_newest_first_in_pages(simulator: Simulator) -> None:
    with client_of(simulator) as client:
        ids = []
        for number in range(5):
            ids.append(upload(client, numbered(1), f"{number}.jsonl"))
            simulator.advance(1)
        page = client.files.list(purpose="batch", limit=2)
        assert ([file.id for file in page.data], page.has_more) == ([ids[4], ids[3]], True)
        assert [file.id for file in client.files.list(purpose="batch", limit=2)] == ids[::-1]
        with pytest.raises(openai.BadRequestError):
            client.files.list(limit=10_001)
        job = create(client, ids[0])
        output_file_id = client.batches.retrieve(job.id).output_file_id
        assert [file.id for file in client.files.list(purpose="batch_output")] == [output_file_id]
        assert client.files.list(purpose="batch_output").data[0].bytes == len(content(client, output_file_id))


def test_another_purpose_and_a_broken_form_are_refused(simulator: Simulator) -> None:
    with (
        client_of(simulator) as client,
        pytest.raises(openai.BadRequestError, match="'purpose' must be 'file-extract'"),
    ):
        client.files.create(file=("a.jsonl", b"{}"), purpose="vision")
    assert post(f"{simulator.base_url}/files", {})["error.type"] == "invalid_request_error"
    assert simulator.store.counts.refused == {"400 POST /v1/files": 2}


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"max_files": 1}, "Upload file number exceed limit."),
        ({"max_total_bytes": 400}, "Upload file capacity exceed limit."),
        ({"max_file_bytes": 100}, "The file is larger than 100 bytes."),
    ],
)
def test_the_store_is_bounded(simulator: Simulator, limit: dict[str, int], words: str) -> None:
    with client_of(simulator) as client:
        upload(client, numbered(2))
        simulator.change({"files": limit})
        with pytest.raises(openai.BadRequestError, match=words):
            upload(client, numbered(1))


def test_more_than_20_requests_a_second_are_refused(simulator: Simulator) -> None:
    with client_of(simulator) as client:
        for _ in range(20):
            client.files.list()
        with pytest.raises(openai.RateLimitError):
            client.files.list()
        simulator.advance(1)
        client.files.list()


def test_an_upload_may_be_called_uploaded_and_be_unknown_to_jobs_for_a_while(simulator: Simulator) -> None:
    simulator.change({"files": {"status_after_upload": "uploaded", "visible_after_s": 5}})
    with client_of(simulator) as client:
        file_id = upload(client, numbered(1))
        assert client.files.retrieve(file_id).status == "uploaded"
        with pytest.raises(openai.NotFoundError):
            create(client, file_id)
        simulator.advance(5)
        create(client, file_id)


@pytest.mark.parametrize(
    ("lost", "error"),
    [("reset", openai.APIConnectionError), ("500", openai.InternalServerError), ("504", openai.InternalServerError)],
)
def test_the_answer_to_an_upload_may_be_lost(simulator: Simulator, lost: str, error: type[Exception]) -> None:
    simulator.change({"files": {"answer_lost": lost, "answer_lost_times": 1}})
    with client_of(simulator) as client:
        with pytest.raises(error):
            upload(client, numbered(1), "first.jsonl")
        upload(client, numbered(1), "second.jsonl")
        assert sorted(file.filename for file in client.files.list()) == ["first.jsonl", "second.jsonl"]


def test_any_request_may_fail_a_number_of_times(simulator: Simulator) -> None:
    with client_of(simulator) as client:
        file_id = upload(client, numbered(1))
        simulator.change({"files": {"fails": {"delete": 2, "download": 1}}})
        for act in (client.files.delete, client.files.delete, client.files.content):
            with pytest.raises(openai.InternalServerError):
                act(file_id)
        assert content(client, file_id) == file_of(numbered(1))
        assert client.files.delete(file_id).deleted


def test_content_comes_in_chunks_without_length_or_type(simulator: Simulator) -> None:
    with client_of(simulator) as client:
        file_id = upload(client, numbered(1))
        with client.files.with_streaming_response.content(file_id) as answer:
            assert answer.headers["transfer-encoding"] == "chunked"
            assert not {"content-length", "content-type"} & set(answer.headers)


@pytest.mark.parametrize("cut_at", [0.5, 900])
def test_a_download_may_break_off_and_be_whole_the_next_time(simulator: Simulator, cut_at: float) -> None:
    with client_of(simulator) as client:
        output_file_id = client.batches.retrieve(started(client, numbered(4)).id).output_file_id
        whole = content(client, output_file_id)
        simulator.change({"files": {"download_cut_at": cut_at, "download_cut_times": 1}})
        with pytest.raises(httpx2.RemoteProtocolError):
            content(client, output_file_id)
        assert content(client, output_file_id) == whole


def test_a_download_may_end_early_as_if_it_were_whole(simulator: Simulator) -> None:
    with client_of(simulator) as client:
        output_file_id = client.batches.retrieve(started(client, numbered(4)).id).output_file_id
        whole = content(client, output_file_id)
        lines = whole.splitlines(keepends=True)
        for cut_at, form, kept in (
            (0.5, "missing_lines", b"".join(lines[:2])),
            (0.5, "torn", b"".join(lines[:2]) + lines[2][: len(lines[2]) // 2]),
            (len(lines[0]) + 7, "missing_lines", lines[0]),
            (len(lines[0]) + 7, "torn", whole[: len(lines[0]) + 7]),
            (0, "missing_lines", b""),
        ):
            simulator.change({"files": {"download_cut_at": cut_at, "download_cut_form": form}})
            assert content(client, output_file_id) == kept
        simulator.change({"files": {"download_cut_at": len(whole)}})
        assert content(client, output_file_id) == whole


async def test_a_download_may_be_slow() -> None:
    clock = SetClock()
    data = file_of(numbered(2))
    async with (
        serving(SimulatorSettings.model_validate({"files": {"download_bytes_per_s": 10}}), clock=clock) as simulator,
        openai.AsyncOpenAI(base_url=simulator.base_url, api_key=API_KEY, max_retries=0, timeout=20) as client,
    ):
        file = await client.files.create(file=("a.jsonl", data), purpose="batch")
        reading = asyncio.create_task(client.files.content(file.id))
        for _ in range(2):
            await clock.slept_on()
            assert not reading.done()
            clock.advance(len(data) / 20)
        assert (await reading).content == data


def test_results_outlive_the_upload_they_came_from(simulator: Simulator) -> None:
    with client_of(simulator) as client:
        file_id = upload(client, numbered(2))
        job = client.batches.retrieve(create(client, file_id).id)
        client.files.delete(file_id)
        assert len(read_lines(client, job.output_file_id)) == 2
        assert simulator.store.as_json()["results_never_downloaded"] == []
        assert job.output_file_id is not None
        client.files.delete(job.output_file_id)
    assert list(simulator.store.shelf.path("").iterdir()) == []
