"""The display of a command, and what is logged of one that stands still."""

import logging
import time

import pytest

from millrace.flows.monitoring import progress
from millrace.flows.monitoring.progress import RowProgress, shown


def wait_here_until_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    deadline = time.monotonic() + 60
    while not caplog.messages and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_command_that_stands_still_logs_where_its_threads_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "_STALLED_AFTER_S", 0.2)
    with caplog.at_level(logging.WARNING), shown(RowProgress("compared", rows=10), quiet=True):
        wait_here_until_it_is_logged(caplog)
    assert caplog.messages[0].startswith("nothing has moved for ")
    assert "wait_here_until_it_is_logged" in caplog.messages[0]


def test_a_command_that_moves_logs_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "_STALLED_AFTER_S", 2.0)
    rows = RowProgress("compared", rows=1_000_000)
    with caplog.at_level(logging.WARNING), shown(rows, quiet=True):
        for _ in range(50):
            time.sleep(0.05)
            rows.done += 1
    assert caplog.messages == []
