"""The same runs under Prefect: what is seen of them there, and that nothing else is different."""

import asyncio
import json
import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest

from millrace.flows.monitoring.run_summary import RunSummary
from millrace.flows.prefect_support.parameters import IngestParameters, VerifyParameters
from millrace.tasks.errors import RunStopped
from millrace.tasks.lake import Lake
from tests.flows.prose import english
from tests.flows.site import CHANGE, Site
from tests.simulator.settings import API_KEY
from tests.system.crashes.processes import until

T = TypeVar("T")

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("prefect_api")]


@pytest.fixture(scope="module")
def prefect_api() -> Iterator[None]:
    """A temporary Prefect server with a database of its own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


def ask(question: Callable[[Any], Awaitable[T]]) -> T:
    """What the server answers to a client."""
    from prefect.client.orchestration import get_client

    async def asked() -> T:
        async with get_client() as client:
            return await question(client)

    return asyncio.run(asked())


async def newest_run(client: Any) -> Any:
    return max(await client.read_flow_runs(), key=lambda run: str(run.start_time))


def task_states(flow_run: UUID) -> Counter[str]:
    """Task runs of a flow run by name without number, and state."""
    runs = [run for run in ask(lambda client: client.read_task_runs()) if run.flow_run_id == flow_run]
    return Counter(f"{run.name.rpartition(' ')[0]}: {run.state_name}" for run in runs)


def artifacts_of(flow_run: UUID) -> dict[str, Any]:
    """What a flow run shows, by the first word of its key."""
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run]))
    return {
        str(found.key).partition("-")[0]: found
        for found in ask(lambda client: client.read_artifacts(artifact_filter=mine))
    }


def logs_of(flow_run: UUID) -> list[Any]:
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    mine = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run]))
    found: list[Any] = ask(lambda client: client.read_logs(log_filter=mine))
    return found


async def _awaited(flow_run: Awaitable[Any]) -> Any:
    """The final state: Prefect's types say less of a flow than it is."""
    return await flow_run


def run(site: Site, *more: str) -> RunSummary:
    from millrace.flows.ingest import ingest_under_prefect

    return ingest_under_prefect(site.settings(*more), [site.corpus], quiet=True)


def configuration(site: Site) -> Path:
    """The settings of the site as a file, which is how deployments get them."""
    sections: dict[str, list[str]] = {}
    for assignment in site.assignments():
        key, _, value = assignment.partition("=")
        section, _, name = key.partition(".")
        spelled = value if value.replace(".", "").isdigit() else f'"{value}"'
        sections.setdefault(section, []).append(f"{name} = {spelled}")
    path = site.folder / "site.toml"
    path.write_text("\n".join(f"[{name}]\n" + "\n".join(lines) for name, lines in sections.items()))
    return path


