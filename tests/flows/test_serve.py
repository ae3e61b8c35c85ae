"""What `millrace serve` deploys, and what it leaves to each run; without a Prefect server."""

import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from millrace.configs.settings import load_settings
from millrace.flows.commands.ingest.signals import interruptible
from millrace.flows.ingest import ingest
from millrace.flows.monitoring.run_summary import DocumentCounts, RunSummary
from millrace.flows.prefect_support.artifacts import completed, reject_rows
from millrace.flows.prefect_support.heartbeat import HEARTBEAT, HEARTBEAT_EVERY_S, zombie_automation
from millrace.flows.prefect_support.parameters import IngestParameters, VerifyParameters
from millrace.flows.prefect_support.turns import unnecessary
from millrace.flows.serve import Schedule, deployments, deployments_table
from millrace.flows.verify import verify
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.lake.collection.rejects import OUTSTANDING_SCHEMA
from tests.flows.site import ROOT

BEIJING = Schedule(index="0 2 * * *", verify="0 5 * * *", timezone="Asia/Shanghai")


def test_the_automation_is_for_runs_of_our_flows_that_sent_our_sign_of_life() -> None:
    trigger: Any = zombie_automation().trigger
    assert trigger.match_related.root == {
        "prefect.resource.role": ["flow"],
        "prefect.resource.name": [ingest.name, verify.name],
    }
    assert trigger.after == {HEARTBEAT}
    assert HEARTBEAT in trigger.expect
    assert trigger.within >= 3 * timedelta(seconds=HEARTBEAT_EVERY_S)
    ends = {"Completed", "Completed with rejects", "Failed", "Crashed", "Cancelled", "TimedOut"}
    assert {f"prefect.flow-run.{name}" for name in ends} <= trigger.expect


def test_a_deployment_of_a_file_freezes_nothing_that_the_file_may_change(tmp_path: Path) -> None:
    config = tmp_path / "millrace.toml"
    config.write_text('[milvus]\ncollection = "one"\n')
    made = deployments(load_settings(config), [tmp_path], config=config, schedule=BEIJING)
    assert [one.name for one in made] == ["index-one", "backfill-one", "verify-one"]
    config.write_text(
        '[milvus]\ncollection = "two"\nuri = "http://milvus:19530"\n[lake]\npath = "other"\n'
        '[embedding]\nprovider = "dashscope"\n[chunking]\nmax_tokens = 300\n'
    )
    of_index: Any = IngestParameters(**made[0].parameters["parameters"]).settings()
    of_verify: Any = VerifyParameters(**made[2].parameters["parameters"]).settings()
    assert of_index == of_verify == load_settings(config)


def test_a_deployment_without_a_file_keeps_its_corpus_wherever_it_is_served_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = deployments(load_settings(None, ["lake.path=lake"]), [tmp_path], config=None, schedule=BEIJING)
    monkeypatch.chdir("/")
    assert IngestParameters(**made[0].parameters["parameters"]).settings().lake.path == str(tmp_path / "lake")


def test_the_table_of_deployments_says_by_which_clock_they_run(tmp_path: Path) -> None:
    made = deployments(load_settings(None), [tmp_path], config=None, schedule=BEIJING)
    assert deployments_table(made)[:4] == [
        "deployment                 runs            time zone",
        "ingest/index-documents     0 2 * * *       Asia/Shanghai",
        "ingest/backfill-documents  when asked for",
        "verify/verify-documents    0 5 * * *       Asia/Shanghai",
    ]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (("at two", "", "UTC"), "the schedule 'at two' cannot be used"),
        (("", "0 5 * *", "UTC"), "the schedule '0 5 \\* \\*' cannot be used"),
        (("", "", "Mars/Phobos"), "no time zone 'Mars/Phobos'; name one as in Europe/Berlin"),
        (("", "", "../etc/passwd"), "no time zone"),
    ],
)
def test_a_wrong_schedule_is_refused_in_words(schedule: tuple[str, str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Schedule(*schedule)


def test_overdue_runs_are_skipped_but_for_one_that_became_due_meanwhile() -> None:
    began = datetime(2026, 11, 30, 2, 30, tzinfo=UTC)

    def run(minutes: int, *, auto: bool = True, parameters: str = "ours") -> Any:
        due = began + timedelta(minutes=minutes)
        return SimpleNamespace(expected_start_time=due, auto_scheduled=auto, parameters=parameters)

    old, older, first, second = run(-15), run(-30), run(15), run(30)
    others = [run(-15, auto=False), run(15, parameters="theirs")]
    skipped = unnecessary([older, old, *others, first, second], "ours", began)
    assert [run for run, _ in skipped] == [older, old, second]
    assert skipped[0][1] == "the run that began at 02:30 UTC does what it was for"
    assert skipped[2][1].startswith("one that was due before it waits for the run of 02:30 UTC to end")


def test_rejects_of_this_run_come_first_with_reason_and_remedy() -> None:
    table = OUTSTANDING_SCHEMA.empty_table().from_pylist(
        [
            {
                "stage": "read",
                "source": source,
                "item": "",
                "reason": "empty",
                "message": "m",
                "remedy": "r",
                "run": run,
            }
            for source, run in (("a", "earlier"), ("b", "mine"), ("c", "earlier"), ("d", "mine"))
        ],
        schema=OUTSTANDING_SCHEMA,
    )
    rows = reject_rows(table, "mine")
    assert [(row["source"], row["run"]) for row in rows] == [
        ("b", "this one"), ("d", "this one"), ("a", "earlier"), ("c", "earlier"),
    ]  # fmt: skip
    assert [*rows[0]] == ["reason", "remedy", "source", "item", "message", "stage", "run"]


@pytest.mark.parametrize(
    ("rejects", "new", "name", "message"),
    [
        (0, 0, "Completed", "documents  5 seen: "),
        (4, 0, "Completed with rejects", "with rejects, 0 new of 4: documents  5 seen: "),
        (4, 1, "Completed with rejects", "with rejects, 1 new of 4: documents  5 seen: "),
    ],
)
def test_the_state_of_a_run_tells_of_rejects_and_how_many_are_new(
    rejects: int, new: int, name: str, message: str
) -> None:
    documents = DocumentCounts(seen=5, rejected=rejects)
    summary = RunSummary("run", "c", "model", documents, rejects=rejects, rejects_new=new, outcome="finished")
    state = completed(summary, "; waited")
    assert (state.type.value, state.name) == ("COMPLETED", name)
    assert state.message.startswith(message)
    assert state.message.endswith("; waited")


def test_a_signal_that_came_before_the_handler_and_one_that_comes_twice_stop_a_run_once() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # as `serve` starts its runs
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    with interruptible() as handler:
        assert handler.requested
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        assert handler.requested
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_the_units_of_systemd_in_the_docs_say_what_serve_needs() -> None:
    page = (ROOT / "docs" / "how-to" / "prefect.md").read_text("utf-8")
    for line in ("KillMode=mixed", "TimeoutStopSec=", "Environment=PREFECT_API_URL=", "After=prefect-server.service"):
        assert line in page
