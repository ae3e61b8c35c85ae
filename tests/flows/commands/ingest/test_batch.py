"""The Batch road of a run, against a provider with files and jobs: half the price, nothing twice, the same rows."""

import json
from typing import Any

import pytest

from tests.flows.prose import english
from tests.flows.site import Row, Site, json_of
from tests.simulator.faults import FaultRule
from tests.simulator.refusals import Reason
from tests.simulator.settings import API_KEY

ALWAYS = ("embedding.batch=always", "embedding.batch_poll_s=0.05", "chunking.max_tokens=64")


@pytest.fixture
def batch(site: Site) -> Site:
    """A site whose runs go by Batch, with eight documents of about 100 chunks."""
    site.overrides = ALWAYS
    for number in range(8):
        site.write(f"{number}.md", f"# {number}\n\n" + english(60, seed=number))
    return site


def jobs_in_the_books(site: Site) -> dict[str, Any]:
    """What the provider says of files and jobs."""
    return site.simulator.store.as_json()


def assert_bought_once_at_half_the_price(site: Site) -> None:
    books, jobs = site.simulator.books, jobs_in_the_books(site)
    assert books.texts_bought_again == 0
    assert books.pools["realtime"].texts_bought == 0
    assert jobs["lines_bought_again"] == 0
    assert set(jobs["jobs_by_input_file"].values()) == {1}


def assert_same_as_at_once(site: Site, rows: dict[str, Row]) -> None:
    """The same rows, bit by bit, as a run over the synchronous road."""
    elsewhere = (
        *("embedding.batch=never", f"lake.path={site.folder / 'lake-2'}", f"milvus.uri={site.folder / 'milvus-2.db'}"),
    )
    assert site.ingest(*elsewhere).exit_code == 0
    others = site.rows(*elsewhere)
    assert rows.keys() == others.keys()
    assert all(row.same_as(others[key]) for key, row in rows.items())


def test_a_run_by_batch_has_the_rows_of_any_other_at_half_the_price(batch: Site) -> None:
    report = batch.ingest()
    books = batch.simulator.books
    assert report.exit_code == 0
    assert report.batch.jobs == 2  # a small one, that shows whether Batch is to be had, and the rest
    assert report.batch.texts == report.chunks.total > 80
    assert report.tokens.billed == books.tokens_billed == books.pools["batch"].tokens
    assert report.cost_cny == pytest.approx(books.pools["batch"].yuan)
    assert report.batch.saved_cny == pytest.approx(report.cost_cny, abs=1e-6)
    assert_bought_once_at_half_the_price(batch)
    assert jobs_in_the_books(batch)["files_stored"] == 0  # what is settled is deleted there
    assert_same_as_at_once(batch, batch.check(max_tokens=64))


def test_a_detached_run_ends_at_once_and_the_next_takes_in_what_it_bought(batch: Site) -> None:
    batch.simulator.change({"batch": {"queue_s": 3_600}})
    first = batch.run("ingest", str(batch.corpus), "--detach", "--json")
    report = json_of(first)
    assert (first.returncode, report["outcome"]) == (0, "detached")
    assert report["batch"]["open"] == 2
    listed = json_of(batch.run("jobs", "--json"))
    assert [job["state"] for job in listed["jobs"]] == ["open", "open"]
    assert listed["reserved_cny"] > 0
    assert "2 jobs open" in batch.run("ingest", str(batch.corpus), "--detach").stdout
    batch.simulator.advance(3_700)
    second = batch.run("ingest", str(batch.corpus), "--json")
    assert second.returncode == 0, second.stderr
    assert json_of(second)["documents"]["added"] == 8
    assert json_of(batch.run("jobs", "--json")) == {"jobs": [], "open": 0, "reserved_cny": 0, "notes": []}
    assert_bought_once_at_half_the_price(batch)


def test_texts_that_no_job_answered_go_over_the_other_road_and_are_refused_there_one_by_one(batch: Site) -> None:
    batch.simulator.change({"poison_share": 0.03})
    report = batch.ingest()
    books = batch.simulator.books
    assert report.exit_code == 3
    assert {reject["reason"] for reject in batch.rejects()} == {"content_inspection"}
    assert 0 < books.pools["realtime"].texts_bought < 100  # the neighbours of the refused ones
    assert books.texts_bought_again == 0


