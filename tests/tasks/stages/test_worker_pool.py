"""Reading processes: bounded in time and memory, and never left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from millrace.tasks.errors import SourceError
from millrace.tasks.stages.worker_pool import Channel, WorkerLost, WorkerPool

ROOT = Path(__file__).parents[3]


def work(job: str, channel: Channel[str]) -> None:
    """What the pool's processes do in these tests."""
    if job.startswith("cannot be started "):
        tries_left = Path(job.removeprefix("cannot be started "))
        if left := int(tries_left.read_text()):
            tries_left.write_text(str(left - 1))
            os._exit(255)
    if job == "die at once":
        os.kill(os.getpid(), signal.SIGSEGV)
    channel.at(f"before {job}")
    channel.send(f"began {job}")
    channel.at(job)
    if job == "hang":
        time.sleep(60)
    if job == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job == "which signals are blocked":
        channel.send(str(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])))
    if job == "refuse":
        raise SourceError("cannot be read")
    if job == "eat memory":
        try:
            bytearray(3 << 30)
        except MemoryError:
            channel.send("memory was bounded")
    channel.send(f"ended {job}")


@asynccontextmanager
async def pool(**bounds: float) -> AsyncIterator[WorkerPool[str, str]]:
    made: WorkerPool[str, str] = WorkerPool(work, size=2, deadline_s=bounds.get("deadline_s", 20), memory_mb=1024)
    try:
        yield made
    finally:
        made.close()


async def run(workers: WorkerPool[str, str], job: str) -> list[str]:
    received: list[str] = []

    async def receive(message: str) -> None:
        received.append(message)

    await workers.run(job, receive)
    return received


async def test_processes_that_were_started_ahead_serve_the_first_jobs() -> None:
    async with pool() as workers:
        workers.start(2)
        async with asyncio.timeout(60):
            while len(workers._idle) < 2:  # noqa: ASYNC110 - the pool tells nobody when a process has started
                await asyncio.sleep(0.01)
        ahead = {worker.process.pid for worker in workers._idle}
        await asyncio.gather(run(workers, "a"), run(workers, "b"))
        assert {worker.process.pid for worker in workers._idle} == ahead
        assert len(ahead) == 2


_ready: list[str] = []


def get_ready(name: str) -> None:
    """What a process does before its first job."""
    _ready.append(name)


def tell_ready(_: str, channel: Channel[str]) -> None:
    """A job that says what its process has done before."""
    channel.send(" ".join(_ready))


def cannot_get_ready() -> None:
    """Fails before the first job."""
    raise SourceError("cannot be read")


async def test_a_process_gets_ready_once_before_its_first_job() -> None:
    workers = WorkerPool(tell_ready, size=1, deadline_s=20, memory_mb=1024, ready=partial(get_ready, "tokenizer"))
    try:
        assert await run(workers, "one") == await run(workers, "two") == ["tokenizer"]
    finally:
        workers.close()


async def test_what_goes_wrong_while_a_process_gets_ready_is_left_to_the_job_that_needs_it() -> None:
    workers = WorkerPool(tell_ready, size=1, deadline_s=20, memory_mb=1024, ready=cannot_get_ready)
    try:
        assert await run(workers, "one") == [""]
    finally:
        workers.close()


async def test_messages_come_in_order_and_the_process_is_used_again() -> None:
    async with pool() as workers:
        assert await run(workers, "one") == ["began one", "ended one"]
        assert await run(workers, "two") == ["began two", "ended two"]


async def test_a_unit_that_takes_too_long_is_stopped_and_named() -> None:
    async with pool(deadline_s=2) as workers:
        with pytest.raises(WorkerLost) as lost:
            await run(workers, "hang")
        assert (lost.value.unit, lost.value.cause) == ("hang", "timeout")
        assert await run(workers, "next") == ["began next", "ended next"]


async def test_a_process_that_dies_is_reported_with_its_signal() -> None:
    async with pool() as workers:
        with pytest.raises(WorkerLost, match="SIGSEGV") as lost:
            await run(workers, "die")
        assert (lost.value.unit, lost.value.cause) == ("die", "died")


async def test_a_process_that_dies_before_it_begins_is_told_with_a_remedy() -> None:
    async with pool() as workers:
        with pytest.raises(WorkerLost, match=r"SIGSEGV: reading did not begin; .* documents\.workers = 1") as lost:
            await run(workers, "die at once")
        assert lost.value.unit == ""


async def test_a_process_that_could_not_be_started_is_started_once_more_and_no_oftener(tmp_path: Path) -> None:
    job = f"cannot be started {tmp_path / 'tries'}"
    async with pool() as workers:
        (tmp_path / "tries").write_text("1")
        assert await run(workers, job) == [f"began {job}", f"ended {job}"]
        workers.close()
    async with pool() as workers:
        (tmp_path / "tries").write_text("5")
        with pytest.raises(WorkerLost, match="code 255: reading did not begin"):
            await run(workers, job)
    assert (tmp_path / "tries").read_text() == "3"


async def test_an_error_of_millrace_passes_and_the_process_lives() -> None:
    async with pool() as workers:
        with pytest.raises(SourceError, match="cannot be read"):
            await run(workers, "refuse")
        assert await run(workers, "next") == ["began next", "ended next"]


@pytest.mark.skipif(sys.platform != "linux", reason="the bound is RLIMIT_DATA as Linux counts it")
async def test_memory_is_bounded() -> None:
    async with pool() as workers:
        assert "memory was bounded" in await run(workers, "eat memory")


async def test_a_receiver_that_is_slow_holds_the_worker_up() -> None:
    async with pool() as workers:
        began, gate = asyncio.Event(), asyncio.Event()
        received: list[str] = []

        async def receive(message: str) -> None:
            received.append(message)
            began.set()
            await gate.wait()

        running = asyncio.create_task(workers.run("one", receive))
        await began.wait()
        assert received == ["began one"]
        gate.set()
        await running
        assert received == ["began one", "ended one"]


def test_reading_processes_end_with_a_parent_that_is_killed() -> None:
    script = (
        "import asyncio\n"
        "from tests.tasks.stages.test_worker_pool import pool\n"
        "async def main():\n"
        "    async with pool(deadline_s=60) as workers:\n"
        "        async def receive(message):\n"
        "            print(next(iter(workers._busy)).process.pid, flush=True)\n"
        "        await workers.run('hang', receive)\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    """Not gone, and not waiting for somebody to hear of its end, as processes without a parent do in some containers."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def test_even_the_first_process_never_sees_an_interrupt(tmp_path: Path) -> None:
    """Starting the very first process also starts a tracker, which used to unblock the signal again."""
    script = tmp_path / "first.py"
    script.write_text(
        f"""
import asyncio, sys
sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
import test_worker_pool

async def main():
    async with test_worker_pool.pool() as workers:
        print(await test_worker_pool.run(workers, "which signals are blocked"))

if __name__ == "__main__":
    asyncio.run(main())
"""
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)
    assert "'True'" in done.stdout
