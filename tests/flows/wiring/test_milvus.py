"""What is told of Milvus Lite: that it has grown too large, and what to do; and which index it has."""

import pytest

from millrace.flows.commands.rebuild import rebuild
from millrace.flows.commands.status import lake_status
from millrace.flows.commands.verify.repair import repair
from millrace.flows.commands.verify.verify import verify
from millrace.flows.monitoring.run_summary import RowCounts
from millrace.flows.wiring import milvus
from millrace.flows.wiring.components import load_model
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


def test_status_says_which_index_the_last_writer_left_to_milvus_lite(site: Site) -> None:
    few, many = "milvus.lite_flat_rows=4", "milvus.lite_flat_rows=2"
    for name in "abc":
        site.write(f"{name}.txt", f"The sluice {name} is opened at dawn.")

    def index_line(*settings: str) -> str:
        return next(line for line in lake_status(site.settings(*settings)).lines() if line.startswith("index: "))

    def top_hit() -> str:
        settings = site.settings(many)
        with milvus.open_collection(settings, load_model(settings), create=False) as collection:
            (row,) = (row for row in collection.fetch(next(collection.ids()), with_vectors=True) if "b" in row.content)
            assert row.vector is not None
            return collection.search(row.vector, top_k=1)[0].content

    first = site.ingest(few)
    assert (first.exit_code, first.rows) == (0, RowCounts(expected=3, counted=3, index="FLAT"))
    assert index_line(few) == "index: FLAT, every vector is compared; HNSW when a run ends with 4 rows or more"
    assert lake_status(site.settings("milvus.index=FLAT")).next_index == ""
    assert top_hit() == "The sluice b is opened at dawn."
    again = site.ingest(many)  # nothing has changed, and it is due
    assert (again.exit_code, again.rows) == (0, RowCounts(expected=3, counted=3, index="HNSW"))
    assert (index_line(few), top_hit()) == ("index: HNSW", "The sluice b is opened at dawn.")
    assert verify(site.settings(few), [site.corpus], as_json=True).exit_code == 0
    assert rebuild(site.settings(few), into="", drop=True, quiet=True).index == "FLAT"
    assert index_line(few).startswith("index: FLAT, ")
    assert rebuild(site.settings(many), into="beside", drop=False, quiet=True).index == "HNSW"
    assert index_line(few).startswith("index: FLAT, ")  # that of this collection
    assert repair(site.settings(many), [], as_json=True).exit_code == 0
    assert (index_line(few), top_hit()) == ("index: HNSW", "The sluice b is opened at dawn.")