@pytest.mark.parametrize(
    "damage",
    [
        {
            "files": {"answer_lost": "reset", "answer_lost_times": 1, "visible_after_s": 0.2},
            "batch": {"create_answer_lost": "500", "create_answer_lost_times": 1},
        },
        {
            "files": {"fails": {"delete": 2}},
            "batch": {"create_fails": 1, "result_published_after_s": 0.3, "fails": {"retrieve": 2}},
        },
        {
            "files": {"download_cut_at": 0.5, "download_cut_times": 1},
            "batch": {"duplicated_lines": 2, "unknown_ids": 2, "empty_last_line": True},
        },
    ],
    ids=["uploads-and-creations", "answers", "downloads"],
)
def test_lost_and_late_answers_cost_nothing_twice(batch: Site, damage: dict[str, object]) -> None:
    batch.simulator.change(damage)
    report = batch.ingest()
    assert report.exit_code == 0
    assert_bought_once_at_half_the_price(batch)
    assert jobs_in_the_books(batch)["files_stored"] == 0
    batch.check(max_tokens=64)


def test_lines_that_come_damaged_are_bought_again_and_no_others(batch: Site) -> None:
    batch.simulator.change({"batch": {"missing_lines": 1, "malformed_lines": 1}})
    report = batch.ingest()
    books = batch.simulator.books
    assert report.exit_code == 0
    assert any("lines of the Batch job" in note for note in report.notes)
    assert books.texts_bought_again == 0  # what was spoiled was never had
    assert 0 < books.pools["realtime"].texts_bought <= 40
    batch.check(max_tokens=64)


def test_an_account_without_the_right_to_batch_is_told_and_pays_the_full_price(batch: Site) -> None:
    batch.simulator.change({"batch": {"entitled": False}})
    report = batch.ingest()
    books = batch.simulator.books
    assert report.exit_code == 0
    assert any("Batch is not to be had" in note for note in report.notes)
    assert books.pools["batch"].texts_bought == 0
    assert books.pools["realtime"].texts_bought == report.chunks.total
    batch.check(max_tokens=64)


def test_results_of_another_job_are_not_taken_in(batch: Site) -> None:
    batch.simulator.change({"batch": {"foreign_output": True}})
    done = batch.run("ingest", str(batch.corpus))
    assert done.returncode == 1
    assert "none of them of this job" in done.stderr
    assert "millrace jobs cancel --forget" in done.stderr
    assert jobs_in_the_books(batch)["files_stored"] > 0
    assert batch.run("jobs", "cancel", "--forget").returncode == 0
    batch.simulator.change({"batch": {"foreign_output": False}})
    assert batch.ingest("embedding.batch=never").exit_code == 0


def test_jobs_of_another_key_are_refused_by_name(batch: Site) -> None:
    batch.simulator.change({"batch": {"queue_s": 3_600}, "keys": {API_KEY: "main", "sk-other": "other"}})
    assert batch.run("ingest", str(batch.corpus), "--detach").returncode == 0
    done = batch.run("ingest", str(batch.corpus), DASHSCOPE_API_KEY="sk-other")
    assert done.returncode == 2
    assert "with another key" in done.stderr
    assert "sk-other" not in done.stderr
    assert batch.simulator.books.texts_bought == 0


def test_the_cap_is_hard_over_both_roads(batch: Site) -> None:
    whole = json_of(batch.run("plan", str(batch.corpus), "--json"))["estimate"]
    done = batch.run("ingest", str(batch.corpus), "--max-cny", str(whole["batch_cost_cny"] / 2), "--json")
    books = batch.simulator.books
    assert done.returncode == 4
    assert sum(pool.yuan for pool in books.pools.values()) <= whole["batch_cost_cny"] / 2
    again = batch.run("ingest", str(batch.corpus), "--json")
    assert again.returncode == 0
    assert_bought_once_at_half_the_price(batch)


def test_a_deadline_brings_back_what_stays_in_the_queue(batch: Site) -> None:
    """The margin for the end of jobs is five minutes, so that a deadline before that begins the way back at once."""
    batch.simulator.change({"batch": {"queue_s": 10_000_000}})
    report = batch.ingest("embedding.deadline=4m")
    books = batch.simulator.books
    assert report.exit_code == 0
    assert report.seconds < 60
    assert books.pools["realtime"].texts_bought == report.chunks.total
    assert books.texts_bought_again == 0
    assert set(jobs_in_the_books(batch)["jobs"]) <= {"cancelled"}


def test_what_does_not_pay_goes_at_once(batch: Site) -> None:
    report = batch.ingest("embedding.batch=auto")
    assert report.exit_code == 0
    assert any("less than ¥0.10" in note for note in report.notes)
    assert jobs_in_the_books(batch)["jobs"] == {}
    assert not list((batch.lake / "vectors").rglob("batch/*"))


