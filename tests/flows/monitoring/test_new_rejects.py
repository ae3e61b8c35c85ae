"""Rejects that are new in a run are told from those that were known before it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from millrace.configs.settings import FailOn
from millrace.flows.cli.main import millrace
from millrace.flows.commands.report.facts import gather
from millrace.flows.commands.report.page import page_of
from millrace.flows.monitoring.new_rejects import new_rejects
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.tasks.lake import Lake, RunRecord
from millrace.tasks.records import Reject, reject_table
from tests.flows.site import Site

GOOD = '{"id": "good", "text": "The gate is shut."}\n'
BROKEN = "no json\n"


def test_a_nightly_run_fails_for_new_rejects_only(site: Site, tmp_path: Path) -> None:
    site.overrides = ("embedding.provider=local", f"metrics.textfile_dir={tmp_path}")
    command = ["ingest", str(site.corpus), "--fail-on", "new", "--json"]
    command += [part for one in site.assignments() for part in ("--set", one)]
    site.write("a.txt", b"")
    site.write("b.txt", b"")
    site.write("rows.jsonl", GOOD + 2 * BROKEN)
    assert CliRunner().invoke(millrace, command).exit_code == 3
    assert CliRunner().invoke(millrace, command).exit_code == 0
    site.write("a.txt", b"  \n")  # is read again, and is still empty
    site.write("rows.jsonl", BROKEN + GOOD + BROKEN)  # one of the rows is another now
    site.write("c.txt", b"")
    fifth = CliRunner().invoke(millrace, command)
    assert fifth.exit_code == 3
    summary = json.loads(fifth.stdout)
    assert summary.items() >= {"rejects": 5, "rejects_new": 1, "rejects_known": 4, "fail_on": "new"}.items()
    assert 'millrace_rejects_new{collection="documents"} 1.0' in (tmp_path / "millrace-documents.prom").read_text()
    facts = gather(site.settings(), summary["run"])
    assert (facts.record.counts["rejects"], facts.record.counts["rejects_new"]) == (5, 1)
    page = page_of(facts)
    assert "1 new in this run, 4 known before" in page
    (marked_as_new,) = [row for row in page.split("<tr>") if "<small>new</small>" in row]
    assert "c.txt" in marked_as_new


@pytest.mark.parametrize(
    ("fail_on", "new", "exit_code"), [("any", 0, 3), ("new", 0, 0), ("new", 1, 3), ("none", 1, 0), ("none", 0, 0)]
)
def test_the_exit_code_follows_the_rejects_that_count(fail_on: FailOn, new: int, exit_code: int) -> None:
    summary = RunSummary("1", "documents", "v4", rejects=5, rejects_new=new, fail_on=fail_on, outcome="finished")
    assert summary.exit_code == exit_code
    words = "1 new, 4 known before" if new else "5 known before"
    assert f"rejects    5: {words}; see why with: millrace rejects list" in summary.lines()


def test_what_a_killed_run_rejected_is_new_in_the_next(tmp_path: Path) -> None:
    with Lake.open(tmp_path / "lake", "documents") as lake:
        for run, exit_code in (("1", 0), ("2", None), ("3", 1)):
            lake.runs.save(RunRecord(run, "ingest", "2026-11-30T00:00:00+00:00", exit=exit_code))
            reject = Reject("read", f"{run}.txt", "", "empty", "It is empty.", "Fill it.")
            lake.rejects.replace([reject.source], reject_table([reject]), run=run, name=run)
        new = new_rejects(lake.rejects.outstanding(), lake, "4")
        assert sorted(new["source"].to_pylist()) == ["2.txt", "3.txt"]