def test_the_page_of_a_run_tells_its_name_its_stages_its_rejects_and_what_to_change(site: Site) -> None:
    for number in range(3):
        site.write(f"{number}.md", f"# {number}\n\n" + english(30, seed=number))
    site.write("旧档案.txt", bytes(range(128, 256)) * 40)
    site.simulator.change({"faults": [{"fault": "internal_error", "numbers": [1]}]})
    report = run(site)
    assert (report.exit_code, report.chunks.upserted) == (3, report.chunks.total)
    flow_run = ask(newest_run)
    assert (flow_run.name, flow_run.state_name) == ("ingest corpus: 4 new", "Completed with rejects")
    assert flow_run.state.message.startswith("with rejects, 1 new of 1: documents  4 seen: ")
    assert task_states(flow_run.id) == {
        "chunk, reader: Completed": 1,
        "embed and load part: Completed": 1,
    }
    shown = artifacts_of(flow_run.id)
    assert shown["progress"].data == 100.0
    (reject,) = json.loads(shown["rejects"].data)
    assert [*reject][:2] == ["reason", "remedy"]
    assert reject["run"] == "this one"
    assert (reject["source"], reject["reason"]) == (str(site.corpus / "旧档案.txt"), "unknown_encoding")
    assert (
        f"| requests | {report.requests.sent}: 0 answered 429, {report.requests.retried} sent again |"
        in shown["summary"].data
    )
    assert "1 item of 1 document was not taken as `unknown_encoding`" in shown["summary"].data
    assert "### What the run waited for" in shown["summary"].data
    page = site.lake / "documents" / "reports" / f"{report.run}.html"
    assert f"`{page}`" in shown["summary"].data
    assert "旧档案.txt" in page.read_text("utf-8")
    until(lambda: any("finished: " in log.message for log in logs_of(flow_run.id)), "the log does not reach Prefect")
    output = [(log.level, log.name, log.message) for log in logs_of(flow_run.id)]
    assert any(name.startswith("millrace.flows.") and "tries again" in message for _, name, message in output)
    assert {name.split(".")[0] for _, name, _ in output} <= {"prefect", "millrace"}
    assert all(level >= 20 for level, _, _ in output)
    assert API_KEY not in str(output) + str(shown)
    site.check()
    refused = run(site, "embedding.dimensions=512", CHANGE)
    flow_run = ask(newest_run)
    assert (refused.exit_code, flow_run.state_name) == (1, "Failed")
    assert "has another shape" in flow_run.state.message


def test_a_report_that_is_served_is_linked(site: Site) -> None:
    site.write("a.md", english(5))
    report = run(site, "reports.url=http://intranet/reports/")
    shown = artifacts_of(ask(newest_run).id)
    link = f"http://intranet/reports/{report.run}.html"
    assert f"[The whole report, with pictures]({link})" in shown["summary"].data
    assert shown["report"].data == f"[The run's report]({link})"


def test_a_failed_part_is_a_failed_task_and_the_next_run_does_it_alone(site: Site) -> None:
    for number in range(60):
        site.write(f"{number:02}.md", f"# {number}\n\n" + english(60, seed=number))
    site.overrides = (*site.overrides, "limits.max_in_flight=1")
    site.simulator.change({"faults": [{"fault": "arrearage", "numbers": list(range(12, 1000))}]})
    stopped = run(site)
    assert stopped.exit_code == 1
    flow_run = ask(newest_run)
    assert flow_run.state_name == "Failed"
    assert task_states(flow_run.id)["embed and load part: Failed"] >= 1
    until(lambda: any("Arrearage" in log.message for log in logs_of(flow_run.id)), "the log does not reach Prefect")
    of_tasks = [log.level for log in logs_of(flow_run.id) if log.name == "prefect.task_runs"]
    assert of_tasks
    assert min(of_tasks) >= logging.ERROR  # nothing of those that went well
    embedded = site.simulator.books.texts_bought
    assert embedded > 0
    site.simulator.change({"faults": []})
    assert run(site).exit_code == 0
    assert site.simulator.books.texts_bought_again == 0
    site.check()


def test_a_signal_stops_a_run_under_prefect_as_it_does_one_without(site: Site) -> None:
    for number in range(40):
        site.write(f"{number}.md", f"# {number}\n\n" + english(30, seed=number))
    site.simulator.change({"latency": {"fixed_s": 0.3}})
    site.overrides = (*site.overrides, "limits.max_in_flight=2")

    def signal_when_answered() -> None:
        until(lambda: site.simulator.books.answered > 0, "nothing is answered")
        os.kill(os.getpid(), signal.SIGTERM)

    signalling = threading.Thread(target=signal_when_answered)
    signalling.start()
    stopped = run(site)
    signalling.join()
    assert (stopped.outcome, stopped.exit_code) == ("interrupted", 130)
    assert stopped.left is not None
    assert stopped.left.files == 40 - stopped.documents.added > 0
    site.simulator.change({"latency": {"fixed_s": 0}})
    assert site.ingest().exit_code == 0
    assert site.simulator.books.texts_bought_again == 0


