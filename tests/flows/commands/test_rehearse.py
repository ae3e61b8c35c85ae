"""A run that is only played: its tokens and yuan are those of the plan, its end that of the limits."""

import pytest

from tests.flows.prose import english
from tests.flows.site import Site, json_of

PUBLISHED = tuple(
    f"limits.{name}=0"
    for name in ("requests_per_second", "tokens_per_second", "requests_per_minute", "tokens_per_minute")
)
"""What the catalogue says, in place of the limits of a site, which are none."""


def rehearse(site: Site, *arguments: str) -> dict[str, object]:
    return json_of(site.run("rehearse", *arguments, "--json"))


def test_tokens_and_yuan_are_those_of_the_run_and_nothing_is_sent_or_written(site: Site) -> None:
    site.overrides = PUBLISHED
    for number in range(6):
        site.write(f"{number}.md", f"# {number}\n\n" + english(60, seed=number))
    played = rehearse(site, str(site.corpus))
    assert site.simulator.books.requests == 0
    assert not site.lake.exists()
    report = site.ingest(*(f"limits.{name}=1e9" for name in ("requests_per_second", "tokens_per_second")))
    assert (played["tokens"], played["texts"]) == (report.tokens.billed, report.chunks.embedded)
    assert played["cost_cny"] == pytest.approx(report.cost_cny)


def test_a_hundred_thousand_chunks_end_when_the_limit_of_tokens_lets_them(site: Site) -> None:
    site.overrides = PUBLISHED
    played = rehearse(site, "--chunks", "20000", "--tokens", "400")
    at_the_limit_s = 20_000 * 401 / 20_000
    assert played["tokens"] == 20_000 * 401
    assert at_the_limit_s < float(str(played["seconds"])) < 1.1 * at_the_limit_s + 22.0
    waits = played["waits_s"]
    assert isinstance(waits, dict)
    assert max(waits, key=waits.__getitem__) == "tokens"
    assert played["met"] is None


@pytest.mark.parametrize(("within", "batch_share"), [("48h", 1.0), ("3h", 0.0)])
def test_a_deadline_before_the_window_of_batch_is_met_over_the_other_road(
    within: str, batch_share: float, site: Site
) -> None:
    """No job of this lake has shown how long it takes: each is taken to need its whole window."""
    site.overrides = PUBLISHED
    played = rehearse(site, "--chunks", "20000", "--within", within)
    assert played["met"] is True
    assert played["batch_tokens"] == batch_share * 20_000 * 401
    assert played["tokens"] == 20_000 * 401
    assert played["cost_cny"] == pytest.approx((1 - batch_share / 2) * 20_000 * 401 * 0.0005 / 1000)
    assert any("whole window" in str(one) for one in played["assumed"])  # type: ignore[attr-defined]


def test_the_cap_ends_it(site: Site) -> None:
    site.overrides = (*PUBLISHED, "budget.max_cny=0.5")
    done = site.run("rehearse", "--chunks", "20000")
    assert done.returncode == 4
    assert "could exceed the cap" in done.stderr


def test_nothing_to_play_is_wrong_use(site: Site) -> None:
    assert site.run("rehearse").returncode == 2
