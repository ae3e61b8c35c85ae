import asyncio
import gc
import threading

import pytest

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.vectors.group_commit import GroupCommit


async def test_what_arrives_during_a_commit_is_one_group() -> None:
    groups: list[list[int]] = []
    first_running, go_on = threading.Event(), threading.Event()

    def commit(group: list[int]) -> None:
        groups.append(group)
        first_running.set()
        go_on.wait()

    commits = GroupCommit(commit, name="test")
    first = asyncio.create_task(commits.submit(0))
    await asyncio.to_thread(first_running.wait)
    others = [asyncio.create_task(commits.submit(n)) for n in range(1, 50)]
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, *others)
    assert groups == [[0], list(range(1, 50))]
    commits.close()


async def test_a_failure_is_everyones_and_nothing_is_committed_after_it() -> None:
    tried: list[list[int]] = []

    def commit(group: list[int]) -> None:
        tried.append(group)
        raise LakeError("the disk is full")

    commits = GroupCommit(commit, name="test")
    for number in (1, 2):
        with pytest.raises(LakeError, match="the disk is full"):
            await commits.submit(number)
    assert tried == [[1]]
    commits.close()


async def test_a_failure_whose_waiter_was_cancelled_prints_no_traceback() -> None:
    """A run that stops at the first failure on a full disk cancels those that wait for the next."""
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    first_running, go_on = threading.Event(), threading.Event()

    def commit(group: list[int]) -> None:
        first_running.set()
        go_on.wait()
        if 1 in group:
            raise LakeError("the disk is full")

    commits = GroupCommit(commit, name="test")
    first = asyncio.create_task(commits.submit(0))
    await asyncio.to_thread(first_running.wait)
    cancelled = asyncio.create_task(commits.submit(1))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    go_on.set()
    await first
    with pytest.raises(LakeError, match="the disk is full"):
        await commits.submit(2)
    commits.close()
    gc.collect()
    assert complaints == []