def test_a_deployment_s_run_that_is_cancelled_keeps_what_it_paid_for(site: Site) -> None:
    from millrace.flows.ingest import ingest

    for number in range(40):
        site.write(f"{number}.md", f"# {number}\n\n" + english(30, seed=number))
    site.simulator.change({"latency": {"fixed_s": 0.3}})
    site.overrides = (*site.overrides, "limits.max_in_flight=2")
    parameters = IngestParameters(sources=[str(site.corpus)], config_file=str(configuration(site)))

    async def cancelled() -> None:
        running: asyncio.Task[Any] = asyncio.create_task(_awaited(ingest(parameters, return_state=True)))
        await asyncio.to_thread(until, lambda: site.simulator.books.answered > 0, "nothing is answered")
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(cancelled())
    assert [logging.getLogger(name).handlers for name in ("millrace",)] == [[]]
    embedded = site.simulator.books.texts_bought
    assert embedded > 0
    site.simulator.change({"latency": {"fixed_s": 0}})
    assert site.ingest().exit_code == 0
    assert site.simulator.books.texts_bought_again == 0
    site.check()


def test_a_user_s_own_flow_calls_the_ingestion_as_a_subflow(site: Site) -> None:
    from prefect import flow

    from millrace.flows.ingest import ingest

    site.write("a.md", english(30))
    parameters = IngestParameters(sources=[str(site.corpus)], config_file=str(configuration(site)))

    @flow(name="publish", persist_result=False)
    async def publish() -> int:
        summary: RunSummary = await _awaited(ingest(parameters))
        return summary.chunks.upserted

    assert asyncio.run(_awaited(publish())) == len(site.check()) > 0
    run = ask(newest_run)
    assert run.parent_task_run_id is not None
    assert run.name == "ingest corpus: 1 new"
    site.write("a.md", english(30, seed=1))
    site.simulator.change({"faults": [{"fault": "arrearage", "numbers": list(range(1, 100))}]})
    with pytest.raises(RunStopped, match="Arrearage") as stopped:
        asyncio.run(_awaited(publish()))
    assert isinstance(stopped.value.summary, RunSummary)
    assert (stopped.value.summary.outcome, stopped.value.summary.chunks.upserted) == ("stopped", 0)


@pytest.mark.filterwarnings("error:Logger .* without a flow run id")
@pytest.mark.parametrize(
    ("faults", "exit_code"), [([], 0), ([{"fault": "arrearage", "numbers": list(range(1, 100))}], 1)]
)
def test_a_plain_run_after_a_flow_is_quiet_however_the_flow_ended(
    site: Site, faults: list[dict[str, Any]], exit_code: int
) -> None:
    site.write("a.md", english(30))
    site.simulator.change({"faults": faults})
    before = {name: logging.getLogger(name).level for name in ("millrace", "prefect.task_runs")}
    assert run(site).exit_code == exit_code
    assert {name: logging.getLogger(name).level for name in before} == before
    assert [logging.getLogger(name).handlers for name in ("millrace",)] == [[]]
    site.simulator.change({"faults": []})
    assert site.ingest().exit_code == 0


@pytest.mark.filterwarnings("error:Logger .* without a flow run id")
def test_what_a_thread_of_a_run_says_reaches_its_log_and_what_its_bar_shows_does_not() -> None:
    from prefect import flow

    from millrace.flows.prefect_support.run_logs import log_to_flow_run

    def say() -> None:
        logging.getLogger("millrace.tasks.lake").warning("the lease is late")
        logging.getLogger("millrace.flows.monitoring.progress").info(
            "40 documents in", extra={"fields": {"event": "progress"}}
        )

    @flow(name="talkative", persist_result=False)
    async def talkative() -> None:
        with log_to_flow_run():
            thread = threading.Thread(target=say)
            thread.start()
            await asyncio.to_thread(thread.join)
            logging.getLogger("millrace.tasks.lake").warning("the lease is renewed")

    asyncio.run(_awaited(talkative()))
    flow_run = ask(newest_run).id
    until(lambda: any("renewed" in log.message for log in logs_of(flow_run)), "the log does not reach Prefect")
    output = [log.message for log in logs_of(flow_run) if log.name.startswith("millrace")]
    assert output == ["the lease is late", "the lease is renewed"]


