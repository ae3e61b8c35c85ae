"""A command of the user's that turns a file into one that millrace reads (`documents.external`).

It runs without a shell, in a folder of its own, with the memory bound of the reading process, and is ended with
everything that it started: when its time is over, when it has written its output, and when the reading process is gone.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from millrace.tasks.documents.formats import FORMATS
from millrace.tasks.errors import ConfigurationError, Rejected

_IN, _OUT = "{in}", "{out}"
_POLL_S = 0.05
_VERSION_S = 10.0
_MAX_WORDS = 400

# Leads a process group of its own, and ends it when whoever asked for the command is gone; says how the command ended.
_SUPERVISE = """
import os, signal, subprocess, sys, time
parent = int(sys.argv[1])
command = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
while command.poll() is None:
    if os.getppid() != parent:
        os.killpg(0, signal.SIGKILL)
    time.sleep(0.02)
sys.exit(command.returncode if command.returncode >= 0 else 128 - command.returncode)
"""


@dataclass(frozen=True, slots=True)
class ExternalCommand:
    """The command for files with one suffix, and what it says of its version.

    `{in}` stands for the file, `{out}` for the folder that the output belongs in; without `{out}` its standard output
    is the text.
    """

    suffix: str
    command: str
    version: str

    @classmethod
    def of(cls, suffix: str, command: str) -> "ExternalCommand":
        """The command, looked for and asked for its version.

        Raises:
            ConfigurationError: it cannot be parsed or found, or names no `{in}`.
        """
        setting = f'documents.external = {{ "{suffix}" = "{command}" }}'
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ConfigurationError(f"{setting}: {error}; quote its words as in a shell.") from error
        if not suffix.startswith(".") or not any(_IN in word for word in words):
            raise ConfigurationError(
                f'{setting}: write a suffix with its dot, and "{_IN}" for the file in the command.'
            )
        if shutil.which(words[0]) is None:
            raise ConfigurationError(f"{setting}: there is no program {words[0]} here; install it, or leave it out.")
        return cls(suffix.lower(), command, _version(words[0]))

    def words(self, source: Path, out: Path) -> list[str]:
        """What is run."""
        return [word.replace(_IN, str(source)).replace(_OUT, str(out)) for word in shlex.split(self.command)]


def _version(program: str) -> str:
    """The first line that the program prints for `--version`; "" where it has none."""
    with tempfile.TemporaryFile() as printed:
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own program
                [program, "--version"],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        except OSError:
            return ""
        code = _wait_and_end(process, _VERSION_S, lambda: None)
        printed.seek(0)
        lines = printed.read(10_000).decode("utf-8", "replace").strip().splitlines()
    return lines[0][:200] if lines and not code else ""


@contextmanager
def working_folder() -> Iterator[Path]:
    """A folder that is gone afterwards, where file and output of one command are."""
    with tempfile.TemporaryDirectory(prefix="millrace-external-") as folder:
        yield Path(folder)


def run(command: ExternalCommand, source: Path, folder: Path, *, timeout_s: float, beat: Callable[[], None]) -> Path:
    """The file that the command makes of `source`, below `folder`. `beat` is called while it runs.

    Raises:
        Rejected: "timeout"; "external_failed": it ended with an error, or left no file that millrace reads.
    """
    out = folder / "out"
    out.mkdir()
    printed, complaints = folder / "stdout.txt", folder / "stderr.txt"
    with printed.open("wb") as stdout, complaints.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603 - this Python, and the user's own command
            [sys.executable, "-I", "-S", "-c", _SUPERVISE, str(os.getpid()), *command.words(source, out)],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, process_group=0,
        )  # fmt: skip
        code = _wait_and_end(process, timeout_s, beat)
    name = shlex.split(command.command)[0]
    if code is None:
        raise Rejected(
            f"{name} took longer than {timeout_s:g} s.",
            reason="timeout",
            remedy="Raise documents.external_timeout_s if the file is sound, or leave it out with sources.exclude.",
        )
    said = " ".join(complaints.read_bytes()[-2000:].decode("utf-8", "replace").split())[-_MAX_WORDS:]
    if code:
        raise _failed(f"{name} ended with {code}" + (f": {said}" if said else "."))
    if _OUT not in command.command:
        return printed
    return _only_output(out, source.stem, name, said)


def _wait_and_end(process: "subprocess.Popen[bytes]", timeout_s: float, beat: Callable[[], None]) -> int | None:
    """The exit code of the leader of a process group, None where it took too long; nothing of the group is left."""
    deadline = time.monotonic() + timeout_s
    ended = None
    try:
        while ended is None and time.monotonic() < deadline:
            ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            beat()
            time.sleep(_POLL_S if ended is None else 0)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # not waited for yet, so the group is still this one
        code = process.wait()
    return code if ended is not None else None


def _only_output(out: Path, stem: str, name: str, said: str) -> Path:
    """The file that is meant: the only one that millrace reads, or of several the one named as the source is."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and not path.is_symlink())
    read = [path for path in files if path.suffix.lower() in FORMATS]
    named = [path for path in read if path.stem == stem]
    if len(read) == 1 or len(named) == 1:
        return (named or read)[0]
    there = ", ".join(path.name for path in files[:5]) or "nothing"
    complaint = f": {said}" if said else "."
    raise _failed(f"{name} left {there} in {{out}}, where one file that millrace reads was expected{complaint}")


def _failed(message: str) -> Rejected:
    remedy = "Run the command of documents.external on the file by hand, then retry."
    return Rejected(message, reason="external_failed", remedy=remedy)
