"""Logs for machines: every line of standard error is one JSON object, whatever happens."""

import json
import logging
import sys
from typing import Any

import pytest

from millrace.flows.monitoring.logs import JsonLines
from tests.flows.prose import english
from tests.flows.site import Site, json_of
from tests.simulator.settings import API_KEY


def lines_of(stderr: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert all(line.keys() >= {"time", "level", "logger", "message"} for line in lines)
    return lines


def test_a_run_with_refusals_and_a_stop_logs_json_lines_and_nothing_else(site: Site) -> None:
    for number in range(4):
        site.write(f"{number}.md", f"# {number}\n\n" + english(30, seed=number))
    site.simulator.change({"faults": [{"fault": "internal_error", "numbers": [1, 2]}]})
    done = site.run("ingest", str(site.corpus), "--json", "--log-format", "json")
    report, lines = json_of(done), lines_of(done.stderr)
    assert done.returncode == 0, done.stderr
    ours = [line for line in lines if line["logger"].startswith("millrace")]
    begin, end = ours[0], ours[-1]
    assert (begin["event"], begin["command"], begin["run"]) == ("begin", "ingest", report["run"])
    assert {name: end[name] for name in report} == report
    assert (end["event"], end["level"], end["exit_code"], end["collection"]) == ("end", "info", 0, "documents")
    assert any("500" in line["message"] or "again" in line["message"] for line in ours[1:-1])
    assert API_KEY not in done.stderr


def test_what_is_refused_before_a_run_begins_is_a_json_line_too(site: Site) -> None:
    done = site.run("ingest", str(site.folder / "nowhere"), MILLRACE_LOG_FORMAT="json")
    end, line = lines_of(done.stderr)
    assert (end["event"], end["outcome"], end["exit_code"]) == ("end", "refused", 2)
    assert (done.returncode, line["level"]) == (2, "error")
    assert "nowhere does not exist" in line["message"]


def test_an_exception_is_one_line_with_its_traceback_in_it() -> None:
    formatter = JsonLines()
    formatter.about = {"run": "r"}
    try:
        raise ValueError("水\nwheel")
    except ValueError:
        record = logging.LogRecord("tasks.x", logging.ERROR, __file__, 1, "it %s", ("broke",), sys.exc_info())
    line = formatter.format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["message"], found["level"], found["run"]) == ("it broke", "error", "r")
    assert "ValueError: 水\nwheel" in found["exception"]


@pytest.mark.parametrize("form", ["xml", ""])
def test_an_unknown_format_is_a_usage_error(site: Site, form: str) -> None:
    assert site.run("status", "--log-format", form).returncode == 2
