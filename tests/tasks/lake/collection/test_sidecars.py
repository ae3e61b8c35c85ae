"""The spool: what reading processes leave for each other, and nobody after them."""

from pathlib import Path

import pytest

from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Lake, ScratchFiles


def test_what_was_put_is_taken_and_gone_when_discarded(tmp_path: Path) -> None:
    scratch = ScratchFiles(tmp_path / "chunks")
    paths = [scratch.put(b"one"), scratch.put(b"two")]
    assert [scratch.take(path) for path in paths] == [b"one", b"two"]
    scratch.discard([*paths, tmp_path / "never there"])
    assert list((tmp_path / "chunks").iterdir()) == []


def test_what_a_killed_run_left_is_swept_up_when_the_lake_is_opened(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake", "documents")
    left = ScratchFiles(lake.chunks_dir).put(b"left")
    lake.close()
    Lake.open(tmp_path / "lake", "documents").close()
    assert not left.exists()


def test_a_spool_that_cannot_be_written_or_read_says_where(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_bytes(b"")
    with pytest.raises(LakeError, match=str(in_the_way)):
        ScratchFiles(in_the_way / "chunks").put(b"one")
    with pytest.raises(LakeError, match="gone"):
        ScratchFiles(tmp_path).take(tmp_path / "gone")
