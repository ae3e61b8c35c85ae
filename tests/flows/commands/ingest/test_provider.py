"""The whole program against a provider that misbehaves, counts strictly, or is to cost only so much."""

import json

import pytest

from tests.flows.prose import english
from tests.flows.site import Site, json_of
from tests.simulator.faults import Damage, FaultRule
from tests.simulator.refusals import Reason

FAULTS = (
    *(Reason.INTERNAL_ERROR, Reason.MODEL_UNAVAILABLE, Reason.LIMIT_REQUESTS, Reason.INSUFFICIENT_QUOTA),
    *(Reason.HTML_502, Damage.RESET, Damage.HANG, Damage.TRUNCATED, Damage.MISSING_ITEM, Damage.DOUBLED_INDEX),
    *(Damage.WRONG_DIMENSION, Damage.NAN_VECTOR),
)
SMALL_CHUNKS = ("chunking.max_tokens=64", "embedding.timeout_s=5")  # longer than a busy machine takes to answer


def fill(site: Site, documents: int) -> None:
    for number in range(documents):
        site.write(f"{number}.md", f"# {number}\n\n" + english(60, seed=number))


def test_a_mixture_of_faults_on_a_tenth_of_the_answers_leaves_every_row_right(site: Site) -> None:
    site.overrides = SMALL_CHUNKS
    fill(site, 60)
    site.simulator.change({"faults": [FaultRule(fault=f, share=0.1 / len(FAULTS), seed=1) for f in FAULTS]})
    report = site.ingest()
    books = site.simulator.books
    rows = site.check(max_tokens=64)
    assert report.exit_code == 0
    assert books.faults.total() > 8
    assert len(rows) == report.chunks.total == report.chunks.embedded > 900
    assert books.texts_bought_again == 0
    assert books.texts_spoiled <= 10 * books.spoiled
    assert report.tokens.billed <= books.tokens_billed
    assert report.tokens.drift == 0.0


def test_poisoned_texts_become_rejects_with_the_providers_reason_and_cost_few_requests(site: Site) -> None:
    site.overrides = SMALL_CHUNKS
    fill(site, 60)
    site.simulator.change({"poison_share": 0.01})
    whole = json_of(site.run("plan", str(site.corpus), "--json"))
    report = site.ingest()
    rejects = site.rejects()
    assert report.exit_code == 3
    assert {reject["reason"] for reject in rejects} == {"content_inspection"}
    assert 3 <= len(rejects) == report.chunks.rejected <= 0.03 * report.chunks.total
    assert report.chunks.embedded == report.chunks.total - len(rejects)
    assert report.requests.sent <= whole["estimate"]["requests"] + 8 * len(rejects)
    assert site.simulator.books.texts_bought_again == 0


def test_every_run_leaves_its_bill_and_status_adds_them_up(site: Site) -> None:
    fill(site, 30)
    whole = json_of(site.run("plan", str(site.corpus), "--json"))["estimate"]
    half = site.run("ingest", str(site.corpus), "--max-cny", str(whole["cost_cny"] / 2), "--json")
    rest = site.run("ingest", str(site.corpus), "--json")
    assert (half.returncode, rest.returncode) == (4, 0)
    (billed,) = json_of(site.run("status", "--json"))["billed"]
    assert billed["model"] == "text-embedding-v4"
    assert billed["tokens_billed"] == whole["tokens"] == site.simulator.books.tokens_billed
    assert billed["requests"] == site.simulator.books.requests
    assert abs(billed["cost_cny"] - whole["cost_cny"]) < 1e-9
    assert "text-embedding-v4, all runs" in site.run("status").stdout
    assert len(list((site.lake / "bills").iterdir())) == 2


@pytest.mark.slow
def test_what_a_run_learned_of_the_limits_is_kept_for_the_next(site: Site) -> None:
    site.overrides = ("limits.tokens_per_second=20000", "limits.requests_per_second=30")
    fill(site, 40)
    site.simulator.change({"limits": {"tokens_per_second": 10_000, "second_window": "sliding"}})
    first = site.ingest()
    learned = next(iter(json_of_file(site).values()))
    for number in range(40):
        site.write(f"{number}.md", f"# {number}\n\n" + english(60, seed=1_000 + number))
    second = site.ingest()
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert 8_000 < learned["tokens_per_second"] < 16_000
    assert learned["whole_seconds_s"] >= 20
    assert first.requests.throttled > 0
    assert second.requests.throttled <= first.requests.throttled
    site.check()


def json_of_file(site: Site) -> dict[str, dict[str, float]]:
    entries: dict[str, dict[str, float]] = json.loads((site.lake / "limits.json").read_text())
    return entries
