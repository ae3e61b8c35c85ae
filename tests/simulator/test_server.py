"""The server around the endpoints: control, concurrency, and the process form."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import openai
import pytest

from tests.simulator.__main__ import parsed
from tests.simulator.clock import SetClock
from tests.simulator.faults import Damage, FaultRule
from tests.simulator.limits import Limits
from tests.simulator.raw import post
from tests.simulator.server import Simulator, serving
from tests.simulator.settings import API_KEY, Latency, SimulatorSettings

V4 = "text-embedding-v4"
ROOT = Path(__file__).parents[2]


def fetch(url: str, body: object = None) -> dict[str, object]:
    """The JSON at `url`; POSTs `body` if there is one."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=20) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def embed(base_url: str, text: str = "a") -> None:
    with openai.OpenAI(base_url=base_url, api_key=API_KEY, max_retries=0, timeout=20) as client:
        client.embeddings.create(model=V4, input=text, encoding_format="float")


def test_books_are_read_and_reset_over_http(simulator: Simulator) -> None:
    embed(simulator.base_url)
    books = fetch(f"{simulator.root_url}/__books__?texts=1")
    assert (books["requests"], books["texts_bought"], books["tokens_billed"]) == (1, 1, 2)
    digest = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert books["texts"] == {f"{V4}/1024": {digest: {"sent": 1, "bought": 1, "spoiled": 0}}}
    fetch(f"{simulator.root_url}/__reset__", {})
    assert fetch(f"{simulator.root_url}/__books__")["requests"] == 0


def test_settings_are_merged_over_http(simulator: Simulator) -> None:
    fetch(f"{simulator.root_url}/__settings__", {"limits": {"requests_per_minute": 30}, "seed": 5})
    changed = fetch(f"{simulator.root_url}/__settings__", {"limits": {"requests_per_second": 2}})
    assert changed["seed"] == 5
    assert simulator.settings.limits == Limits(requests_per_minute=30, requests_per_second=2)


def test_an_unknown_setting_is_refused_by_its_name_and_changes_nothing(simulator: Simulator) -> None:
    before = simulator.settings
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(f"{simulator.root_url}/__settings__", {"sed": 1})
    with caught.value as answer:
        assert (answer.status, "sed" in answer.read().decode()) == (400, True)
    assert simulator.settings is before


def test_an_unknown_path_is_404_and_a_get_405(simulator: Simulator) -> None:
    statuses = []
    for path in ("/v2/embeddings", "/v1/embeddings"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            fetch(simulator.root_url + path)
        with caught.value as answer:
            statuses.append(answer.status)
    assert statuses == [404, 405]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /v1/embeddings HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", b"413"),
        (b"POST /v1/embeddings HTTP/1.1\r\ncontent-length: 3\r\nconnection: close\r\n\r\n{]}", b"400"),
        (b"POST /v1/embeddings HTTP/1.1\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}", b"401"),
    ],
)
def test_a_malformed_request_is_answered(simulator: Simulator, sent: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=20) as connection:
        connection.sendall(sent)
        assert connection.recv(100).split()[1] == status


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/compatible-mode/v1/embed", ["error", "id", "request_id"]),
        ("/api/v1/services/embeddings", ["code", "message", "request_id"]),
        ("/compatible-api/v1/rerank", ["error", "id", "request_id"]),
        ("/openai/v1/score", ["error"]),
    ],
)
def test_an_unknown_path_is_refused_in_the_words_of_its_neighbours(
    simulator: Simulator, path: str, shape: list[str]
) -> None:
    reply = post(simulator.root_url + path, {})
    assert isinstance(reply.body, dict)
    assert (reply.status, sorted(reply.body)) == (404, shape)


def test_groups_of_settings_are_merged_and_the_books_count_by_path(simulator: Simulator) -> None:
    simulator.change({"iflytek": {"texts_per_request": 4}})
    simulator.change({"iflytek": {"limits": {"requests_per_second": 5}}, "openai": {"flavour": "tei"}})
    settings = simulator.settings
    assert (settings.iflytek.texts_per_request, settings.iflytek.limits.requests_per_second) == (4, 5)
    assert (settings.openai.flavour, settings.openai.usage) == ("tei", "counted")
    embed(simulator.base_url)
    post(f"{simulator.iflytek_url}/embeddings", {})
    assert simulator.books.routes == {"/v1/embeddings": 1, "/iflytek/v1/embeddings": 1}


