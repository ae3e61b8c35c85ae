"""The timelines of runs."""

from pathlib import Path

import pytest

from millrace.tasks.lake import RunFiles, Timeline

RUN = "20261120T100000.000Z-aaaaaa"
TIMELINE = Timeline(RUN, "2026-11-20T10:00:10+00:00", {"seconds": [0, 1.5], "tokens": [0, 9]}, {"model": "水"})


def test_a_timeline_is_read_as_it_was_written_last(tmp_path: Path) -> None:
    timelines = RunFiles(tmp_path / "timelines", Timeline, indent=None)
    assert timelines.of(RUN) is None
    timelines.save(Timeline(RUN))
    timelines.save(TIMELINE)
    assert timelines.of(RUN) == TIMELINE
    assert [path.name for path in (tmp_path / "timelines").iterdir()] == [f"{RUN}.json"]


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        '{"run": "x", "columns": [], "facts": {}}',
        '{"run": "x", "columns": {"a": [1], "b": []}, "facts": {}}',
        '{"run": "x", "columns": {"a": ["<b>"]}, "facts": {}}',
        '{"run": "x", "columns": {}, "facts": {}, "later": 1}',
    ],
)
def test_what_is_no_timeline_is_none(tmp_path: Path, damage: str) -> None:
    timelines = RunFiles(tmp_path / "timelines", Timeline, indent=None)
    timelines.save(TIMELINE)
    (tmp_path / "timelines" / f"{RUN}.json").write_text(damage)
    assert timelines.of(RUN) is None
