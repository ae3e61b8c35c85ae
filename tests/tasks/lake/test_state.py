"""What the lake remembers of aliases, and a ledger that two collections begin with."""

from pathlib import Path

import pytest

from millrace.tasks.errors import LakeError, LeaseHeld
from millrace.tasks.lake import Lake
from millrace.tasks.lake.state import Switches


def test_what_was_saved_is_there_for_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "switches.json"
    Switches(path).save_earlier("milvus.db live", ["documents", "文档"])
    Switches(path).begin("milvus.db new")
    assert Switches(path).earlier("milvus.db live") == ["documents", "文档"]
    assert Switches(path).is_being_made("milvus.db new")
    Switches(path).finish("milvus.db new")
    assert not Switches(path).is_being_made("milvus.db new")
    assert Switches(path).earlier("milvus.db live") == ["documents", "文档"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"earlier": 3}', '{"earlier": {"a": 3, "b": [4, "c"]}, "making": []}']
)
def test_a_damaged_file_is_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "switches.json"
    path.write_text(text)
    assert Switches(path).earlier("a") == []
    assert Switches(path).earlier("b") in ([], ["c"])
    Switches(path).save_earlier("a", ["x"])
    assert Switches(path).earlier("a") == ["x"]


def test_only_one_process_changes_the_record(tmp_path: Path) -> None:
    switches = Switches(tmp_path / "switches.json")
    with switches.acquire_lease(), pytest.raises(LeaseHeld, match="aliases"):
        switches.acquire_lease()


def test_a_ledger_is_adopted_whole_or_not_at_all(tmp_path: Path) -> None:
    with Lake.open(tmp_path, "documents") as lake:
        (tmp_path / "documents" / "chunks" / "part-000001-000.parquet").write_bytes(b"rows")
        (tmp_path / "documents" / "manifest.parquet").write_bytes(b"manifest")
        (tmp_path / "documents" / "runs").mkdir()
        unfinished = tmp_path / ".copy.tmp" / "chunks"  # as a killed adoption leaves it
        unfinished.mkdir(parents=True)
        lake.copy_as("copy")
        assert sorted(path.name for path in (tmp_path / "copy").rglob("*")) == [
            "chunks", "manifest.parquet", "part-000001-000.parquet",
        ]  # fmt: skip
        assert not unfinished.exists()
        with pytest.raises(LakeError, match="is there already"):
            lake.copy_as("copy")
    with pytest.raises(LakeError, match="opened for reading"):
        Lake.open(tmp_path, "documents", read_only=True).copy_as("other")
