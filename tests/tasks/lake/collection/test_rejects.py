"""The first run that rejected something for a reason is remembered."""

from pathlib import Path

import pyarrow.parquet as pq

from millrace.tasks.lake.collection.rejects import Rejects
from millrace.tasks.records import Reject, reject_table


def refuse(rejects: Rejects, run: str, *refused: tuple[str, str, str]) -> list[tuple[str, str, str]]:
    """Replace the rejects of all documents by (source, item, reason); those outstanding, as (source, item, run)."""
    table = reject_table([Reject("read", source, item, reason, "", "") for source, item, reason in refused])
    rejects.replace({"a", "b", *table["source"].to_pylist()}, table, run=run, name=run)
    return [(row["source"], row["item"], row["first_run"]) for row in rejects.outstanding().to_pylist()]


def test_a_document_rejected_again_for_the_same_reason_keeps_its_first_run(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path)
    refuse(rejects, "1", ("a", "row 1", "torn"), ("a", "row 2", "torn"), ("b", "", "empty"))
    assert refuse(rejects, "2", ("a", "row 2", "torn"), ("a", "row 3", "torn"), ("a", "row 4", "torn")) == [
        ("a", "row 2", "1"),
        ("a", "row 3", "1"),  # as many as there were
        ("a", "row 4", "2"),
    ]
    assert refuse(Rejects(tmp_path), "3", ("a", "row 4", "torn"), ("a", "row 9", "bad"), ("b", "", "empty")) == [
        ("a", "row 4", "2"),
        ("a", "row 9", "3"),
        ("b", "", "3"),  # it was settled in between
    ]


def test_rejects_of_an_earlier_version_are_of_the_run_that_they_name(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path)
    refuse(rejects, "1", ("a", "", "empty"))
    rejects.fold()
    path = tmp_path / "rejects" / "rejects.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["first_run"]), path)
    assert refuse(Rejects(tmp_path), "2", ("a", "", "empty"), ("b", "", "empty")) == [("a", "", "1"), ("b", "", "2")]
