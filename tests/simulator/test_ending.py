"""The simulator as a command says why it has ended."""

import asyncio
import socket

import pytest

from tests.simulator.__main__ import main, run
from tests.simulator.settings import SimulatorSettings


def test_it_says_that_its_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(run(SimulatorSettings(), 0.0))
    assert "ended: its 0 s are over; --max-seconds gives it more" in capsys.readouterr().err


def test_a_port_that_is_taken_is_a_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(SystemExit, match="in use; try another --port"):
        main(["--port", str(other.getsockname()[1])])