def test_the_nightly_comparison_fails_when_rows_are_missing_and_heals_them_when_asked(site: Site) -> None:
    from millrace.flows.verify import verify
    from millrace.flows.wiring.components import load_model
    from millrace.flows.wiring.milvus import open_collection

    site.write("a.md", english(30))
    site.ingest()
    settings = site.settings()

    def compared(*, repair: bool) -> Any:
        parameters = VerifyParameters(sources=[str(site.corpus)], config_file=str(configuration(site)), repair=repair)
        return asyncio.run(_awaited(verify(parameters, return_state=True)))

    assert compared(repair=False).is_completed()
    with open_collection(settings, load_model(settings), create=False) as collection:
        collection.delete(next(iter(collection.ids()))[:1])
    assert compared(repair=False).is_failed()
    shown = artifacts_of(ask(newest_run).id)["verify"].data
    assert "rows that are not in the collection" in shown
    assert compared(repair=True).is_completed()
    site.check()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"sources": []}, "sources"),
        ({"sources": ["/d"], "max_tokens": 9000}, "max_tokens"),
        ({"sources": ["/d"], "max_removed_share": 2}, "max_removed_share"),
        ({"sources": ["/d"], "provider": "acme"}, "provider"),
        ({"sources": ["/d"], "milvus_uri": "http://user:secret@host"}, "milvus_uri"),
        ({"sources": ["/d"], "api_key": "sk-1"}, "api_key"),
    ],
)
def test_the_api_refuses_wrong_parameters_of_a_deployment(site: Site, wrong: dict[str, Any], named: str) -> None:
    from prefect.exceptions import PrefectHTTPStatusError

    from millrace.flows.serve import Schedule, deployments

    schedule = Schedule(index="0 2 * * *", verify="", timezone="UTC")
    index, backfill, verify = deployments(site.settings(), [site.corpus], config=None, schedule=schedule)
    assert [index.name, backfill.name, verify.name] == ["index-documents", "backfill-documents", "verify-documents"]
    assert [one.concurrency_limit for one in (index, backfill, verify)] == [1, 1, 1]
    assert ([len(one.schedules or []) for one in (index, backfill, verify)]) == [1, 0, 0]
    deployment = index.apply()

    async def start(client: Any) -> Any:
        return await client.create_flow_run_from_deployment(deployment, parameters={"parameters": wrong})

    with pytest.raises(PrefectHTTPStatusError) as refused:
        ask(start)
    assert refused.value.response.status_code in {409, 422}
    assert named in refused.value.response.text


def test_the_automation_that_marks_silent_runs_is_made_once_and_that_of_an_earlier_version_is_replaced() -> None:
    from prefect.automations import Automation
    from prefect.client.orchestration import get_client

    from millrace.flows.prefect_support.heartbeat import create_zombie_automation

    everybody = {
        "name": "millrace: silent runs have crashed",
        "trigger": {
            "match": {"prefect.resource.id": ["prefect.flow-run.*"]},
            "after": ["prefect.flow-run.heartbeat"],
            "expect": ["prefect.flow-run.heartbeat", "prefect.flow-run.Completed"],
            "for_each": ["prefect.resource.id"],
            "posture": "Proactive",
            "within": 90.0,
        },
        "actions": [{"state": "CRASHED"}],
    }

    def ours() -> list[Any]:
        return [one for one in ask(lambda client: client.read_automations()) if one.name.startswith("millrace")]

    Automation.model_validate(everybody).create()
    Automation.model_validate(everybody).create()
    create_zombie_automation()
    (made,) = ours()
    assert made.enabled
    assert made.trigger.after == {"millrace.flow-run.heartbeat"}
    assert made.actions[0].state == "CRASHED"
    with get_client(sync_client=True) as client:
        client.pause_automation(made.id)
    create_zombie_automation()
    (again,) = ours()
    assert (again.id, again.enabled) == (made.id, False)
    with get_client(sync_client=True) as client:
        client.delete_automation(again.id)


