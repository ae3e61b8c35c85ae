"""The sums of all bills: what they cost to ask for, and that each bill counts once whatever is done to old ones."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Lake, RunUsage
from millrace.tasks.lake import bills as bills_room
from millrace.tasks.lake.bills import Bills

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def filled(lake: Path, count: int) -> Bills:
    """So many bills, one an hour, every tenth of another model."""
    bills = Bills(lake)
    for number in range(count):
        model, updated = "v3" if number % 10 == 0 else "v4", (NOON + timedelta(hours=number)).isoformat()
        bills.save(RunUsage(f"run-{number:05d}", "docs", model, 1, 90, 100 + number, 3, 0.25, updated))
    return bills


def test_sums_that_are_kept_spare_the_reading_of_what_they_are_of(tmp_path: Path) -> None:
    bills = filled(tmp_path, 60)
    before = bills.by_model()
    assert [(one.model, one.requests) for one in before] == [("v3", 6), ("v4", 54)]
    bills.sum_up()
    for path in (tmp_path / "bills").iterdir():  # the same size and time: only who reads it would see
        known = path.stat()
        path.write_bytes(b"x" * known.st_size)
        os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))
    assert bills.by_model() == before
    assert bills.damaged(100) == []
    assert len(bills.damaged()) == 60


def test_kept_sums_do_not_count_once_a_bill_is_other_than_it_was(tmp_path: Path) -> None:
    bills = filled(tmp_path, 60)
    bills.sum_up()
    first = next(iter(bills.oldest_first()))
    bills.save(replace(first, tokens_billed=1_000_000))
    assert bills.by_model()[0].tokens_billed == sum(range(100, 160, 10)) - 100 + 1_000_000
    bills.save(RunUsage("run-99999", "docs", "v5", 7))
    assert bills.by_model()[-1].requests == 7


@pytest.mark.parametrize("summed", [True, False])
def test_folding_old_bills_changes_no_sum_wherever_it_is_cut_short(
    summed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bills = filled(tmp_path, 60)
    before = bills.by_model()
    if summed:
        bills.sum_up()
    old = bills.old_files(NOON + timedelta(hours=40))
    assert len(old) == 40

    def cut_short(*_: object) -> None:
        raise LakeError("cut short")

    with monkeypatch.context() as broken:
        broken.setattr(bills_room, "remove_files", cut_short)  # as if killed when the sums were written
        with pytest.raises(LakeError):
            bills.fold(old)
    assert bills.by_model() == before
    (tmp_path / "bills" / old[7].name).unlink()  # as if killed while the files went
    assert Bills(tmp_path).by_model() == before
    assert bills.fold([]) == 0
    assert bills.by_model() == before
    assert len(bills.oldest_first()) == 22
    assert bills.fold(bills.old_files(NOON + timedelta(hours=50))) == 10
    assert bills.by_model() == before
    assert len(bills.oldest_first()) == 12


def test_no_collection_may_be_called_as_the_files_of_sums(tmp_path: Path) -> None:
    for name in ("bills-sums.json", "bills-folding.json"):
        with pytest.raises(LakeError, match="cannot be a folder"):
            Lake.open(tmp_path, name)
