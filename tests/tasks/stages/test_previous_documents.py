"""Finding documents of the manifest by source, and their rows by part."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from millrace.tasks.lake import ChunkParts
from millrace.tasks.records import MANIFEST_SCHEMA, Chunk, ManifestRow, chunk_id, chunk_table
from millrace.tasks.stages.row_diff import PreviousDocuments, ids_of

DOCUMENTS, DOCUMENTS_A_PART, CHUNKS = 60, 20, 2


class CountedParts(ChunkParts):
    """Chunk parts, and how often each range of them was read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.read_places: Counter[tuple[int, int, int]] = Counter()

    def read(
        self,
        job: int,
        first: int,
        last: int,
        *,
        columns: Sequence[str] | None = None,
        sources: Iterable[str] | None = None,
    ) -> pa.Table:
        self.read_places[job, first, last] += 1
        return super().read(job, first, last, columns=columns, sources=sources)


@pytest.fixture
def parts(tmp_path: Path) -> CountedParts:
    parts = CountedParts(tmp_path)
    for number in range(DOCUMENTS // DOCUMENTS_A_PART):
        names = [row["source"] for row in ROWS if row["part_first"] == number]
        parts.write(1, number, chunk_table([chunk(name, at) for name in names for at in range(CHUNKS)]))
    return parts


def chunk(source: str, at: int) -> Chunk:
    text = f"passage {at}"
    return Chunk(chunk_id(source, text, 0), source, text, 0, len(text), at, 2, None, None, (), "A", "0" * 64, {})


def manifest_row(number: int) -> ManifestRow:
    row: ManifestRow = {field.name: "" if str(field.type) == "string" else 0 for field in MANIFEST_SCHEMA}
    part = number // DOCUMENTS_A_PART
    return row | {"source": f"r.jsonl#{number}", "job": 1, "part_first": part, "part_last": part, "chunks": CHUNKS}


ROWS = [manifest_row(number) for number in range(DOCUMENTS)]
MANIFEST = pa.concat_tables(pa.Table.from_pylist(ROWS[i : i + 7], schema=MANIFEST_SCHEMA) for i in range(0, 60, 7))


def test_each_document_is_found_with_its_rows_and_others_are_not(parts: CountedParts) -> None:
    earlier = PreviousDocuments(parts, MANIFEST)
    for row in ROWS[::-7]:
        assert earlier.row(row["source"]) == row
        assert set(earlier.row_hashes(row["source"])) == {chunk(row["source"], at).id for at in range(CHUNKS)}
    assert earlier.row("r.jsonl#60") is None
    assert earlier.row_hashes("r.jsonl#60") == {}


def test_documents_of_one_part_are_read_together(parts: CountedParts) -> None:
    """A million records of one file took a million readings of chunk parts when they changed or were removed."""
    earlier = PreviousDocuments(parts, MANIFEST)
    earlier.fetch([row["source"] for row in ROWS[10:50:3]])
    for row in ROWS[10:50:3]:
        assert len(earlier.row_hashes(row["source"])) == CHUNKS
    assert parts.read_places == {(1, 0, 0): 1, (1, 1, 1): 1, (1, 2, 2): 1}
    parts.read_places.clear()
    assert set().union(*ids_of(parts, MANIFEST)) == {chunk(r["source"], at).id for r in ROWS for at in range(CHUNKS)}
    assert parts.read_places == {(1, 0, 0): 1, (1, 1, 1): 1, (1, 2, 2): 1}


def test_what_was_not_finished_is_left(parts: CountedParts) -> None:
    earlier = PreviousDocuments(parts, MANIFEST)
    earlier.finish([row["source"] for row in ROWS if row is not ROWS[17]] + ["somebody else"])
    assert earlier.unfinished().to_pylist() == [ROWS[17]]


def test_nothing_is_found_in_an_empty_manifest(parts: CountedParts) -> None:
    earlier = PreviousDocuments(parts, MANIFEST_SCHEMA.empty_table())
    earlier.fetch(["r.jsonl#1"])
    earlier.finish(["r.jsonl#1"])
    assert earlier.row("r.jsonl#1") is None
    assert earlier.unfinished().num_rows == 0
