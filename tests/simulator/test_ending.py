"""The simulator as a command says why it has ended."""

import asyncio

import pytest

from tests.simulator.__main__ import run
from tests.simulator.settings import SimulatorSettings


def test_it_says_that_its_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(run(SimulatorSettings(), 0.0))
    assert "ended: its 0 s are over; --max-seconds gives it more" in capsys.readouterr().err
