"""The calendar, and moving it from another process."""

from __future__ import annotations

import httpx

from tests.simulator.clock import SetClock
from tests.simulator.fixtures import StartSimulator
from tests.simulator.settings import SimulatorSettings


def test_the_date_is_told_and_moved_over_http(start_simulator: StartSimulator) -> None:
    clock = SetClock()
    simulator = start_simulator(SimulatorSettings(starts_at=1e9), clock)
    url = f"{simulator.root_url}/__clock__"
    assert httpx.get(url).json() == {"now": 1e9, "seconds_per_second": 1}
    assert httpx.post(url, json={"advance_s": 600}).json()["now"] == 1e9 + 600
    assert (httpx.post(url, json={"advance_s": -1}).status_code, clock.now()) == (400, 0)


def test_the_calendar_may_run_faster_than_the_clock(start_simulator: StartSimulator) -> None:
    clock = SetClock()
    simulator = start_simulator(SimulatorSettings(starts_at=1e9), clock)
    clock.advance(10)
    simulator.change({"seconds_per_second": 3600})
    clock.advance(2)
    assert simulator.now == 1e9 + 10 + 7200
