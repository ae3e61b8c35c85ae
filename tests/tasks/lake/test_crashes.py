"""Real processes, ended by SIGKILL: at random, and after every step that became durable."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from millrace.tasks.lake import Manifest, Rejects, VectorStore
from tests.tasks.lake.numbered import RunChild, Texts

STEPS = [
    "append: journalled",
    "seal: written",
    "seal: renamed",
    "seal: indexed",
    "seal: journal deleted",
    "compact: written",
    "compact: renamed",
    "compact: indexed",
    "compact: part deleted",
]


def assert_tidy(root: Path, name: str) -> None:
    others = {path.name for path in (root / name).iterdir() if path.suffix != ".parquet"}
    assert others == {"index", "lease", "space.json"}
    assert {path.suffix for path in (root / name / "index").iterdir()} == {".bin"}


def test_nothing_acknowledged_is_lost_however_often_the_writer_is_killed(
    run_child: RunChild, texts: Texts, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    acknowledged: list[int] = []
    for attempt in range(8):
        first = attempt * 100_000
        ended = run_child("append", tmp_path, first, 90_000, "", kill_after=chance.randrange(1, 150))
        assert ended.killed, (seed, ended.error)
        acknowledged += ended.acknowledged
    with VectorStore.open(tmp_path, texts.space) as store:
        assert acknowledged, seed
        texts.assert_holds(store, acknowledged)
        assert store.damaged == []
    assert_tidy(tmp_path, texts.space.name)


@pytest.mark.parametrize("step", STEPS)
def test_a_writer_killed_after_any_step_leaves_a_store_that_converges(
    step: str, run_child: RunChild, texts: Texts, tmp_path: Path
) -> None:
    ended = run_child("append", tmp_path, 0, 2_000, step)
    assert ended.killed, ended.error
    with VectorStore.open(tmp_path, texts.space) as store:
        texts.assert_holds(store, ended.acknowledged)
    again = run_child("append", tmp_path, 0, 2_000, "")
    assert (again.killed, again.error, len(again.acknowledged)) == (False, "", 2_000)
    with VectorStore.open(tmp_path, texts.space) as store:
        texts.assert_holds(store, range(2_000))
        keys = np.concatenate(list(store.keys()))
        assert store.damaged == []
    assert len({key.tobytes() for key in keys}) == 2_000
    assert_tidy(tmp_path, texts.space.name)


@pytest.mark.parametrize("step", [s for s in STEPS if s.startswith(("seal: ", "compact: "))])
def test_a_killed_writer_and_a_lost_index_together_lose_nothing(
    step: str, run_child: RunChild, texts: Texts, tmp_path: Path
) -> None:
    ended = run_child("append", tmp_path, 0, 2_000, step)
    shutil.rmtree(tmp_path / texts.space.name / "index", ignore_errors=True)
    with VectorStore.open(tmp_path, texts.space) as store:
        texts.assert_holds(store, ended.acknowledged)
        assert store.damaged == []
    assert_tidy(tmp_path, texts.space.name)


@pytest.mark.parametrize("step", ["compact: renamed", "compact: indexed", "compact: part deleted"])
def test_a_reader_of_an_interrupted_compaction_sees_every_vector_and_touches_nothing(
    step: str, run_child: RunChild, texts: Texts, tmp_path: Path
) -> None:
    ended = run_child("append", tmp_path, 0, 2_000, step)
    folder = tmp_path / texts.space.name
    before = {path.name for path in folder.iterdir()}
    with VectorStore.open(tmp_path, texts.space, read_only=True) as store:
        texts.assert_holds(store, ended.acknowledged)
    assert {path.name for path in folder.iterdir()} == before


@pytest.mark.parametrize("step", ["written", "renamed", "delta deleted"])
def test_a_manifest_whose_fold_was_killed_reads_as_if_it_had_not_been(
    step: str, run_child: RunChild, tmp_path: Path
) -> None:
    """A fold that was cut short while it deleted its deltas must not bring a removed document back."""
    ended = run_child("ledger", tmp_path, step)
    assert (ended.killed, ended.acknowledged) == (True, [3]), ended.error
    rows = {row["source"]: (row["status"], row["job"]) for row in Manifest(tmp_path).read().to_pylist()}
    outstanding = Rejects(tmp_path).outstanding()
    assert rows == {"kept": ("live", 1), "changed": ("live", 3)}
    assert outstanding.num_rows == 0
