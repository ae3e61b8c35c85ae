"""`millrace serve` and a Prefect server as processes, and what is killed or cancelled in them; `make test-prefect`."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from millrace.tasks.lake import Lake
from tests.flows.prose import english
from tests.flows.site import Site
from tests.system.crashes.processes import processes_of, until

pytestmark = [pytest.mark.operated, pytest.mark.timeout(600)]

STARTS_IN_S = 120.0
ASKED_EVERY_S = 0.2
IN_FLIGHT = 2


@dataclass(frozen=True)
class Operated:
    """A Prefect server and the folder that it and all that it runs are known by."""

    site: Site
    api: str

    @property
    def environment(self) -> dict[str, str]:
        return self.site.process_environment(
            PREFECT_HOME=str(self.site.folder / "prefect"),
            PREFECT_API_URL=self.api,
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            DO_NOT_TRACK="1",
        )

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the server answers. It says 503 while its database is busy, and is asked again, as Prefect's client does."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, data, {"content-type": "application/json"})
        answers: list[Any] = []

        def answered() -> bool:
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    answers.append(json.load(answer))
            except urllib.error.HTTPError as refused:
                if refused.code != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
            return bool(answers)

        until(answered, f"{path}: the server stays busy", every_s=ASKED_EVERY_S)
        return answers[0]

    def answers(self) -> bool:
        try:
            return bool(self.ask("/health"))
        except OSError:
            return False

    @contextmanager
    def served(self) -> Iterator[subprocess.Popen[bytes]]:
        """`millrace serve`, once its deployments are there."""
        command = self.site.command("serve", str(self.site.corpus), "--cron", "", "--verify-cron", "")
        process = subprocess.Popen(command, env=self.environment, start_new_session=True)
        try:
            until(
                lambda: self.deployment("index-documents") != "",
                "nothing is deployed",
                patience_s=STARTS_IN_S,
                every_s=ASKED_EVERY_S,
            )
            yield process
        finally:
            process.kill()
            process.wait()

    def deployment(self, name: str) -> str:
        found = [one["id"] for one in self.ask("/deployments/filter", {}) if one["name"] == name]
        return str(found[0]) if found else ""

    def start(self, deployment: str = "index-documents") -> str:
        """Ask for a run of the deployment; its id."""
        run = self.ask(f"/deployments/{self.deployment(deployment)}/create_flow_run", {})
        return str(run["id"])

    def foreign_run(self) -> str:
        """The id of a run of somebody else's flow that is named as ours, sent a heartbeat of Prefect's, and works on."""
        flow = self.ask("/flows/", {"name": "ingest"})
        run = str(self.ask("/flow_runs/", {"flow_id": flow["id"], "state": {"type": "RUNNING"}})["id"])
        heartbeat = {
            "event": "prefect.flow-run.heartbeat",
            "occurred": datetime.now(UTC).isoformat(),
            "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
            "related": [
                {
                    "prefect.resource.id": f"prefect.flow.{flow['id']}",
                    "prefect.resource.role": "flow",
                    "prefect.resource.name": "ingest",
                }
            ],
            "id": str(uuid.uuid4()),
        }
        request = urllib.request.Request(
            self.api + "/events", json.dumps([heartbeat]).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == HTTPStatus.NO_CONTENT
        return run

    def state(self, run: str) -> str:
        return str(self.ask(f"/flow_runs/{run}")["state"]["name"])

    def history(self, run: str) -> list[str]:
        """The names of the states that the run was in, in their order."""
        return [str(state["name"]) for state in self.ask(f"/flow_run_states/?flow_run_id={run}")]

    def ends(self, run: str, state: str, *, patience_s: float = 180.0) -> None:
        until(lambda: self.state(run) == state, f"the run is not {state}", patience_s=patience_s, every_s=ASKED_EVERY_S)

    def tasks(self, run: str) -> Counter[str]:
        """The task runs of a flow run, by name without number, and state."""
        mine = self.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
        return Counter(f"{one['name'].rpartition(' ')[0]}: {one['state_name']}" for one in mine)

    def retry(self, run: str) -> None:
        """What the button Retry of the UI does."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
        answer = self.ask(f"/flow_runs/{run}/set_state", {"state": state, "force": False})
        assert answer["status"] == "ACCEPT", answer

    def counts(self) -> Any:
        """What the last run did, as `ingest --json` tells it."""
        with Lake.open(self.site.lake, "documents", read_only=True) as lake:
            return lake.runs.newest(1)[0].counts

    def engine(self) -> int:
        """The process of the flow run."""
        return next(
            pid
            for pid in processes_of(self.site.folder)
            if b"prefect.engine" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )

    def is_buying(self) -> bool:
        return self.site.simulator.books.answered > 2