async def test_concurrent_requests_are_answered_concurrently() -> None:
    clock = SetClock()
    async with (
        serving(SimulatorSettings(latency=Latency(fixed_s=60)), clock=clock) as simulator,
        openai.AsyncOpenAI(base_url=simulator.base_url, api_key=API_KEY, max_retries=0, timeout=20) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(20):
            group.create_task(client.embeddings.create(model=V4, input=f"{number}", encoding_format="float"))
        await clock.slept_on(20)
        clock.advance(60)
    assert (simulator.books.peak_concurrency, simulator.books.answered) == (20, 20)


async def test_a_client_may_queue_for_growth_but_not_for_the_other_limits() -> None:
    clock = SetClock()
    header = {"X-DashScope-Wait-Timeout": "10"}
    async with (
        serving(SimulatorSettings(limits=Limits(growth_per_second=1)), clock=clock) as simulator,
        openai.AsyncOpenAI(
            base_url=simulator.base_url, api_key=API_KEY, max_retries=0, timeout=20, default_headers=header
        ) as client,
    ):
        await client.embeddings.create(model=V4, input="a", encoding_format="float")
        queued = asyncio.create_task(client.embeddings.create(model=V4, input="b", encoding_format="float"))
        for _ in range(2):
            await clock.slept_on()
            assert simulator.books.answered == 1
            clock.advance(0.5)
        await queued
        assert simulator.books.throttled == {}
        simulator.change({"limits": {"growth_per_second": None, "requests_per_minute": 60}})
        await client.embeddings.create(model=V4, input="c", encoding_format="float")
        with pytest.raises(openai.RateLimitError):
            await client.embeddings.create(model=V4, input="d", encoding_format="float")


def test_the_process_prints_its_address_first_and_ends_on_a_signal() -> None:
    command = [sys.executable, "-m", "tests.simulator", "--max-seconds", "60", "--beijing", "--fault", "reset:every=50"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        root_url = base_url.removesuffix("/v1")
        roots = dict(process.stdout.readline().split() for _ in range(6))
        assert roots == {
            "compatible": base_url,
            "native": f"{root_url}/api/v1",
            "rerank": f"{root_url}/compatible-api/v1",
            "iflytek": f"{root_url}/iflytek/v1",
            "openai": f"{root_url}/openai/v1",
            "tei": f"{root_url}/openai",
        }
        embed(base_url)
        settings = fetch(base_url.removesuffix("/v1") + "/__settings__")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert settings["limits"] == Limits.beijing().model_dump()


def test_the_process_ends_after_its_time() -> None:
    command = [sys.executable, "-m", "tests.simulator", "--max-seconds", "0.1"]
    assert subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, timeout=30, check=False).returncode == 0


def test_the_process_ends_when_its_parent_is_gone() -> None:
    parent = (
        "import subprocess, sys; "
        "child = subprocess.Popen([sys.executable, '-m', 'tests.simulator', '--max-seconds', '60'], "
        "stdout=subprocess.PIPE, stderr=sys.stdout); print(child.stdout.readline().decode())"
    )
    # Standard error of the simulator is the pipe read here: the end of it is the end of the simulator.
    result = subprocess.run(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, cwd=ROOT, timeout=30, check=True
    )
    port = int(result.stdout.strip().split(":")[2].split("/")[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_flags_become_settings() -> None:
    arguments = ["--rps", "30", "--tps", "20000", "--window", "sliding", "--latency", "0.15", "--jitter", "0.05"]
    arguments += ["--fault", "hang:share=0.01,seed=3", "--key", "sk-a=one", "--settings", '{"poison_share": 0.01}']
    settings, max_seconds = parsed([*arguments, "--max-seconds", "9"])
    assert max_seconds == 9
    assert settings == SimulatorSettings(
        limits=Limits(
            requests_per_second=30, tokens_per_second=20_000, second_window="sliding", minute_window="sliding"
        ),
        latency=Latency(fixed_s=0.15, jitter_s=0.05),
        faults=(FaultRule(fault=Damage.HANG, share=0.01, seed=3),),
        keys={"sk-a": "one"},
        poison_share=0.01,
    )


@pytest.mark.parametrize("arguments", [["--fault", "gremlins:every=2"], ["--settings", "{"], ["--rps", "-1"]])
def test_a_wrong_flag_is_a_usage_error(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(arguments)
    assert caught.value.code == 2
