"""Runs of `ingest` in processes of their own, and what they may leave behind."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from millrace.tasks.lake import Lake
from tests.flows.site import ROOT, Row, Site
from tests.system.crashes.forking import Order


@dataclass(frozen=True)
class Ended:
    """How a run ended; `steps` are the checkpoints that it passed, empty when it was killed."""

    killed: bool
    exit_code: int
    report: Mapping[str, Any]
    steps: Sequence[str]
    child: int


class Runs:
    """Starts runs through a forking process (see `tests.system.crashes.forking`). A context manager."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.crashes.forking"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=dict(environment),
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def ingest(self, site: Site, at: str = "", occurrence: int = 1, number: int = signal.SIGKILL) -> Ended:
        """Run `ingest` over the site's corpus; it must come to that occurrence of step `at`, and is sent the signal."""
        ended = self.try_ingest(site, at, occurrence, number)
        assert ended.killed == (bool(at) and number == signal.SIGKILL), f"never came to {at!r}: {ended.report}"
        return ended

    def try_ingest(self, site: Site, at: str, occurrence: int, number: int = signal.SIGKILL) -> Ended:
        """The same, but how often a run comes to a step, as to a group commit, need not be certain."""
        order = Order(site.assignments(), [str(site.corpus)], at, occurrence, number)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order.__dict__) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


def assert_same_rows(mine: Mapping[str, Row], theirs: Mapping[str, Row]) -> None:
    """The same rows, bit by bit."""
    assert mine.keys() == theirs.keys()
    different = [row_id for row_id in mine if not mine[row_id].same_as(theirs[row_id])]
    assert not different


def is_same(mine: Mapping[str, Row], theirs: Mapping[str, Row]) -> bool:
    """Whether they are the same rows, bit by bit."""
    return mine.keys() == theirs.keys() and all(mine[row_id].same_as(theirs[row_id]) for row_id in mine)


def assert_tidy(site: Site) -> None:
    """No journal, no temporary file and no part that nobody needs is left, and all that is needed is whole."""
    names = [path.name for path in site.folder.rglob("*")]
    assert [name for name in names if name.endswith((".tmp", ".damaged")) or "journal" in name] == []
    with Lake.open(site.lake, "documents", read_only=True) as lake:
        manifest = lake.manifest.read()
        assert set(manifest["status"].to_pylist()) <= {"live", "rejected"}
        assert lake.chunks.dangling(manifest) == []
        assert [problem for part in lake.chunks.all() if (problem := lake.chunks.problem(part))] == []
    assert len(list((site.lake / "documents" / "manifest.d").iterdir())) < 64


def assert_rows_are_the_lakes(site: Site, rows: Mapping[str, Row]) -> None:
    """Every row is owned by a document of the manifest, and every document has its rows."""
    with Lake.open(site.lake, "documents", read_only=True) as lake:
        owned: set[str] = set()
        for row in lake.manifest.read().to_pylist():
            if row["chunks"]:
                table = lake.chunks.read(
                    row["job"], row["part_first"], row["part_last"], columns=["id"], sources=[row["source"]]
                )
                owned.update(table["id"].to_pylist())
    assert rows.keys() == owned
