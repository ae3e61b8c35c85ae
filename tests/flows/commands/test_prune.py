"""`prune` takes what nothing depends on, and nothing else: what is embedded, what agrees and what was billed stay."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

import millrace
from millrace.flows.cli.main import millrace as command_line
from millrace.flows.commands.prune import PruneResult, age_of, prune
from millrace.flows.commands.status import lake_status
from millrace.flows.commands.verify.verify import verify
from millrace.tasks.errors import ConfigurationError, LeaseHeld
from millrace.tasks.lake import Lake, RunRecord, RunUsage, Timeline, new_run_id
from tests.flows.prose import english
from tests.flows.site import Site

NOW = timedelta(0)


def content_of(lake: Path) -> dict[str, str]:
    files = (path for path in lake.rglob("*") if path.is_file() and not path.name.startswith(("lease", "index.sqlite")))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def counts(result: PruneResult) -> dict[str, int]:
    return {kind: item.count for kind, item in result.items.items() if item.count}


def test_what_is_needed_stays_and_what_is_unused_goes_priced_before(site: Site) -> None:
    site.write("a.txt", english(150))
    site.write("b.txt", english(40, seed=1))
    site.ingest()
    site.write("a.txt", english(30, seed=2))
    site.ingest()
    slip = site.lake / "documents" / "slips" / "000001-000.json"
    slip.parent.mkdir()
    slip.write_text("{}")
    settings, billed = site.settings(), lake_status(site.settings()).billed
    before = content_of(site.lake)

    told = prune(settings, older_than=NOW, keep=0, vectors=True)
    assert content_of(site.lake) == before
    assert counts(told) == {"runs": 1, "timelines": 1, "bills": 2, "slips": 1}
    assert told.vectors > 5
    assert told.vectors_cny == pytest.approx(told.vectors_tokens * 0.0005 / 1000)

    unasked = prune(settings, older_than=NOW, keep=0, yes=True)
    assert (counts(unasked), unasked.vectors) == (counts(told), 0)
    removed = prune(settings, older_than=NOW, keep=0, vectors=True, yes=True)
    assert (removed.vectors, removed.vectors_tokens) == (told.vectors, told.vectors_tokens)
    assert prune(settings, older_than=NOW, keep=0, vectors=True).vectors == 0
    assert not slip.exists()

    assert [(one.model, one.tokens_billed, one.cost_cny) for one in lake_status(settings).billed] == [
        (one.model, one.tokens_billed, one.cost_cny) for one in billed
    ]
    assert verify(settings, [site.corpus], as_json=True).agree
    assert site.ingest().requests.sent == 0
    site.check()
    site.write("a.txt", english(150))
    assert site.ingest().chunks.embedded == told.vectors
    assert verify(settings, [site.corpus], as_json=True).agree


def test_what_is_kept_is_bounded_however_many_days_go_by(tmp_path: Path) -> None:
    settings = millrace.load_settings(None, [f"lake.path={tmp_path}/lake"], {})
    first, files, tokens = datetime(2026, 6, 1, tzinfo=UTC), [], 0
    for day in range(30):
        with Lake.open(tmp_path / "lake", "documents") as lake:
            for hour in range(0, 24, 8):
                began = first + timedelta(days=day, hours=hour)
                run, at = new_run_id(began), began.isoformat()
                lake.runs.save(RunRecord(run, "ingest", at, at, 0 if day < 3 else 1))
                lake.timelines.save(Timeline(run, at))
                lake.reports.save(run, "<html>")
                lake.usage.save(RunUsage(run, "documents", "v4", 1, 9, 10, 0, 0.1, at))
                tokens += 10
        result = prune(settings, older_than=timedelta(days=5), keep=5, yes=True, now=first + timedelta(days=day + 1))
        files.append(len(content_of(tmp_path / "lake")))
        assert result.done
    assert max(files) == max(files[:8])
    status = lake_status(settings)
    assert [(one.requests, one.tokens_billed) for one in status.billed] == [(90, tokens)]
    last_success = first + timedelta(days=2, hours=16)
    records = Lake.open(tmp_path / "lake", "documents", read_only=True).runs.oldest_first()
    assert [record.started for record in records if record.exit == 0] == [last_success.isoformat()]


def test_the_newest_runs_stay_however_old_and_nothing_that_is_not_of_a_run_goes(tmp_path: Path) -> None:
    settings = millrace.load_settings(None, [f"lake.path={tmp_path}/lake"], {})
    with Lake.open(tmp_path / "lake", "documents") as lake:
        for number in range(12):
            at = datetime(2020, 1, 1 + number, tzinfo=UTC)
            lake.runs.save(RunRecord(new_run_id(at), "ingest", at.isoformat(), at.isoformat(), 1))
        (tmp_path / "lake" / "documents" / "runs" / "notes.json").write_text("{}")
    assert counts(prune(settings)) == {}
    assert counts(prune(settings, keep=10, yes=True)) == {"runs": 2}
    assert (tmp_path / "lake" / "documents" / "runs" / "notes.json").exists()
    assert len(lake.runs.newest()) == 10


def test_a_lake_that_is_written_to_is_left_alone_and_wrong_use_is_named(tmp_path: Path) -> None:
    given = ["--set", f"lake.path={tmp_path}/lake"]
    with Lake.open(tmp_path / "lake", "documents"), pytest.raises(LeaseHeld):
        prune(millrace.load_settings(None, given[1:], {}), yes=True)
    told = CliRunner().invoke(command_line, ["prune", "--older-than", "0h", *given])
    assert (told.exit_code, "nothing in" in told.output) == (0, True)
    assert CliRunner().invoke(command_line, ["prune", "--dry-run", "--yes", *given]).exit_code == 2
    with pytest.raises(ConfigurationError, match="such as 90d"):
        age_of("soon")
    assert millrace.prune(overrides=given[1:], older_than_days=0).done is False
