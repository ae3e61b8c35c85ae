"""Every end leaves a trace: the log's end event, a record in the lake and the metrics file, also before a run began."""

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from millrace.flows.cli.main import millrace
from millrace.flows.commands.status import lake_status
from millrace.tasks.errors import ConfigurationError, LeaseHeld
from millrace.tasks.lake import Lake, RunRecord
from tests.flows.site import Site
from tests.simulator.server import running_simulator

DOCUMENT = "# Sluice\n\nIt is opened at dawn."


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site of the provider `local` that has run once, with a folder for its metrics."""
    with running_simulator() as simulator:
        site = Site(tmp_path_factory.mktemp("site"), simulator)
        (site.folder / "metrics").mkdir()
        metrics = f"metrics.textfile_dir={site.folder}/metrics"
        site.overrides = ("embedding.provider=local", "embedding.base_url=", metrics)
        site.write("a.md", DOCUMENT)
        assert site.ingest().exit_code == 0
        yield site


@pytest.fixture
def watched(first: Site) -> Site:
    """The site, its one document unchanged; what earlier tests left in the lake does not matter."""
    first.write("a.md", DOCUMENT)
    return first


def metrics_of(site: Site, name: str = "millrace-documents.prom") -> dict[str, float]:
    """Every metric of the file by name, those with further labels left out."""
    families = text_string_to_metric_families((site.folder / "metrics" / name).read_text())
    samples = (sample for family in families for sample in family.samples)
    return {sample.name: sample.value for sample in samples if sample.labels.keys() == {"collection"}}


def newest(site: Site) -> RunRecord:
    return Lake.open(site.lake, "documents", read_only=True).runs.newest(1)[0]


def end_event(caplog: pytest.LogCaptureFixture) -> Mapping[str, Any]:
    fields = [getattr(record, "fields", {}) for record in caplog.records]
    ends = [one for one in fields if one.get("event") == "end"]
    assert len(ends) == 1
    return ends[0]


def assert_traced(site: Site, caplog: pytest.LogCaptureFixture, exit_code: int, word: str) -> None:
    record, event, metrics = newest(site), end_event(caplog), metrics_of(site)
    assert (record.exit, event["exit_code"], metrics["millrace_run_exit_code"]) == (exit_code,) * 3
    assert word in record.error
    assert event["error"] == record.error
    assert record.id == event["run"]
    assert 0 < metrics["millrace_run_last_success_timestamp_seconds"] < metrics["millrace_run_start_timestamp_seconds"]
    assert any(record.error in line for line in lake_status(site.settings()).lines())


def test_what_is_refused_before_it_began_is_recorded_logged_and_exported(
    watched: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "millrace")
    with pytest.raises(ConfigurationError, match="does not exist"):
        watched.ingest(sources=[watched.folder / "gone"])
    assert_traced(watched, caplog, 2, "does not exist")
    caplog.clear()
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="API key"):
        watched.ingest("embedding.provider=dashscope", "embedding.allow_change=true")
    assert_traced(watched, caplog, 2, "DASHSCOPE_API_KEY")
    caplog.clear()
    with pytest.raises(ConfigurationError, match="embedded again"):
        watched.ingest("chunking.max_tokens=64")
    assert_traced(watched, caplog, 2, "chunking.max_tokens")
    caplog.clear()
    (watched.corpus / "a.md").unlink()
    assert watched.ingest().exit_code == 1
    assert_traced(watched, caplog, 1, "no document found")


@pytest.mark.parametrize("wrong", ["chunking.max_tokens=0", "chunking.max_tokns=64", "milvus.metric=near"])
def test_wrong_settings_leave_their_traces_where_the_right_ones_say(
    wrong: str, watched: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "millrace")
    config = watched.folder / "millrace.toml"
    config.write_text(
        f'[lake]\npath = "{watched.lake}"\n[metrics]\ntextfile_dir = "{watched.folder}/metrics"\n[milvus]\nindex = "FLAT"\n'
    )
    ended = CliRunner().invoke(millrace, ["ingest", "docs", "--config", str(config), "--set", wrong])
    assert isinstance(ended.exception, ConfigurationError)
    assert_traced(watched, caplog, 2, wrong.partition("=")[0])


def test_a_file_that_cannot_be_read_says_nothing_of_where_to_leave_traces(
    watched: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "millrace")
    monkeypatch.chdir(watched.folder)
    before = newest(watched)
    assert CliRunner().invoke(millrace, ["ingest", "docs", "--config", "none.toml"]).exception is not None
    assert end_event(caplog)["exit_code"] == 2
    assert newest(watched) == before


def test_a_refusal_begins_no_lake_and_no_collection(watched: Site) -> None:
    for other in (f"lake.path={watched.folder}/none", "milvus.collection=other"):
        with pytest.raises(ConfigurationError):
            watched.ingest(other, sources=[watched.folder / "gone"])
    assert not (watched.folder / "none").exists()
    assert not (watched.lake / "other").exists()


def test_a_run_that_finds_the_lake_taken_is_recorded_and_leaves_the_metrics_to_the_one_that_has_it(
    watched: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "millrace")
    before = (watched.folder / "metrics" / "millrace-documents.prom").read_bytes()
    with Lake.open(watched.lake, "documents"), pytest.raises(LeaseHeld):
        watched.ingest()
    assert (newest(watched).exit, end_event(caplog)["exit_code"]) == (1, 1)
    assert (watched.folder / "metrics" / "millrace-documents.prom").read_bytes() == before


def test_a_clock_that_was_ahead_does_not_silence_the_alarm_of_a_late_success(watched: Site) -> None:
    lake = Lake.open(watched.lake, "documents", read_only=True)
    real = metrics_of(watched)["millrace_run_last_success_timestamp_seconds"]
    lake.runs.save(RunRecord("99991120T100000.000Z-aaaaaa", "ingest", "9999", "9999-11-20T10:00:00+00:00", 0))
    with pytest.raises(ConfigurationError):
        watched.ingest(sources=[watched.folder / "gone"])
    assert metrics_of(watched)["millrace_run_last_success_timestamp_seconds"] == pytest.approx(real, abs=1)


def test_a_verification_exports_its_end_and_when_all_agreed_last(
    watched: Site, caplog: pytest.LogCaptureFixture
) -> None:
    from millrace.flows.commands.verify.verify import verify

    caplog.set_level(logging.INFO, "millrace")
    name = "millrace-documents-verify.prom"
    assert verify(watched.settings(), [watched.corpus], as_json=True).agree
    agreed = metrics_of(watched, name)
    assert (agreed["millrace_verify_exit_code"], agreed["millrace_verify_rows"]) == (0, 1)
    assert agreed["millrace_verify_last_success_timestamp_seconds"] == pytest.approx(time.time(), abs=30)
    assert end_event(caplog)["command"] == "verify"
    (watched.corpus / "a.md").unlink()
    assert not verify(watched.settings(), [], as_json=True).agree
    failed = metrics_of(watched, name)
    assert failed["millrace_verify_exit_code"] == 1
    assert (
        'millrace_verify_findings{collection="documents",kind="gone_file"} 1.0'
        in (watched.folder / "metrics" / name).read_text()
    )
    with pytest.raises(ConfigurationError):
        verify(watched.settings("embedding.model=none"), [], as_json=True)
    refused = metrics_of(watched, name)
    assert refused["millrace_verify_exit_code"] == 2
    last = "millrace_verify_last_success_timestamp_seconds"
    assert agreed[last] == failed[last] == refused[last]


def test_a_verification_with_wrong_settings_is_told_where_the_right_ones_say(
    watched: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "millrace")
    config = watched.folder / "millrace.toml"
    config.write_text(f'[metrics]\ntextfile_dir = "{watched.folder}/metrics"\n')
    for options, command in (([], "verify"), (["--repair"], "repair")):
        wrong = ["verify", "--config", str(config), "--set", "chunking.max_tokens=0", *options]
        assert isinstance(CliRunner().invoke(millrace, wrong).exception, ConfigurationError)
        event = end_event(caplog)
        assert (event["command"], event["exit_code"]) == (command, 2)
        assert "chunking.max_tokens" in event["error"]
        assert metrics_of(watched, "millrace-documents-verify.prom")["millrace_verify_exit_code"] == 2
        caplog.clear()
