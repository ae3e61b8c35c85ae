"""The page of a run: what it says, that it needs nothing else, and that no run is too odd for it."""

import re
from html import unescape
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from millrace.flows.commands.report.facts import Latency, gather
from millrace.flows.commands.report.formatting import format_duration, short_s, yuan
from millrace.flows.commands.report.markdown_summary import markdown_summary
from millrace.flows.commands.report.page import page_of
from millrace.flows.commands.report.write import write_report
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.lake import Lake, RunRecord, Timeline
from tests.flows.prose import chinese, english
from tests.flows.site import Site, json_of


def text_of(page: str) -> str:
    """What a person reads of it."""
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)).split())


def write_corpus(site: Site) -> None:
    for number in range(12):
        site.write(f"{number}.md", f"# Letter {number}\n\n" + english(60, seed=number))
    site.write("档案/水轮维护记录.md", "# 水轮\n\n" + chinese(40))
    site.write("档案/<b>旧&新</b>.txt", bytes(range(128, 256)) * 40)
    site.write("rows.jsonl", '{"id": "a", "text": "a row that is in"}\n{broken\n')


def test_the_page_of_a_run_with_refusals_and_rejects_says_what_it_cost_what_failed_and_what_to_change(
    site: Site,
) -> None:
    write_corpus(site)
    site.simulator.change({"faults": [{"fault": "insufficient_quota", "numbers": [2]}]})
    report = site.ingest()
    assert report.requests.throttled == 1
    page = Path(str(write_report(site.settings()).path)).read_text("utf-8")
    text = text_of(page)
    assert f"In after {format_duration(report.seconds)}, but for 2 rejects, for {yuan(report.cost_cny)}" in text
    assert f"{report.tokens.billed:,} tokens billed" in text
    assert "of the requests were answered 429, most by the limit of tokens" in text
    assert "2 items of 2 documents were not taken" in text
    assert "unknown_encoding" in text
    assert "malformed_row" in text
    assert "of the pace allowed" in text
    assert f"Answered 429, by the limit named: tokens {report.requests.throttled}" in text
    assert "档案/<b>旧&新</b>.txt" in text
    assert "<b>旧" not in page


def test_the_page_needs_nothing_but_itself_and_its_pictures_are_whole_and_of_the_page_s_colours(site: Site) -> None:
    write_corpus(site)
    site.ingest()
    page = page_of(gather(site.settings()))
    pictures = re.findall(r"<svg .*?</svg>", page, re.DOTALL)
    assert len(pictures) >= 6
    for picture in pictures:
        ET.fromstring(picture.replace("xlink:href", "href"))
    assert re.findall(r"\b(?:src|href)=\"(?!#)[^\"]*\"|@import|url\((?!#)[^)]*\)|<script", page) == []
    assert set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))) == set()
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert len(page) < 400_000


def test_a_run_that_found_nothing_to_do_has_a_page_too(site: Site) -> None:
    site.write("a.md", english(5))
    site.ingest()
    site.ingest()
    text = text_of(page_of(gather(site.settings())))
    assert "Nothing had changed: 1 document compared in" in text
    assert "What to change" not in text


def test_a_run_that_was_killed_is_told_as_far_as_its_timeline_goes(site: Site) -> None:
    site.write("a.md", english(40))
    site.ingest()
    with Lake.open(site.lake, "documents") as lake:
        (record,) = lake.runs.newest()
        timeline = lake.timelines.of(record.id)
        assert timeline is not None
        old = "2026-01-01T00:00:00+00:00"
        lake.runs.save(RunRecord(record.id, "ingest", old, settings=record.settings))
        lake.timelines.save(Timeline(record.id, old, timeline.columns, timeline.facts))
    facts = gather(site.settings())
    assert facts.state == "killed"
    assert facts.report.tokens.billed == timeline.columns["tokens_billed"][-1]
    assert "Killed after" in text_of(page_of(facts))
    assert "The run did not end." in markdown_summary(facts)


def test_a_run_whose_timeline_is_missing_or_of_another_version_has_a_page_of_its_record(site: Site) -> None:
    site.write("a.md", english(5))
    site.ingest()
    with Lake.open(site.lake, "documents") as lake:
        (record,) = lake.runs.newest()
        (site.lake / "documents" / "timelines" / f"{record.id}.json").unlink()
        assert "it left no timeline" in text_of(page_of(gather(site.settings())))
        for timeline in (
            Timeline(record.id, columns={"seconds": [0.0]}),
            Timeline(record.id, columns={"seconds": [0.0, 0.0], "answers": [5, 5]}),
            Timeline(record.id, columns={"seconds": [1.0, 2.0, 3.0]}, facts={"formats": {"pdf": 1}, "latency": 3}),
        ):
            lake.timelines.save(timeline)
            assert "All in after" in text_of(page_of(gather(site.settings())))


