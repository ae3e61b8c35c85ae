"""SIGKILL between every two effects: whatever is cut short, the next run brings the same rows as if nothing had been.

A step is what has just become durable or was acknowledged. `pytest -m thorough` kills at every step that a run takes.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.system.crashes import library
from tests.system.crashes.runs import Runs
from tests.system.crashes.states import States

Step = tuple[str, int]

OF_A_FIRST_RUN: list[Step] = [
    ("settings: saved", 1),
    ("collection: marked", 1),
    ("vectors: append: journalled", 2),
    ("manifest: renamed", 1),
    ("collection: upserted", 9),
]
OF_A_LATER_RUN: list[Step] = [
    ("vectors: append: journalled", 2),
    ("load: readable", 1),
    ("collection: deleted", 1),
    ("manifest: renamed", 1),
    ("load: removed", 1),
    ("jobs: settled", 1),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("state", "steps"), [("new", OF_A_FIRST_RUN), ("edited", OF_A_LATER_RUN)])
def test_runs_killed_at_later_and_later_steps_converge(
    state: str, steps: list[Step], states: States, runs: Runs
) -> None:
    site = states.back_to(state)
    for step, occurrence in steps:
        runs.ingest(site, step, occurrence)
        if state == "edited":
            states.assert_nothing_vanished()
    states.assert_converges(states.rows[state], kills=len(steps))


def edit_once_more(corpus: Path, first: Path) -> None:
    """Give documents that an interrupted run may have begun with another fate than it knew."""
    changed = [path for path in sorted(corpus.glob("?/*.md")) if "Version 1" in path.read_text("utf-8", "replace")]
    reverted, gone, broken, again, *_ = changed
    shutil.copy2(first / reverted.relative_to(corpus), reverted)
    gone.unlink()
    broken.write_bytes(b"\x00\x01\x02 broken \xff\xfe\x00")
    name = again.relative_to(corpus).as_posix()
    again.write_text(library.document(name, version=2), encoding="utf-8")
    (corpus / "c" / "new-1.md").unlink()
    (corpus / "long.md").write_text(
        library.document("long.md", version=1, sentences=library.LONG_SENTENCES), encoding="utf-8"
    )


def bring_back(corpus: Path, first: Path) -> None:
    """Put documents that were gone back where they were, times included."""
    gone = [path for path in first.rglob("*.md") if not (corpus / path.relative_to(first)).exists()]
    assert gone
    for path in gone[:2]:
        shutil.copy2(path, corpus / path.relative_to(first))


CHANGES: dict[str, Callable[[Path, Path], None]] = {"edited once more": edit_once_more, "brought back": bring_back}
AFTERWARDS: list[tuple[str, int, str]] = [
    ("collection: deleted", 1, "edited once more"),
    ("load: gone rows deleted", 1, "brought back"),
]


@pytest.mark.parametrize(("step", "occurrence", "change"), AFTERWARDS)
def test_documents_that_change_again_after_the_kill_leave_no_row_of_the_version_between(
    step: str, occurrence: int, change: str, states: States, runs: Runs
) -> None:
    states.prepare(change, CHANGES[change])
    site = states.back_to("edited")
    runs.ingest(site, step, occurrence)
    library.replace(site.corpus, states.folder_of(change) / "corpus")
    states.assert_converges(states.rows[change], kills=1)


def first_middle_and_last(steps: Sequence[str]) -> list[Step]:
    """Which occurrences of each step to kill at, in the order in which a run first comes to the step."""
    counts = Counter(steps)
    return [(step, occurrence) for step, n in counts.items() for occurrence in sorted({1, n // 2 + 1, n})]


@pytest.mark.thorough
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("state", ["new", "edited"])
def test_a_kill_at_any_step_converges(state: str, states: States, runs: Runs) -> None:
    for step, occurrence in first_middle_and_last(runs.ingest(states.back_to(state)).steps):
        print(step, occurrence)
        runs.try_ingest(states.back_to(state), step, occurrence)
        if state == "edited":
            states.assert_nothing_vanished()
        states.assert_converges(states.rows[state], kills=1)


@pytest.mark.thorough
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("change", CHANGES)
def test_a_kill_at_any_step_and_then_another_change_converge(change: str, states: States, runs: Runs) -> None:
    states.prepare(change, CHANGES[change])
    for step, occurrence in first_middle_and_last(runs.ingest(states.back_to("edited")).steps):
        print(step, occurrence)
        site = states.back_to("edited")
        runs.try_ingest(site, step, occurrence)
        library.replace(site.corpus, states.folder_of(change) / "corpus")
        states.assert_converges(states.rows[change], kills=1)