@pytest.fixture
def operated(site: Site) -> Iterator[Operated]:
    """A server of its own, and forty documents that a slow provider takes a while for."""
    for number in range(40):
        site.write(f"{number}.md", f"# {number}\n\n" + english(30, seed=number))
    site.simulator.change({"latency": {"fixed_s": 0.5}})
    site.overrides = (*site.overrides, f"limits.max_in_flight={IN_FLIGHT}")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    operated = Operated(site, f"http://127.0.0.1:{port}/api")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, env=operated.environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        until(operated.answers, "the server does not start", patience_s=STARTS_IN_S)
        yield operated
    finally:
        for pid in processes_of(site.folder):
            os.kill(pid, signal.SIGKILL)
        server.wait()


def test_a_run_whose_process_is_killed_is_crashed_and_the_next_buys_what_was_in_flight_at_most(
    operated: Operated,
) -> None:
    books = operated.site.simulator.books
    with operated.served():
        run = operated.start()
        until(operated.is_buying, "nothing is bought", patience_s=STARTS_IN_S)
        os.kill(operated.engine(), signal.SIGKILL)
        operated.ends(run, "Crashed")
        operated.ends(operated.start(), "Completed")
    assert books.texts_bought_again <= 10 * IN_FLIGHT
    operated.site.check()


def test_a_run_that_is_cancelled_keeps_what_it_paid_for(operated: Operated) -> None:
    with operated.served():
        run = operated.start()
        until(operated.is_buying, "nothing is bought", patience_s=STARTS_IN_S)
        operated.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
        operated.ends(run, "Cancelled")
        assert "Crashed" not in operated.history(run)
        operated.ends(operated.start(), "Completed")
    assert operated.site.simulator.books.texts_bought_again == 0
    operated.site.check()


def test_a_run_that_was_killed_with_its_worker_is_marked_and_the_next_one_goes_on(operated: Operated) -> None:
    with operated.served() as worker:
        others = operated.foreign_run()
        run = operated.start()
        until(operated.is_buying, "nothing is bought", patience_s=STARTS_IN_S)
        worker.kill()
        os.kill(operated.engine(), signal.SIGKILL)
    killed = time.monotonic()
    with operated.served():
        following = operated.start()
        operated.ends(run, "Crashed", patience_s=240.0)
        assert time.monotonic() - killed < 240.0
        assert operated.state(others) == "Running"
        operated.ends(following, "Completed")
    assert operated.site.simulator.books.texts_bought_again <= 10 * IN_FLIGHT
    operated.site.check()


def test_a_serve_that_is_stopped_lets_its_run_end_and_a_comparison_waits_for_the_next_one(operated: Operated) -> None:
    with operated.served() as serve:
        run = operated.start()
        until(operated.is_buying, "nothing is bought", patience_s=STARTS_IN_S)
        os.killpg(serve.pid, signal.SIGTERM)  # as systemd does, and as a shell that is closed
        assert serve.wait(timeout=60) == 0
        assert operated.history(run)[-2:] == ["Running", "Cancelled"]
        assert operated.counts()["documents"]["added"] < 40
    with operated.served() as serve:
        ingest, comparison = operated.start(), operated.start("verify-documents")
        until(lambda: operated.state(comparison) == "Waiting", "it does not wait", patience_s=STARTS_IN_S)
        operated.ends(ingest, "Completed")
        operated.ends(comparison, "Completed")
        serve.terminate()
        assert serve.wait(timeout=60) == 0
    assert operated.site.simulator.books.texts_bought_again == 0
    operated.site.check()


def test_a_failed_part_is_a_failed_task_and_retry_does_what_is_missing_alone(operated: Operated) -> None:
    site, books = operated.site, operated.site.simulator.books
    for number in range(300):
        site.write(f"more/{number}.md", f"# {number}\n\n" + english(60, seed=1000 + number))
    no_money = {"fault": "arrearage", "numbers": list(range(60, 1000))}
    site.simulator.change({"latency": {"fixed_s": 0}, "faults": [no_money]})
    with operated.served():
        run = operated.start()
        operated.ends(run, "Failed")
        until(
            lambda: operated.tasks(run)["embed and load part: Failed"] > 0, "no task has failed", every_s=ASKED_EVERY_S
        )
        assert operated.tasks(run)["embed and load part: Completed"] > 0
        paid, stopped = books.texts_bought, operated.counts()
        assert 0 < stopped["documents"]["added"] < 340
        site.simulator.change({"faults": []})
        operated.retry(run)
        operated.ends(run, "Completed")
    done = operated.counts()
    assert done["documents"]["unchanged"] == stopped["documents"]["added"]
    assert done["documents"]["added"] == 340 - stopped["documents"]["added"]
    assert done["chunks"]["embedded"] == books.texts_bought - paid
    assert done["chunks"]["reused"] == paid - stopped["chunks"]["upserted"]
    assert books.texts_bought_again == 0
    assert len(site.check()) == books.texts_bought
