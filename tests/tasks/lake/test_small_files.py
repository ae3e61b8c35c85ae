"""The small files of runs, jobs, limits and aliases: an altered bit is named, and never taken for what was written."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from millrace.tasks.lake import Evaluation, Lake, RunRecord, RunUsage, Timeline

RUN = "20261120T100000.000Z-aaaaaa"
FILES = {
    "run": f"docs/runs/{RUN}.json",
    "usage": f"bills/{RUN}.v4.json",
    "evaluation": f"docs/evaluations/{RUN}.json",
    "timeline": f"docs/timelines/{RUN}.json",
    "limits": "limits.json",
    "aliases": "switches.json",
    "jobs": "docs/jobs.json",
}


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A lake with one of each."""
    with Lake.open(tmp_path, "docs") as lake:
        lake.runs.save(RunRecord(RUN, "ingest", "2026", "2026", 0, {"documents": {"seen": 3}}, {"billed": 7}, 0.25))
        lake.usage.save(RunUsage(RUN, "docs", "v4", 2, 70, 71, 0, 0.25, "2026"))
        lake.evaluations.save(Evaluation(RUN, {"self_hit_at_1": 0.97, "文档": ["a"]}))
        lake.timelines.save(Timeline(RUN, "2026", {"seconds": [0.0, 1.5]}, {"model": "水"}))
        lake.limits.save("beijing v4", {"tokens_per_second": 9_700.0})
        lake.switches.save_earlier("live", ["docs"])
        lake.next_job(41)
        lake.mark_jobs_committed()
    return tmp_path


def content(path: Path, kind: str) -> object:
    """What the lake makes of the file."""
    with Lake.open(path, "docs", read_only=True) as lake:
        readers: dict[str, Callable[[], object]] = {
            "run": lake.runs.newest,
            "usage": lake.usage.newest,
            "evaluation": lake.evaluations.newest,
            "timeline": lake.timelines.newest,
            "limits": lambda: lake.limits.read("beijing v4"),
            "aliases": lambda: lake.switches.earlier("live"),
            "jobs": lake.first_uncommitted_job,
        }
        return readers[kind]()


@pytest.mark.parametrize("kind", FILES)
def test_a_flipped_bit_is_named_or_changes_nothing(kind: str, lake: Path) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    path = lake / FILES[kind]
    sound, expected = path.read_bytes(), content(lake, kind)
    nothing = 1 if kind == "jobs" else type(expected)()
    for _ in range(400):
        at, bit = chance.randrange(len(sound)), chance.randrange(8)
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1 << bit]) + sound[at + 1 :])
        found = content(lake, kind)
        with Lake.open(lake, "docs", read_only=True) as opened:
            named = [d.path for d in [*opened.damaged_records(), *opened.timelines.damaged()]] == [path]
        assert found == (nothing if named else expected), (seed, at, bit)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_an_earlier_version_has_no_checksum_and_is_read(kind: str, lake: Path) -> None:
    path, expected = lake / FILES[kind], content(lake, kind)
    earlier = json.loads(path.read_text())
    del earlier["crc32"]
    path.write_text(json.dumps(earlier))
    assert content(lake, kind) == expected


def test_a_damaged_jobs_file_makes_every_job_uncommitted_and_says_so(lake: Path) -> None:
    (lake / "docs" / "jobs.json").write_text("{")
    with Lake.open(lake, "docs") as opened:
        assert opened.first_uncommitted_job() == 1
        (damage,) = opened.damaged_records()
        assert "jobs.json is damaged" in damage.message
        assert "uncommitted until a run has ended" in damage.message
