"""A lake on a file system without `flock`: one writer at a time all the same."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from millrace.tasks.errors import LakeError, LeaseHeld
from millrace.tasks.lake import Lake, acquire_lease
from millrace.tasks.lake.storage.lease import Claim, myself, process_namespace

ROUNDS = 100
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def _no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the processes that are forked from this one."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_of_two_processes_that_come_together_never_two_hold_it_and_one_does(tmp_path: Path) -> None:
    barrier, holding = FORK.Barrier(2, timeout=60), FORK.Array("i", ROUNDS)

    def come() -> None:
        for number in range(ROUNDS):
            barrier.wait()
            try:
                lease = acquire_lease(tmp_path / "lease", "The lake")
            except LeaseHeld:
                lease = None
            with holding.get_lock():
                holding[number] += lease is not None
            barrier.wait()  # nobody releases before both have tried
            if lease is not None:
                lease.release()

    children = [FORK.Process(target=come) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert holding[:] == [1] * ROUNDS


def test_a_holder_that_was_killed_holds_nothing_and_of_two_that_come_next_one_does(tmp_path: Path) -> None:
    def be_killed() -> None:
        acquire_lease(tmp_path / "lease", "The lake")
        os.kill(os.getpid(), signal.SIGKILL)

    def come() -> None:
        barrier.wait()
        try:
            acquire_lease(tmp_path / "lease", "The lake")
        except LeaseHeld:
            return
        with holding.get_lock():
            holding.value += 1
        done.wait()

    for _ in range(8):
        barrier, holding, done = FORK.Barrier(2, timeout=60), FORK.Value("i", 0), FORK.Barrier(2, timeout=60)
        dead = FORK.Process(target=be_killed)
        dead.start()
        dead.join()
        assert (tmp_path / "lease.lock").exists()
        children = [FORK.Process(target=come) for _ in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join(3 if child is children[0] else 0.5)
        assert holding.value == 1
        for child in children:
            child.kill()
            child.join()


def test_a_second_writer_is_told_who_holds_it_and_what_to_delete_should_it_be_gone(tmp_path: Path) -> None:
    message = rf"written by process {os.getpid()} on .* delete {tmp_path}/lease\.lock"
    with Lake.open(tmp_path, "docs"), pytest.raises(LeaseHeld, match=message):
        Lake.open(tmp_path, "docs")
    Lake.open(tmp_path, "docs").close()
    assert not (tmp_path / "lease.lock").exists()


@pytest.mark.parametrize("where", ["another machine", "another container"])
def test_one_that_cannot_be_looked_for_counts_as_alive(where: str, tmp_path: Path) -> None:
    dead = replace(myself(), process_start="1")
    claim = Claim(dead, process_namespace())
    if where == "another machine":
        claim = replace(claim, holder=replace(dead, host="mill-2"))
    else:
        claim = replace(claim, processes="pid:[1]")
    (tmp_path / "lease.lock").write_text(json.dumps(asdict(claim)))
    with pytest.raises(LeaseHeld, match="if that process is gone, delete"):
        acquire_lease(tmp_path / "lease", "The lake")


def test_a_take_over_that_was_cut_short_says_what_to_delete(tmp_path: Path) -> None:
    claim = Claim(replace(myself(), process_start="1"), process_namespace())
    (tmp_path / "lease.lock").write_text(json.dumps(asdict(claim)))
    (tmp_path / "lease.takeover").write_text("")
    with pytest.raises(LeaseHeld, match=rf"delete {tmp_path}/lease\.takeover"):
        acquire_lease(tmp_path / "lease", "The lake")
    (tmp_path / "lease.takeover").unlink()
    acquire_lease(tmp_path / "lease", "The lake").release()


def test_a_place_that_refuses_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "lease.lock").mkdir()
    with pytest.raises(LakeError):
        acquire_lease(tmp_path / "lease", "The lake")