def test_the_page_of_a_run_of_three_days_is_no_larger_than_that_of_an_hour(site: Site) -> None:
    write_corpus(site)
    site.ingest()
    sizes, texts = [], []
    with Lake.open(site.lake, "documents") as lake:
        (record,) = lake.runs.newest()
        timeline = lake.timelines.of(record.id)
        assert timeline is not None
        for hours in (1, 72):
            seconds = np.linspace(0, hours * 3600, 600)
            grown = {name: list(np.linspace(0, max(column), 600)) for name, column in timeline.columns.items()}
            lake.timelines.save(
                Timeline(record.id, timeline.updated, {**grown, "seconds": list(seconds)}, timeline.facts)
            )
            page = page_of(gather(site.settings()))
            sizes.append(len(page))
            texts.append(page)
    assert sizes[1] < 1.05 * sizes[0]
    assert ">minutes since the beginning<" in texts[0]
    assert ">days since the beginning<" in texts[1]


def test_the_command_prints_where_the_page_is(site: Site) -> None:
    site.write("a.md", english(5))
    report = site.ingest()
    arguments = ["report", report.run[:15]]
    done = site.run(*arguments)
    written = Path(done.stdout.strip())
    assert (done.returncode, written.name, written.parent.name) == (0, f"{report.run}.html", "reports")
    output = json_of(site.run(*arguments, "--json", "--out", str(site.folder / "here.html")))
    assert output == {"run": report.run, "state": "finished", "path": str(site.folder / "here.html")}
    assert (site.folder / "here.html").read_text("utf-8") == written.read_text("utf-8")


def test_a_run_that_is_not_there_and_a_file_that_cannot_be_written_are_refused_in_words(site: Site) -> None:
    site.write("a.md", english(5))
    run = site.ingest().run
    with pytest.raises(ConfigurationError, match=f"there is no run 2031 in .*documents; the newest are: {run}"):
        write_report(site.settings(), "2031")
    with pytest.raises(ConfigurationError, match=r"--out .*x\.html cannot be written: No such file or directory"):
        write_report(site.settings(), out=site.folder / "no" / "x.html")


def test_without_a_run_the_newest_that_took_documents_in_is_told(site: Site) -> None:
    site.write("a.md", english(5))
    report = site.ingest()
    with Lake.open(site.lake, "documents") as lake:
        lake.runs.save(RunRecord("20991231T000000.000Z-aaaaaa", "rebuild", "2099-12-31T00:00:00+00:00", exit=0))
    assert gather(site.settings()).record.id == report.run


def test_without_a_lake_the_page_is_refused_in_words(tmp_path: Path, site: Site) -> None:
    with pytest.raises(ConfigurationError, match="there is no lake of collection documents"):
        write_report(site.settings(f"lake.path={tmp_path / 'none'}"))


@pytest.mark.parametrize(
    ("counts", "share", "seconds"),
    [((4, 0, 0), 0.5, 0.5), ((2, 2, 0), 0.75, 1.5), ((0, 0, 4), 0.5, 3.0), ((0, 0, 0), 0.5, 0.0)],
)
def test_quantiles_lie_within_their_bucket(counts: tuple[int, ...], share: float, seconds: float) -> None:
    assert Latency(bounds_s=(1.0, 2.0), counts=counts).quantile_s(share) == pytest.approx(seconds)


def test_times_are_told_in_the_unit_that_people_would_use() -> None:
    output = [format_duration(s) for s in (0.04, 9.96, 42.4, 59.7, 60, 201, 3600, 7530, 86_400, 273_600)]
    assert output == [
        "0.0 s",
        "10.0 s",
        "42 s",
        "1 min",
        "1 min",
        "3 min 21 s",
        "1 h",
        "2 h 5 min",
        "1 day",
        "3 days 4 h",
    ]
    assert [short_s(s) for s in (0.24, 0.9996, 1.0, 1.55, 12.4)] == ["240 ms", "1 s", "1 s", "1.6 s", "12 s"]
