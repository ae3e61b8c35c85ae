"""What runs were billed, and learned limits: what lasts, and that damage to it stops nobody."""

from dataclasses import replace
from pathlib import Path

import pytest

from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Lake, LearnedLimitsFile, RunFiles, RunUsage, usage_by_model

FIRST = RunUsage("run-1", "documents", "text-embedding-v4", 20, 80_000, 80_010, 0, 0.04, "2026-11-21T10:00:00+00:00")


def test_usage_is_written_over_by_the_same_run_and_kept_beside_those_of_others(tmp_path: Path) -> None:
    usages = RunFiles(tmp_path / "bills", RunUsage)
    assert usages.oldest_first() == []
    later = replace(FIRST, requests=30, tokens_billed=120_000)
    other_model = replace(FIRST, model="qwen/odd name")
    second = replace(FIRST, run="run-2", collection="handbook")
    for usage in (FIRST, later, other_model, second):
        usages.save(usage)
    assert usages.oldest_first() == [other_model, later, second]


def test_usage_is_summed_by_model() -> None:
    second = replace(FIRST, run="run-2", cost_cny=0.02, updated="2026-11-22T10:00:00+00:00")
    assert usage_by_model([FIRST, second, replace(FIRST, model="local")]) == [
        replace(FIRST, run="", collection="", model="local"),
        RunUsage("", "", "text-embedding-v4", 40, 160_000, 160_020, 0, 0.06, "2026-11-22T10:00:00+00:00"),
    ]


def test_a_damaged_record_of_usage_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    usages = RunFiles(tmp_path, RunUsage)
    usages.save(FIRST)
    damaged = tmp_path / "run-0.x.json"
    damaged.write_text('{"run": ')
    assert usages.oldest_first() == [FIRST]
    assert [damage.path for damage in usages.damaged()] == [damaged]


def test_limits_are_kept_by_account_and_forgotten_when_there_is_nothing_to_say(tmp_path: Path) -> None:
    limits = LearnedLimitsFile(tmp_path / "limits.json")
    assert limits.read("beijing v4") == {}
    limits.save("beijing v4", {"tokens_per_second": 9_700.0})
    limits.save("singapore v4", {"requests_per_second": 3.0})
    assert LearnedLimitsFile(tmp_path / "limits.json").read("beijing v4") == {"tokens_per_second": 9_700.0}
    limits.save("beijing v4", {})
    assert limits.read("beijing v4") == {}
    assert limits.read("singapore v4") == {"requests_per_second": 3.0}


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[1, 2]", b'{"beijing v4": 3}', b'{"beijing v4": {"x": "many"}}', b"\xff"]
)
def test_damaged_limits_are_no_limits_and_can_be_written_over(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "limits.json"
    path.write_bytes(damage)
    limits = LearnedLimitsFile(path)
    assert limits.read("beijing v4") == {}
    limits.save("beijing v4", {"tokens_per_second": 1.0})
    assert limits.read("beijing v4") == {"tokens_per_second": 1.0}


def test_limits_that_are_as_they_were_are_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    LearnedLimitsFile(path).save("beijing v4", {"tokens_per_second": 1.0})
    before = path.stat().st_mtime_ns
    LearnedLimitsFile(path).save("beijing v4", {"tokens_per_second": 1.0})
    LearnedLimitsFile(tmp_path / "none.json").save("beijing v4", {})
    assert path.stat().st_mtime_ns == before
    assert not (tmp_path / "none.json").exists()


@pytest.mark.parametrize("name", ["bills", "limits.json"])
def test_no_collection_may_take_their_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(LakeError, match="cannot be a folder"):
        Lake.open(tmp_path, name)
