"""What `rejects list` prints, and which run `status` calls running."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from millrace.configs.settings import load_settings
from millrace.flows.commands.reject_list import RejectList, outstanding_rejects
from millrace.flows.commands.status import lake_status
from millrace.tasks.lake import Lake, RunRecord
from millrace.tasks.records import Reject, reject_table


def listed(*rejects: Sequence[str], full: bool = False) -> list[str]:
    names = ("source", "item", "reason", "message", "remedy")
    return RejectList(tuple(dict(zip(names, one, strict=True)) for one in rejects), full=full).lines()


def test_rejects_are_grouped_by_reason_and_file_in_the_order_of_numbers() -> None:
    pages = [("b.pdf", f"page {number}", "scanned", f"Nothing on {number}.", "Run OCR.") for number in (10, 9, 1)]
    assert listed(*pages, ("a.txt", "", "empty", "It is empty.", "Fill it.")) == [
        "scanned: 3 in 1 file",
        "    b.pdf, page 1, page 9, page 10: Nothing on 1.",
        "  to do: Run OCR.",
        "empty: 1 in 1 file",
        "    a.txt: It is empty.",
        "  to do: Fill it.",
        "4 rejects: 3 scanned, 1 empty",
    ]


def test_the_full_list_leaves_nothing_out() -> None:
    many = [(f"{n}.txt", f"row {n}", "empty", f"Message {n}.", "Fill it.") for n in range(30)]
    assert "    and 20 more files; all with: millrace rejects list --full" in listed(*many)
    assert listed(*many, full=True)[1:31] == [f"    {n}.txt, row {n}: Message {n}." for n in range(30)]


def test_a_run_is_running_while_its_process_has_the_lease(tmp_path: Path) -> None:
    settings = load_settings(overrides=[f"lake.path={tmp_path / 'lake'}"], environment={})
    with Lake.open(tmp_path / "lake", "documents") as lake:
        reject = Reject("read", "a.txt", "", "empty", "It is empty.", "Fill it.")
        lake.rejects.replace(["a.txt"], reject_table([reject]), run="1", name="1")
        killed = datetime.now(UTC) - timedelta(hours=1)
        lake.runs.save(RunRecord("1", "ingest", killed.isoformat(timespec="seconds")))
        assert lake_status(settings).running == ""
        lake.runs.save(RunRecord("2", "ingest", datetime.now(UTC).isoformat(timespec="seconds")))
        status = lake_status(settings)
        assert status.running == "2"
        assert [line.split()[1:4] for line in status.lines()[-2:]] == [
            ["ingest", "running", "0"],
            ["ingest", "did", "not"],
        ]
    assert lake_status(settings).running == ""
    assert outstanding_rejects(settings).as_json()["count"] == 1
