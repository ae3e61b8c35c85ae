"""Full and read-only disks, for real: a small tmpfs and a read-only mount, each in a mount namespace of the child's own.

Where the kernel does not allow that (not root, no namespaces) a limit on the file size stands for the full disk, and the
read-only test is skipped.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from millrace.tasks.lake import VectorStore
from tests.tasks.lake.numbered import RunChild, Texts


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="needs the right to mount")


@needs_mount
def test_a_full_disk_stops_with_its_name_and_keeps_what_was_acknowledged(
    run_child: RunChild, texts: Texts, tmp_path: Path
) -> None:
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    script = f'mount -t tmpfs -o size=400k none {disk} && "$@"; code=$?; cp -r {disk} {copy}; exit $code'
    ended = run_child("append", disk, 0, 50_000, "", preface=["unshare", "--mount", "sh", "-c", script, "sh"])
    # The journal, a part or the index, whichever asks for the last block.
    assert re.search(
        r"failed: No space left on device\. Free some space|disk is full\. Check the disk's space", ended.error
    )
    assert str(disk) in ended.error
    assert "Traceback" not in ended.error
    assert ended.acknowledged
    with VectorStore.open(copy, texts.space) as store:
        texts.assert_holds(store, ended.acknowledged)
        assert store.damaged == []


def test_a_limit_on_file_sizes_does_the_same(run_child: RunChild, texts: Texts, tmp_path: Path) -> None:
    ended = run_child("append", tmp_path, 0, 50_000, "", preface=["sh", "-c", 'ulimit -f 80; exec "$@"', "sh"])
    # The journal, or the index, whichever grows past the limit first; SQLite does not say why.
    assert re.search("File too large|disk I/O error", ended.error)
    assert "Traceback" not in ended.error
    with VectorStore.open(tmp_path, texts.space) as store:
        texts.assert_holds(store, ended.acknowledged)


@needs_mount
def test_a_read_only_folder_is_refused_by_name_and_readable_all_the_same(run_child: RunChild, tmp_path: Path) -> None:
    run_child("append", tmp_path, 0, 100, "")
    script = f'mount --bind {tmp_path} {tmp_path} && mount -o remount,bind,ro {tmp_path} && exec "$@"'
    preface = ["unshare", "--mount", "sh", "-c", script, "sh"]
    refused = run_child("append", tmp_path, 100, 10, "", preface=preface)
    assert "Read-only file system" in refused.error
    assert "set lake.path" in refused.error
    assert "Traceback" not in refused.error
    read = run_child("read", tmp_path, 0, 100, preface=preface)
    assert (read.acknowledged, read.error) == ([100], "")


def test_a_file_where_the_folder_should_be_is_named(run_child: RunChild, tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.write_text("mine")
    ended = run_child("append", path, 0, 10, "")
    assert str(path) in ended.error
    assert "Something else has that name" in ended.error
    assert path.read_text() == "mine"
