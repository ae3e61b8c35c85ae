"""Reading processes: bounded in time and memory, and never left behind."""

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from millrace.tasks.errors import SourceError
from millrace.tasks.stages.fork_server import FORK_SERVER
from millrace.tasks.stages.worker_pool import Channel, WorkerLost, WorkerPool

ROOT = Path(__file__).parents[3]


def work(job: str, channel: Channel[str]) -> None:
    """What the pool's processes do in these tests."""
    if job == "die at once":
        os.kill(os.getpid(), signal.SIGSEGV)
    channel.at(f"before {job}")
    channel.send(f"began {job}")
    channel.at(job)
    if job == "hang":
        time.sleep(60)
    if job == "compute":
        while time.process_time() < 2:
            pass
    if job == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job == "which signals are ignored":
        channel.send(str([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]))
        channel.send(str(os.getpgrp()))
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
        assert len(await run(workers, "one")) == 1
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


async def test_what_starts_processes_is_started_again_when_it_is_gone() -> None:
    async with pool() as workers:
        assert await run(workers, "one") == ["began one", "ended one"]
    assert FORK_SERVER._control is not None
    FORK_SERVER._control.shutdown(socket.SHUT_WR)  # which ends it, as having nothing to do for a minute does
    async with pool() as workers:
        assert await run(workers, "two") == ["began two", "ended two"]


async def test_a_machine_that_starts_no_process_is_told_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FORK_SERVER, "_control", None)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with pool() as workers:
        with pytest.raises(WorkerLost, match=r"no process can be started .*documents\.workers = 1"):
            await run(workers, "one")


def parent_of(pid: int) -> int:
    """The process id of what started it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="the parent is read from /proc")
async def test_a_process_is_killed_with_what_started_it() -> None:
    async with pool() as workers:
        running = asyncio.create_task(run(workers, "hang"))
        while not workers._busy:  # noqa: ASYNC110 - the pool tells nobody
            await asyncio.sleep(0.01)
        child = await asyncio.to_thread(lambda: next(iter(workers._busy)).process.pid)
        assert child
        os.kill(parent_of(child), signal.SIGKILL)
        with pytest.raises(WorkerLost, match="what starts such processes"):
            await running
        assert await run(workers, "next") == ["began next", "ended next"]


@pytest.mark.parametrize("module", ["pickle", "numpy", "millrace", "multiprocessing", "selectors"])
def test_modules_in_the_current_folder_are_not_run(tmp_path: Path, module: str) -> None:
    """They belong to the corpus: a repository of code may have a file named like any module."""
    (tmp_path / f"{module}.py").write_text("import os\nos.write(2, b'was run')\nraise SystemExit(1)\n")
    script = (
        "import asyncio, sys\n"
        f"sys.path = [{str(ROOT)!r}] + [entry for entry in sys.path if entry]\n"
        "from tests.tasks.stages.test_worker_pool import pool, run\n"
        "async def main():\n"
        "    async with pool() as workers:\n"
        "        sys.path.insert(0, '')\n"
        "        print(await run(workers, 'one'))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )
    assert done.stdout == "['began one', 'ended one']\n"
    assert done.stderr == ""


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
        "import asyncio, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
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


def cpu_of_children_s() -> float:
    """Of those that have been waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_the_cpu_of_reading_processes_counts_as_that_of_their_run() -> None:
    """As `time` tells it, or a container: also of those that were in the middle of a job."""
    script = (
        "import asyncio, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.tasks.stages.test_worker_pool import pool, run\n"
        "async def main():\n"
        "    async with pool() as workers:\n"
        "        await run(workers, 'compute')\n"
        "asyncio.run(main())\n"
    )
    before = cpu_of_children_s()
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert cpu_of_children_s() - before >= 2


def is_running(pid: int) -> bool:
    """Not gone, and not waiting for somebody to hear of its end, as processes without a parent do in some containers."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


async def test_interrupts_are_the_parents_affair() -> None:
    """Ctrl-C and a service manager reach every process; the run decides when reading ends."""
    async with pool() as workers:
        ignored, group = (await run(workers, "which signals are ignored"))[1:3]
        assert ignored.count("SIG_IGN") == 2
        assert group != str(os.getpgrp())
