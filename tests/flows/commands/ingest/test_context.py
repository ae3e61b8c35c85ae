"""`chunking.context`: what is embedded has its headings before it, content has not, and the setting is kept."""

from millrace.flows.commands.plan import make_plan
from millrace.flows.commands.verify.verify import verify
from tests.flows.prose import english
from tests.flows.site import Site
from tests.simulator.model.vectors import expected_vector

TEXT = "# Mill\n\n" + english(20, seed=1) + "\n\n## Gates\n\n" + english(12, seed=2)


def test_vectors_are_those_of_headings_and_text_and_contents_stay_verbatim(site: Site) -> None:
    path = site.write("handbook.md", TEXT)
    site.overrides = ("chunking.context=headings",)
    planned = make_plan(site.settings(), [site.corpus])
    report = site.ingest()
    assert planned.estimate is not None
    assert planned.estimate.tokens == report.tokens.billed
    assert 0 < planned.context_tokens < planned.tokens_read
    rows = list(site.rows().values())
    assert len(rows) > 1
    for row in rows:
        context = row.metadata["embedded_context"]
        assert context.startswith("Mill")
        assert TEXT[row.metadata["start"] : row.metadata["end"]] == row.content
        expected = expected_vector("text-embedding-v4", 1024, f"{context}\n\n{row.content}")
        assert abs(row.vector - expected).max() < 1e-6
    site.overrides = ()
    assert site.ingest().chunks.embedded == 0  # the collection goes on as it was made
    assert verify(site.settings(), [], as_json=True).agree
    path.write_text(TEXT.replace("## Gates", "## Sluices"))
    renamed = site.ingest()
    under = sum(row.metadata["heading_path"][-1:] == ["Gates"] for row in rows)
    assert renamed.chunks.embedded == under  # its own section, and no more


def test_another_context_is_refused_with_both_ways_on(site: Site) -> None:
    site.write("a.md", TEXT)
    site.ingest()
    site.overrides = ("chunking.context=headings",)
    refused = site.run("ingest", str(site.corpus))
    assert refused.returncode == 2
    assert "chunking.context=none" in refused.stderr
