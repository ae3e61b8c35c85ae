"""`rejects retry`: what works now leaves the list, and no other document is looked at."""

import pytest

from millrace.flows.commands.rejects import RetryResult, retry_rejects
from millrace.flows.monitoring.run_summary import RunSummary
from tests.flows.prose import english
from tests.flows.site import Site, json_of


def names(report: RetryResult) -> set[tuple[str, str]]:
    return {(reject["source"].rpartition("/")[2], reject["reason"]) for reject in report.remaining}


def retry(site: Site, *more: str, reason: str = "") -> RetryResult:
    return retry_rejects(site.settings(*more), reason=reason, quiet=True)


def spoiled(site: Site) -> RunSummary:
    """Nine good documents, one that the provider refuses, one that cannot be decoded, and one that is empty."""
    for number in range(9):
        site.write(f"{number}.txt", english(4, seed=number))
    site.write("poison.txt", "The word zanzibar is poison to this provider.")
    site.write("binary.txt", bytes(range(256)) * 40)
    site.write("empty.txt", b"")
    site.simulator.change({"poison_words": ["zanzibar"]})
    report = site.ingest()
    assert (report.exit_code, report.rejects) == (3, 3)
    return report


def test_a_refused_text_is_tried_again_and_leaves_the_list_when_it_works(site: Site) -> None:
    spoiled(site)
    embedded = site.simulator.books.texts_bought
    (site.corpus / "0.txt").unlink()  # not this command's business
    again = retry(site)
    assert (again.tried, again.settled, again.exit_code, len(again.remaining)) == (3, 0, 3, 3)
    site.simulator.change({"poison_words": []})
    again = retry(site)
    assert (again.tried, again.settled, again.exit_code, len(again.remaining)) == (3, 1, 3, 2)
    assert again.run is not None
    assert (again.run.documents.seen, again.run.documents.added, again.run.documents.removed) == (3, 1, 0)
    assert site.simulator.books.texts_bought == embedded + 1
    assert {r["source"].rpartition("/")[2] for r in site.rejects()} == {"binary.txt", "empty.txt"}
    assert len(site.rows()) == 10


def test_only_rejects_with_the_reason_are_tried(site: Site) -> None:
    spoiled(site)
    site.simulator.change({"poison_words": []})
    (reason,) = {reject["reason"] for reject in site.rejects() if reject["source"].endswith("poison.txt")}
    again = retry(site, reason=reason)
    assert (again.tried, again.settled, again.exit_code) == (1, 1, 0)
    assert again.run is not None
    assert again.run.documents.seen == 1
    assert len(site.rejects()) == 2
    nothing = retry(site, reason="no_such_reason")
    assert (nothing.tried, nothing.run, nothing.exit_code) == (0, None, 0)


def test_the_command_reads_under_the_present_settings(site: Site) -> None:
    site.write("latin.txt", "Le moulin à eau est fermé; la clé est chez l'écluse. " * 3)
    site.write("big.jsonl", '{"id": 1, "text": "one"}\nnot json\n{"id": 3, "text": "three"}\n')
    assert site.ingest().exit_code == 3
    before = site.rows()
    site.write("big.jsonl", '{"id": 1, "text": "one"}\n{"id": 2, "text": "two"}\n{"id": 3, "text": "three"}\n')
    done = site.run("rejects", "retry", "--json")
    assert done.returncode == 0, done.stderr
    report = json_of(done)
    assert (report["settled"], report["remaining"]) == (1, [])
    assert report["run"]["documents"]["added"] == 1
    assert site.rows().keys() > before.keys()
    assert json_of(site.run("status", "--json"))["runs"][0]["command"] == "retry"


def test_files_that_are_gone_are_left_to_ingest(site: Site) -> None:
    spoiled(site)
    (site.corpus / "binary.txt").unlink()
    again = retry(site)
    assert (again.tried, again.gone, again.settled, again.exit_code) == (2, 1, 0, 3)
    assert len(site.rejects()) == 3


@pytest.mark.parametrize("lost", ["rejects.parquet"])
def test_rejects_are_found_again_when_their_list_was_deleted(site: Site, lost: str) -> None:
    spoiled(site)
    before = {(reject["source"], reject["reason"]) for reject in site.rejects()}
    (site.lake / "documents" / "rejects" / lost).unlink()
    assert site.rejects() == []
    again = retry(site)
    assert again.exit_code == 3
    assert {(reject["source"], reject["reason"]) for reject in again.remaining} == before
    assert len(site.rejects()) == 3
