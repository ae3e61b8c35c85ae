"""Which rows of a document's earlier versions must go."""

from pathlib import Path

from millrace.tasks.lake import ChunkParts
from millrace.tasks.records import MANIFEST_SCHEMA, Chunk, ManifestRow, chunk_id, chunk_table
from millrace.tasks.stages.row_diff import RowDiff


def chunk(text: str) -> Chunk:
    place = (0, len(text), 0, 1, None, None)
    return Chunk(chunk_id("a.md", text, 0), "a.md", text, *place, (), "A", "0" * 64, {})


def manifest_row(job: int, chunks: int, status: str = "live") -> ManifestRow:
    empty = {field.name: "" if str(field.type) == "string" else 0 for field in MANIFEST_SCHEMA}
    return empty | {"source": "a.md", "space": "space", "status": status, "job": job, "chunks": chunks}


def test_rows_of_a_version_that_could_not_be_cut_to_its_end_go_and_the_earlier_ones_stay(tmp_path: Path) -> None:
    """Parts of a long document are in the collection before it is known whether all of it can be cut."""
    parts = ChunkParts(tmp_path)
    parts.write(1, 0, chunk_table([chunk("old"), chunk("in both")]))
    begun = chunk_table([chunk("in both"), chunk("new")])
    versions = RowDiff(parts, MANIFEST_SCHEMA.empty_table().from_pylist([manifest_row(1, 2)]), {}, space="space")
    assert not versions.may_be_overwritten("a.md")
    versions.changed_positions(begun)
    assert versions.may_be_overwritten("a.md")
    assert versions.stale_and_current_ids(manifest_row(2, 2, "rejected")) == ({chunk("new").id}, set())


def test_rows_of_a_new_document_that_could_not_be_cut_to_its_end_all_go(tmp_path: Path) -> None:
    versions = RowDiff(ChunkParts(tmp_path), MANIFEST_SCHEMA.empty_table(), {}, space="space")
    versions.changed_positions(chunk_table([chunk("one"), chunk("two")]))
    assert versions.stale_and_current_ids(manifest_row(2, 0, "rejected")) == ({chunk("one").id, chunk("two").id}, set())
