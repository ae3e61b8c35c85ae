"""The command in processes of its own, as a user starts, signals and kills it."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.flows.site import Site

PATIENCE_S = 60.0


@contextmanager
def started(site: Site, *more: str) -> Iterator[subprocess.Popen[str]]:
    """`millrace ingest` over the corpus, in a process group of its own; whatever happens, nothing of it is left."""
    process = subprocess.Popen(
        [*site.command("ingest", str(site.corpus)), *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=site.process_environment(), start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        print(process.communicate()[1])  # shown where the test fails
        until(lambda: not processes_of(site.folder), "processes are left behind")


def until(there: Callable[[], bool], otherwise: str, *, patience_s: float = PATIENCE_S, every_s: float = 0.01) -> None:
    """Return when `there` is true; that it becomes so is part of the claim."""
    deadline = time.monotonic() + patience_s
    while not there():
        assert time.monotonic() < deadline, otherwise
        time.sleep(every_s)


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> None:
    """Send the signal to the whole process group, as a terminal does, or a service manager."""
    os.killpg(process.pid, number)


def processes_of(folder: Path) -> list[int]:
    """Living processes whose environment or command line names `folder`."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                output = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in output:
                found.append(int(process.name))
    return found
