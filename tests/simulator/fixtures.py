"""Fixtures that run the simulator; a conftest imports them by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.simulator.clock import Clock
from tests.simulator.server import Simulator, running_simulator
from tests.simulator.settings import SimulatorSettings

StartSimulator = Callable[..., Simulator]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A provider without limits, latency or faults; `simulator.change({...})` sets others."""
    with running_simulator() as running:
        yield running


@pytest.fixture
def start_simulator() -> Iterator[StartSimulator]:
    """`start_simulator(settings=None, clock=None)`: a running simulator, stopped after the test."""
    with ExitStack() as stack:

        def start(settings: SimulatorSettings | None = None, clock: Clock | None = None) -> Simulator:
            return stack.enter_context(running_simulator(settings, clock=clock))

        yield start