def test_cancelled_jobs_are_settled_by_the_next_run(batch: Site) -> None:
    batch.simulator.change({"batch": {"queue_s": 3_600}})
    assert batch.run("ingest", str(batch.corpus), "--detach").returncode == 0
    assert batch.run("jobs", "cancel", "no-such-job").returncode == 2
    assert batch.run("jobs", "cancel").returncode == 0
    waited = json_of(batch.run("jobs", "wait", "--json"))
    assert {job["remote"] for job in waited["jobs"]} == {"cancelled"}
    assert batch.ingest("embedding.batch=never").exit_code == 0
    assert batch.simulator.books.texts_bought_again == 0


def test_what_an_expired_job_did_not_come_to_goes_by_batch_again(batch: Site) -> None:
    batch.simulator.change({"batch": {"lines_per_s": 0.0001, "queue_s": 1.0}, "seconds_per_second": 40_000})
    report = batch.ingest()
    assert report.exit_code == 0
    assert jobs_in_the_books(batch)["jobs"]["expired"] >= 1
    assert batch.simulator.books.texts_bought_again == 0
    batch.check(max_tokens=64)


def test_other_commands_wait_for_open_jobs_to_be_taken_in(batch: Site) -> None:
    batch.write("broken.md", b"\x00\x01\x02 broken \xff\xfe\x00")
    batch.simulator.change({"batch": {"queue_s": 3_600}})
    assert batch.run("ingest", str(batch.corpus), "--detach").returncode == 0
    batch.simulator.advance(3_700)
    assert batch.run("ingest", str(batch.corpus)).returncode == 3
    batch.write("more.md", "# More\n\n" + english(60, seed=99))
    batch.simulator.change({"batch": {"queue_s": 36_000}})
    assert batch.run("ingest", str(batch.corpus), "--detach").returncode == 0
    done = batch.run("rejects", "retry")
    assert done.returncode == 2
    assert "Batch jobs are open" in done.stderr


def test_a_damaged_record_of_an_open_job_is_told_and_nothing_is_bought(batch: Site) -> None:
    batch.simulator.change({"batch": {"queue_s": 3_600}})
    assert batch.run("ingest", str(batch.corpus), "--detach").returncode == 0
    record = next((batch.lake / "vectors").rglob("batch/*.json"))
    record.write_text(json.dumps(json.loads(record.read_text()) | {"texts": 1}))
    done = batch.run("ingest", str(batch.corpus))
    assert done.returncode == 1
    assert record.name in done.stderr
    assert "may have been paid for" in done.stderr
    assert batch.simulator.books.pools["realtime"].texts_bought == 0


def test_faults_of_the_other_road_do_not_matter_to_batch(batch: Site) -> None:
    batch.simulator.change({"faults": [FaultRule(fault=Reason.LIMIT_REQUESTS, share=1.0)]})
    assert batch.ingest().exit_code == 0
    assert_bought_once_at_half_the_price(batch)


def test_a_model_that_batch_does_not_know_there_is_told_and_embedded_at_once(batch: Site) -> None:
    batch.overrides += ("embedding.model=text-embedding-v3",)
    report = batch.ingest()
    assert report.exit_code == 0
    assert any("Batch is not to be had" in note and "model_not_found" in note for note in report.notes)
    assert batch.simulator.books.pools["realtime"].texts_bought == report.chunks.total


def test_the_plan_tells_both_roads_and_when_the_way_back_begins(batch: Site) -> None:
    batch.overrides = (*ALWAYS, "embedding.batch=never")
    assert json_of(batch.run("plan", str(batch.corpus), "--json"))["batch"]["chosen"] is False
    batch.overrides = ALWAYS
    planned = json_of(batch.run("plan", str(batch.corpus), "--within", "6h", "--json"))
    outlook, estimate = planned["batch"], planned["estimate"]
    assert (outlook["chosen"], outlook["jobs_before"], outlook["median_s"]) == (True, 0, None)
    assert outlook["cost_cny"] == pytest.approx(estimate["cost_cny"] / 2)
    assert outlook["way_back"] < outlook["deadline"]
    assert batch.ingest().exit_code == 0
    batch.write("more.md", "# More\n\n" + english(60, seed=99))
    said = batch.run("plan", str(batch.corpus)).stdout
    assert "earlier jobs took" in said
    passed = batch.run("plan", str(batch.corpus), "--by", "2020-01-01T00:00")
    assert passed.returncode == 2
    assert "has passed" in passed.stderr
    assert batch.run("plan", str(batch.corpus), "--by", "soon").returncode == 2
