import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from millrace.tasks.lake import VectorStore
from millrace.tasks.records import EmbeddingSpace
from tests.tasks.lake.numbered import Ended, OpenStore, RunChild, Texts

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def texts() -> Texts:
    return Texts(EmbeddingSpace("local", "numbers", 16))


@pytest.fixture
def open_store(tmp_path: Path, texts: Texts) -> Iterator[OpenStore]:
    """Opens the vector store of the test; all are closed at its end."""
    opened: list[VectorStore] = []

    def open_one(**options: object) -> VectorStore:
        store = VectorStore.open(tmp_path / "vectors", texts.space, **options)  # type: ignore[arg-type]
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def run_child() -> RunChild:
    """Runs writer.py until it ends, or kills it with SIGKILL once it has acknowledged `kill_after` batches."""

    def run(*arguments: object, kill_after: int | None = None, preface: Sequence[str] = ()) -> Ended:
        command = [*preface, sys.executable, str(Path(__file__).with_name("writer.py")), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            lines: list[str] = []
            for line in child.stdout:
                lines.append(line)
                if len(lines) == kill_after:
                    child.send_signal(signal.SIGKILL)
            error = child.stderr.read()
        acknowledged = [int(n) for line in lines if line.endswith("\n") for n in line.split()]
        return Ended(child.returncode == -signal.SIGKILL, acknowledged, error)

    return run
