"""One account for several: slots and shares in virtual time, then two processes and a real Prefect server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from millrace.flows.wiring.shared_limits import LOOK_EVERY_S, SEEN_AFTER_S, SlotLost, SlotServerUnreachable, sharing
from millrace.tasks.embedding.rate_limit.virtual_time import now, run
from tests.flows.prose import english
from tests.flows.site import ROOT, Site
from tests.simulator.settings import API_KEY


@dataclass
class SlotServer:
    """Slots in memory; away from one time to another."""

    slots: int = 8
    holders: set[object] = field(default_factory=set)
    away: tuple[float, float] = (0.0, 0.0)

    def ask(self) -> None:
        if self.away[0] < now() < self.away[1]:
            raise SlotServerUnreachable("away")


@dataclass(eq=False)
class Slot:
    server: SlotServer
    shares: list[tuple[float, float]] = field(default_factory=list)

    async def acquire(self) -> bool:
        self.server.ask()
        if len(self.server.holders) >= self.server.slots:
            return False
        self.server.holders.add(self)
        return True

    async def renew(self) -> int:
        self.server.ask()
        if self not in self.server.holders:
            raise SlotLost
        return len(self.server.holders)

    async def release(self) -> None:
        self.server.ask()
        self.server.holders.discard(self)

    def share_at(self, time: float) -> float:
        return next((share for at, share in reversed(self.shares) if at <= time), 0.0)

    async def use(self, begin_s: float, for_s: float) -> None:
        await asyncio.sleep(begin_s)
        async with sharing(self, lambda share: self.shares.append((now(), share))):
            await asyncio.sleep(for_s)
        self.shares.append((now(), 0.0))


def test_at_no_time_are_all_shares_together_more_than_the_account_and_soon_they_are_all_of_it() -> None:
    server = SlotServer()
    slots_held = [Slot(server) for _ in range(3)]

    async def story() -> None:
        await asyncio.gather(slots_held[0].use(0, 100), slots_held[1].use(20.1, 30), slots_held[2].use(33.3, 40))

    run(story())
    sums = {tenth: sum(slot.share_at(tenth / 10) for slot in slots_held) for tenth in range(1_000)}
    assert max(sums.values()) <= 1.0 + 1e-9
    whole = [tenth / 10 for tenth, total in sums.items() if total > 0.99]
    assert len(whole) > 700
    assert slots_held[0].share_at(19) == 1.0
    assert slots_held[1].share_at(20.1 + SEEN_AFTER_S + 0.1) == 0.5
    assert [slot.share_at(45) for slot in slots_held] == [pytest.approx(1 / 3)] * 3
    assert slots_held[0].share_at(73.3 + SEEN_AFTER_S + LOOK_EVERY_S) == 1.0


def test_a_process_that_finds_no_free_slot_waits_for_one() -> None:
    server = SlotServer(slots=1)
    first, second = Slot(server), Slot(server)

    async def story() -> float:
        await asyncio.gather(first.use(0, 30), second.use(1, 5))
        return now()

    assert 35 <= run(story()) <= 35 + 2 * LOOK_EVERY_S
    assert second.shares[0][0] >= 30


def test_a_server_that_is_away_changes_no_share_and_a_lost_slot_is_acquired_again() -> None:
    server = SlotServer(away=(10.0, 40.0))
    slot = Slot(server)

    async def story() -> None:
        using = asyncio.create_task(slot.use(0, 60))
        await asyncio.sleep(30)
        server.holders.clear()
        await using

    run(story())
    assert [share for _, share in slot.shares] == [1.0, 0.0]


def test_a_shared_account_without_prefect_is_a_wrong_setting(site: Site) -> None:
    site.write("a.md", english(5))
    site.overrides = ("limits.shared_as=beijing",)
    done = site.run("ingest", str(site.corpus))
    assert done.returncode == 2
    assert "PREFECT_API_URL" in done.stderr


@pytest.fixture(scope="module")
def prefect_api() -> Iterator[str]:
    """The URL of a temporary Prefect server with a database of its own."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=90):
        yield str(PREFECT_API_URL.value())


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_processes_on_one_account_stay_under_its_limit(prefect_api: str, site: Site) -> None:
    from prefect.client.orchestration import get_client

    async def make(name: str) -> None:
        async with get_client() as client:
            await client.upsert_global_concurrency_limit_by_name(name, 4)

    async def taken(name: str) -> int:
        async with get_client() as client:
            return (await client.read_global_concurrency_limit_by_name(name)).active_slots

    limits = {"requests_per_second": 30, "tokens_per_second": 20_000, "growth_per_second": 10}
    site.simulator.change({"limits": limits, "latency": {"fixed_s": 0.15, "jitter_s": 0.05}})
    for number in range(60):
        site.write(f"{number % 2}/{number}.md", f"# {number}\n\n" + english(500, seed=number))
    command = [
        *site.command("ingest", "--json"),
        *("--set", "limits.requests_per_second=30", "--set", "limits.tokens_per_second=20000"),
    ]

    def start(half: str, name: str) -> subprocess.Popen[str]:
        own = [str(site.corpus / half), "--set", f"lake.path={site.folder / half / 'lake'}"]
        own += ["--set", f"milvus.uri={site.folder / half}.db", "--set", f"limits.shared_as={name}"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DASHSCOPE_API_KEY": API_KEY,
            "PREFECT_API_URL": prefect_api,
        }
        return subprocess.Popen(
            [*command, *own], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    missing = start("0", "nobody-made-this")
    _, output = missing.communicate(timeout=100)
    assert missing.returncode == 2, output
    assert "prefect gcl create nobody-made-this" in output
    asyncio.run(make("beijing"))
    site.simulator.reset()
    reports = []
    for process in [start("0", "beijing"), start("1", "beijing")]:
        out, output = process.communicate(timeout=200)
        assert process.returncode == 0, output
        reports.append(json.loads(out))
    sent = sum(report["requests"]["sent"] for report in reports)
    throttled = sum(report["requests"]["throttled"] for report in reports)
    assert sum(report["tokens"]["billed"] for report in reports) > 200_000
    assert throttled <= 0.005 * sent
    assert asyncio.run(taken("beijing")) == 0