def test_a_comparison_waits_for_the_run_that_holds_the_lake_and_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millrace.flows.prefect_support import turns
    from millrace.flows.verify import verify

    monkeypatch.setattr(turns, "_ASK_FOR_LEASE_EVERY_S", 0.05)
    site.write("a.md", english(30))
    site.ingest()
    parameters = VerifyParameters(sources=[str(site.corpus)], config_file=str(configuration(site)))
    held = Lake.open(site.lake, "documents")
    seen: list[str] = []

    def waiting() -> bool:
        states = [run.state for run in ask(lambda client: client.read_flow_runs())]
        seen[:] = [state.message for state in states if state.name == "Waiting"]
        return bool(seen)

    def release_when_it_waits() -> None:
        until(waiting, "it does not wait", every_s=0.2)
        held.close()

    releasing = threading.Thread(target=release_when_it_waits)
    releasing.start()
    state = asyncio.run(_awaited(verify(parameters, return_state=True)))
    releasing.join()
    assert seen[0].startswith("waits for its turn: The lake ")
    assert state.is_completed()
    assert "for its turn: The lake " in state.message
    assert ask(newest_run).name == "verify documents"


def test_a_refused_run_is_failed_with_the_message_and_no_traceback(site: Site) -> None:
    from millrace.flows.ingest import ingest

    parameters = IngestParameters(sources=[str(site.folder / "away")], config_file=str(configuration(site)))
    state = asyncio.run(_awaited(ingest(parameters, return_state=True)))
    assert state.is_failed()
    assert state.message == f"source {site.folder / 'away'} does not exist; name a file or a folder"
    until(lambda: bool(logs_of(ask(newest_run).id)), "the log does not reach Prefect")
    assert not any("Traceback" in log.message for log in logs_of(ask(newest_run).id))


def test_a_flow_that_gives_up_waiting_or_has_wrong_settings_leaves_its_traces(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millrace.flows.ingest import ingest
    from millrace.flows.prefect_support.turns import Turn
    from millrace.flows.verify import verify

    def traces() -> tuple[int | None, str, str]:
        """Of the newest run its exit code and error, and of the last verification the line with its exit code."""
        record = Lake.open(site.lake, "documents", read_only=True).runs.newest(1)[0]
        metrics = site.folder / "millrace-documents-verify.prom"
        lines = metrics.read_text().splitlines() if metrics.exists() else []
        return record.exit, record.error, next((one for one in lines if one.startswith("millrace_verify_exit_c")), "")

    def run_both() -> list[Any]:
        file = str(configuration(site))
        parameters = IngestParameters(sources=[str(site.corpus)], config_file=file)
        return [
            asyncio.run(_awaited(verify(VerifyParameters(config_file=file), return_state=True))),
            asyncio.run(_awaited(ingest(parameters, return_state=True))),
        ]

    monkeypatch.setenv("MILLRACE_METRICS__TEXTFILE_DIR", str(site.folder))
    monkeypatch.setattr(Turn.__init__, "__kwdefaults__", {"patience_s": 0.0})
    site.write("a.md", english(30))
    site.ingest()
    with Lake.open(site.lake, "documents"):
        assert [state.is_failed() for state in run_both()] == [True, True]
    code, error, verified = traces()
    assert (code, verified[-4:]) == (1, " 1.0")
    assert "is being written by" in error
    monkeypatch.setenv("MILLRACE_CHUNKING__MAX_TOKENS", "0")
    assert [state.is_failed() for state in run_both()] == [True, True]
    code, error, verified = traces()
    assert (code, verified[-4:]) == (2, " 2.0")
    assert "chunking.max_tokens" in error
