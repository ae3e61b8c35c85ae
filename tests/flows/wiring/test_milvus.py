"""Milvus Lite that has grown too large is told of, with what to do; a server is not."""

import pytest

from millrace.flows.commands.status import lake_status
from millrace.flows.wiring import milvus
from tests.flows.site import Site


def test_milvus_lite_beyond_its_size_is_told_by_the_run_and_by_status(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write("a.txt", "The sluice is opened at dawn.")
    site.write("b.txt", "The sluice is closed at dusk.")
    first = site.ingest()
    assert (first.notes, lake_status(site.settings()).notes) == ([], ())
    monkeypatch.setattr(milvus, "LITE_ROWS", 1)
    again = site.ingest()
    assert again.exit_code == 0
    assert "Milvus Lite holds 2 rows" in again.notes[0]
    assert "`millrace rebuild`" in again.notes[0]
    status = lake_status(site.settings())
    assert status.notes == tuple(again.notes)
    assert any(again.notes[0] in line for line in status.lines())
    assert lake_status(site.settings("milvus.uri=http://milvus.example:19530")).notes == ()
