from __future__ import annotations

from tests.flows.site import Site


def test_a_run_whose_provider_reports_absurd_usage_says_that_our_own_count_stands(site: Site) -> None:
    site.write("a.md", "The sluice gate opens at dawn.")
    site.simulator.change({"faults": [{"fault": "huge_usage", "share": 1.0}]})
    summary = site.ingest()
    assert summary.chunks.embedded == 1
    assert summary.tokens.billed == summary.tokens.counted
    assert any("our own count stands" in note for note in summary.notes)
