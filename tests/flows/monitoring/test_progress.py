"""The display of a command, and what is logged of one that stands still."""

import logging
import re
import time
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast

import pyarrow as pa
import pytest

from millrace.flows.monitoring import progress
from millrace.flows.monitoring.progress import RowProgress, RunDisplay, shown
from millrace.flows.monitoring.run_state import RunState
from millrace.tasks.embedding import Activity, Dispatcher, Usage, find_model
from millrace.tasks.lake import Manifest
from millrace.tasks.outages import Outage
from millrace.tasks.records import MANIFEST_SCHEMA, SourceFile, reject_table
from millrace.tasks.stages.embed import Embedded
from millrace.tasks.stages.load import Loaded
from millrace.tasks.stages.part_writer import Part
from millrace.tasks.stages.scan import scan


def wait_here_until_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    deadline = time.monotonic() + 60
    while not caplog.messages and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_command_that_stands_still_logs_where_its_threads_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "_STALLED_AFTER_S", 0.2)
    with caplog.at_level(logging.WARNING), shown(RowProgress("compared", rows=10), quiet=True):
        wait_here_until_it_is_logged(caplog)
    assert caplog.messages[0].startswith("nothing has moved for ")
    assert "wait_here_until_it_is_logged" in caplog.messages[0]


def test_a_command_that_moves_logs_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "_STALLED_AFTER_S", 2.0)
    rows = RowProgress("compared", rows=1_000_000)
    with caplog.at_level(logging.WARNING), shown(rows, quiet=True):
        for _ in range(50):
            time.sleep(0.05)
            rows.done += 1
    assert caplog.messages == []


class Played:
    """A run as its display sees it, with a clock that is moved: files that make so many chunks, embedded at a rate."""

    chunks_per_s = 100.0

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        random = Random(16)
        for number in range(300):  # from 2 kB to 700 kB, the small ones first
            size = int(2_000 * 1.02**number * random.uniform(0.5, 2))
            with (folder / f"{number:03}.md").open("wb") as file:
                file.truncate(size)
        self.found = scan([folder], Manifest(folder / "no manifest"), fingerprint="one")
        self.state = RunState(run="a run", collection="documents", model="text-embedding-v4")
        self.usage = Usage(price_cny_per_1k_tokens=0.0005)
        self.doing = SimpleNamespace(usage=self.usage, activity=Activity(0, 0, 0, ""), current_rates=(0.0, 0.0))
        self.display = RunDisplay(self.state)
        self.state.sources_compared([folder], self.found)
        self.now_s += 3
        self.state.stages_opened(cast(Dispatcher, self.doing), find_model("local", "lexical-hashing-v2"), readers=1)
        self.random = random

    def parts(self) -> Iterator[tuple[Part, list[SourceFile]]]:
        """Of each job its parts, each with the files that end in it; a file makes more chunks than is expected of it."""
        rejects = reject_table([])
        for number, files in enumerate(self.found.jobs):
            rows: list[dict[str, object]] = []
            ended: list[SourceFile] = []
            chunks = part = 0
            for position, file in enumerate(files):
                made = to_come = int(file.size_bytes / 600 * self.random.uniform(0.9, 1.1)) + 1
                while chunks + to_come > 1_000:
                    documents = pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)
                    yield Part(number, part, 1_000, 400_000, documents, rejects, position), ended
                    to_come, chunks, rows, ended, part = to_come - 1_000 + chunks, 0, [], [], part + 1
                chunks += to_come
                row = {
                    "path": file.path,
                    "source": file.path,
                    "size_bytes": file.size_bytes,
                    "chunks": made,
                    "status": "live",
                }
                rows.append({field.name: "" if field.type == "string" else 0 for field in MANIFEST_SCHEMA} | row)
                ended.append(file)
            documents = pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)
            yield Part(number, part, chunks, chunks * 400, documents, rejects, len(files)), ended

    def go(self) -> Iterator[float]:
        """Read, embed and load, three parts ahead; the share of the bytes that are in."""
        total = sum(file.size_bytes for job in self.found.jobs for file in job)
        cut: deque[tuple[Part, list[SourceFile]]] = deque()
        done = 0
        for part, files in chain(self.parts(), [(None, [])] * 3):
            if part is not None:
                self.state.part_cut(part, 0.1, files=files)
                cut.append((part, files))
            if part is None or len(cut) > 3:
                first, first_files = cut.popleft()
                self.now_s += first.chunks / self.chunks_per_s
                self.usage.texts_embedded += first.chunks
                self.usage.requests_sent += first.chunks // 10
                self.usage.tokens_billed += first.tokens
                self.state.part_loaded(
                    first, Embedded(first.chunks, 0, {}), Loaded(added=first.documents.num_rows), 0.1
                )
                done += sum(file.size_bytes for file in first_files)
                yield done / total


def test_what_a_run_will_cost_and_take_is_said_once_it_is_known_and_then_settles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(tmp_path, monkeypatch)
    said: list[tuple[float, float, float]] = []
    for share in played.go():
        first, second, _ = played.display.lines()
        cost, left = re.search(r"of about ¥([\d.]+)", second), re.search(r"([\d:]+) left", first)
        assert bool(cost) == bool(left) or share < 0.15
        if cost and left:
            *hours, minutes, seconds = map(int, left[1].split(":"))
            left_s = sum(hours) * 3600 + minutes * 60 + seconds
            said.append((share, float(cost[1]), played.now_s - 1_003 + left_s))
    cost_cny, took_s = played.usage.cost_cny, played.now_s - 1_003
    assert 0.05 < said[0][0] < 0.15
    assert len(said) > 50
    late = [one for one in said if one[0] >= 0.1]
    assert [one for one in late if abs(one[1] / cost_cny - 1) > 0.15] == []
    assert [one for one in late if abs(one[2] / took_s - 1) > 0.15] == []


def test_the_display_counts_rejects_apart_and_says_what_the_run_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(tmp_path, monkeypatch)
    state, doing = played.state, played.doing
    part, files = next(played.parts())
    assert played.display.lines()[-1] == "waits for the readers"
    state.part_cut(part, 0.1, files=files)
    doing.activity = Activity(10, 2, 0, "tokens")
    assert played.display.lines()[-1] == "waits for the limit of tokens"
    doing.activity = Activity(0, 2, 0, "")
    state.readers_waiting = 1
    assert played.display.lines()[-1] == "waits for answers"
    doing.activity = Activity(0, 0, 0, "")
    assert played.display.lines()[-1] == "waits for Milvus to take rows"
    state.heard(Outage("milvus", "no answer"))
    played.now_s += 75
    assert played.display.lines()[-1] == "Milvus has been away for 1:15"
    documents = part.documents.num_rows
    state.part_loaded(part, Embedded(part.chunks, 0, {}), Loaded(added=documents - 2, rejected=2), 0.1)
    assert played.display.lines()[0].startswith(f"documents {documents - 2:,} in, 2 rejected (")
