"""The command in a process of its own that need not import the libraries: forked from one that has.

What a library does while it is imported is not seen this way; tests of that start Python.
"""

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

from millrace.flows.cli.environment import VARIABLES
from millrace.tasks.stages.fork_server import ForkServer

_SERVER = ForkServer()


def run(
    arguments: Sequence[str], environment: Mapping[str, str], *, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """`millrace ARGUMENTS...`; both outputs are files, no terminal."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("stdout", "stderr")]
        child = _SERVER.fork(_command, list(arguments), dict(environment), [str(path) for path in paths], ready=_import)
        code = child.join(timeout_s)
        if code is None:
            child.kill()
            raise subprocess.TimeoutExpired(["millrace", *arguments], timeout_s)
        stdout, stderr = (path.read_text(encoding="utf-8") for path in paths)
    return subprocess.CompletedProcess(["millrace", *arguments], code, stdout, stderr)


_HEAVY = (
    "millrace.flows.cli.main",
    "millrace.flows.commands.ingest.run",
    "millrace.flows.commands.search.search",
    "millrace.flows.commands.verify.repair",
    "milvus_lite.server_manager",
    "openai",
    "sklearn.feature_extraction",
)


def _import() -> None:
    os.environ.update(VARIABLES)
    for name in _HEAVY:
        importlib.import_module(name)


def _command(_: Connection, arguments: list[str], environment: dict[str, str], outputs: list[str]) -> None:
    from millrace.flows.cli.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number, path in enumerate(outputs, start=1):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["millrace", *arguments]
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
