"""Bills add up after a disk refused them: a file where the folder of bills should be stands for the full disk."""

import time
from pathlib import Path

import pytest

from millrace.flows.commands.ingest.pipeline import Execution
from millrace.flows.commands.ingest.run import ingest_here
from millrace.flows.commands.status import lake_status
from millrace.flows.wiring import embedder
from tests.flows.prose import english
from tests.flows.site import Site


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def tokens_in_status(site: Site) -> int:
    return sum(bill.tokens_billed for bill in lake_status(site.settings()).billed)


def test_a_bill_that_the_lake_could_not_take_is_in_the_sums_after_the_next_run(site: Site, state: Path) -> None:
    site.write("a.txt", english(40))
    site.lake.mkdir()
    (site.lake / "bills").write_text("in the way")
    assert site.ingest().exit_code == 0
    (site.lake / "bills").unlink()
    assert tokens_in_status(site) == 0
    assert site.ingest().exit_code == 0  # which embeds nothing
    assert tokens_in_status(site) == site.simulator.books.tokens_billed > 0
    assert list(state.rglob("*.json")) == []


def test_a_bill_that_nobody_takes_is_told_with_what_was_billed(site: Site, state: Path) -> None:
    site.write("a.txt", english(40))
    site.lake.mkdir()
    for taken in (site.lake / "bills", state):
        taken.write_text("in the way")
    summary = site.ingest()
    assert summary.exit_code == 1
    assert f"{site.simulator.books.tokens_billed:,} tokens of text-embedding-v4" in summary.error


def test_usage_is_written_as_soon_as_the_disk_has_room_again(
    site: Site, state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedder, "_WRITE_EVERY_S", 0.01)
    site.write("a.txt", english(40))
    site.lake.mkdir()
    bills = site.lake / "bills"
    bills.write_text("in the way")

    def make_room(step: str) -> None:
        if step.startswith("load") and bills.is_file():
            while "usage is not written for now" not in caplog.text:
                time.sleep(0.01)
            bills.unlink()

    ended = ingest_here(site.settings(), [site.corpus], quiet=True, execution=Execution(checkpoint=make_room))
    assert ended.exit_code == 0
    assert tokens_in_status(site) == site.simulator.books.tokens_billed > 0
    assert not state.exists()
