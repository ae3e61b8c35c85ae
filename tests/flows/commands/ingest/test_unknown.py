"""`sources.unknown`: a file that no reader takes is counted, or a reject; what `sources.include` leaves out is neither."""

from tests.flows.site import Site


def test_a_file_that_no_reader_takes_is_counted_or_a_reject(site: Site) -> None:
    site.write("a.md", "the wheel")
    site.write("b.vsd", "x")
    counted = site.ingest()
    assert (counted.left_out.unsupported, site.rejects()) == ({".vsd": 1}, [])
    refused = site.ingest("sources.unknown=reject")
    assert (refused.left_out.unsupported, refused.rejects) == ({}, 1)
    [reject] = site.rejects()
    assert reject["reason"] == "unsupported_format"
    assert "documents.external" in reject["remedy"]
    chosen = site.ingest("sources.unknown=reject", "sources.include=*.md")
    assert (chosen.left_out.unsupported, site.rejects()) == ({".vsd": 1}, [])
