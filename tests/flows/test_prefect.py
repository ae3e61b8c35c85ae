"""The same run under Prefect: seen there as a flow run with a task run a stage and part, and with the same result."""

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.crashes.processes import until
from tests.flows.prose import english
from tests.flows.site import Site


@pytest.fixture(scope="module")
def prefect_api() -> Iterator[None]:
    """A temporary Prefect server with a database of its own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=90):
        yield


@pytest.mark.timeout(180)
def test_a_run_appears_in_prefect_with_its_stages_and_their_outcome(prefect_api: None, site: Site) -> None:
    from prefect.client.orchestration import get_client

    from flows.ingest import ingest_under_prefect

    for number in range(3):
        site.write(f"{number}.md", f"# {number}\n\n" + english(30, seed=number))
    good = ingest_under_prefect(site.settings(), [site.corpus], quiet=True)
    stopped = ingest_under_prefect(site.settings("embedding.dimensions=512"), [site.corpus], quiet=True)

    async def runs() -> tuple[list[str], Counter[str], set[UUID | None]]:
        async with get_client() as client:
            flow_runs = sorted(await client.read_flow_runs(), key=lambda run: str(run.start_time))
            task_runs = await client.read_task_runs()
            return (
                [f"{run.name}: {run.state_name}" for run in flow_runs],
                Counter(f"{run.name.rpartition(' ')[0]}: {run.state_name}" for run in task_runs),
                {run.flow_run_id for run in task_runs} - {run.id for run in flow_runs},
            )

    flow_runs, task_runs, strangers = asyncio.run(runs())
    assert good.exit_code == 0
    assert good.chunks.embedded == good.chunks.upserted == good.chunks.total > 0
    assert stopped.exit_code == 1
    assert flow_runs == ["ingest corpus: 3 new: Completed", "ingest corpus: 3 changed: Failed"]
    assert task_runs == {"chunk job: Completed": 1, "embed part: Completed": 1, "load part: Completed": 1}
    assert strangers == set()
    site.check()


@pytest.mark.timeout(180)
def test_a_signal_stops_a_run_under_prefect_as_it_does_one_without(prefect_api: None, site: Site) -> None:
    from flows.ingest import ingest_under_prefect

    for number in range(40):
        site.write(f"{number}.md", f"# {number}\n\n" + english(30, seed=number))
    site.simulator.change({"latency": {"fixed_s": 0.3}})
    site.overrides = (*site.overrides, "limits.max_in_flight=2")

    def signal_when_answered() -> None:
        until(lambda: site.simulator.books.answered > 0, "nothing is answered")
        os.kill(os.getpid(), signal.SIGTERM)

    signalling = threading.Thread(target=signal_when_answered)
    signalling.start()
    stopped = ingest_under_prefect(site.settings(), [site.corpus], quiet=True)
    signalling.join()
    assert (stopped.outcome, stopped.exit_code) == ("interrupted", 130)
    assert stopped.left is not None
    assert stopped.left.files == 40
    site.simulator.change({"latency": {"fixed_s": 0}})
    assert site.ingest().exit_code == 0
    assert site.simulator.books.texts_bought_again == 0
