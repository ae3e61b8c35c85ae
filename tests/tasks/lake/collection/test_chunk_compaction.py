"""Chunk parts of which little is alive are brought together; nobody misses a row meanwhile, whoever is killed."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.tasks.lake import Lake, PartName
from millrace.tasks.lake.collection.chunk_compaction import documents_of, light_parts
from millrace.tasks.lake.collection.chunk_parts import row_ranges
from millrace.tasks.records import MANIFEST_SCHEMA
from tests.tasks.lake.collection.test_chunk_parts import manifest
from tests.tasks.lake.edited import EditedLake, contents, expected
from tests.tasks.lake.numbered import RunChild

STEPS = [
    "jobs: claimed",
    "jobs: settled",
    "chunks: written",
    "chunks: renamed",
    "manifest: written",
    "manifest: renamed",
    "manifest: delta deleted",
    "chunks: removed",
]


def rows_on_disk(lake: Lake) -> int:
    return sum(pq.read_metadata(lake.chunks.path(part)).num_rows for part in lake.chunks.all())


def test_parts_with_few_live_rows_are_told_by_the_manifest_alone() -> None:
    documents = manifest(
        a=(3, 0, 0), b=(3, 0, 0), c=(3, 1, 1), long=(4, 0, 2), d=(4, 2, 2), e=(2, 5, 5), gone=(1, 0, 0)
    )
    counts = {"a": 4, "b": 4, "c": 5, "long": 21, "d": 1, "e": 9, "gone": 0}
    at, field = MANIFEST_SCHEMA.get_field_index("chunks"), MANIFEST_SCHEMA.field("chunks")
    documents = documents.set_column(
        at, field, pa.array([counts[s] for s in documents["source"].to_pylist()], field.type)
    )
    ranges = row_ranges([documents.slice(0, 4), documents.slice(4)])
    light = light_parts(ranges, part_rows=20)
    assert light == [PartName(2, 5), PartName(3, 0), PartName(3, 1)]
    found = documents_of(light, [documents.slice(0, 1), documents.slice(1)])
    assert [part.name for part in found] == light
    assert [part.documents["source"].to_pylist() for part in found] == [["e"], ["a", "b"], ["c"]]
    assert light_parts(row_ranges([]), part_rows=20) == []


def test_dead_rows_go_and_every_document_keeps_its_rows(tmp_path: Path) -> None:
    chance = random.Random(5)
    with Lake.open(tmp_path, "docs") as lake:
        edited = EditedLake(lake, 100, lambda n: n % 13 + 1)
        edited.run(range(300))
        for run in range(30):
            edited.run(chance.sample(range(300), 30))
            if run % 10 == 9:
                assert contents(lake, lake.manifest.read()) == expected(edited.versions, edited.count)
            assert lake.chunks.dangling(lake.manifest.read()) == []
        live = sum(edited.count(n) for n in range(300))
        assert live <= rows_on_disk(lake) < 2 * live + 8 * 100
        assert len(light_parts(lake.manifest.read(), part_rows=100)) < 8
        assert len(lake.chunks.all()) < 2 * live / 50 + 8


def test_few_light_parts_are_left_for_a_later_run(tmp_path: Path) -> None:
    with Lake.open(tmp_path, "docs") as lake:
        edited = EditedLake(lake, 100, lambda _: 5)
        for number in range(7):
            edited.run([number])
        assert len(lake.chunks.all()) == 7
        edited.run([7])
        assert len(lake.chunks.all()) == 1
        assert lake.compact_chunks(part_rows=100) == 0


def test_a_reader_with_a_manifest_of_before_still_finds_every_document(tmp_path: Path) -> None:
    with Lake.open(tmp_path, "docs") as lake, Lake.open(tmp_path, "docs", read_only=True) as reader:
        edited = EditedLake(lake, 100, lambda _: 5)
        edited.run(range(100))
        for number in range(7):
            edited.run([number])
        before = reader.manifest.read()
        held = contents(reader, before)
        edited.run([99])
        edited.run([100], compact=False)
        assert len(lake.chunks.all()) < 10
        assert contents(reader, before) == held
        some = before.filter(pa.array([row["source"] in {"3", "4"} for row in before.to_pylist()])).to_pylist()
        both = reader.chunks.read(some[0]["job"], 0, 0, sources=["3", "4"])
        assert sorted(set(both["source"].to_pylist())) == ["3", "4"]


def test_a_damaged_part_is_left_where_it_is(tmp_path: Path) -> None:
    with Lake.open(tmp_path, "docs") as lake:
        edited = EditedLake(lake, 100, lambda _: 5)
        for number in range(9):
            edited.run([number], compact=False)
        damaged, short = lake.chunks.all()[3], lake.chunks.all()[5]
        Path(str(lake.chunks.path(damaged))).write_bytes(b"PAR1")
        lake.chunks.write(*short, lake.chunks.read(*short, short.number).slice(0, 4))
        edited.settle()
        assert len(lake.chunks.all()) == 3
        assert {damaged, short} < set(lake.chunks.all())
        assert "is damaged" in lake.chunks.problem(damaged)


@pytest.mark.parametrize("step", STEPS)
def test_a_compaction_killed_after_any_step_loses_no_row_and_leaves_none_in_doubt(
    step: str, run_child: RunChild, tmp_path: Path
) -> None:
    ended = run_child("chunks", tmp_path, step)
    assert ended.killed, ended.error
    wanted = expected(dict.fromkeys(ended.acknowledged, 1), lambda _: 5)
    assert len(wanted) == 12
    with Lake.open(tmp_path, "docs", read_only=True) as reader:
        assert contents(reader, reader.manifest.read()) == wanted
        assert all(part.job < reader.first_uncommitted_job() for part in reader.chunks.all())
    with Lake.open(tmp_path, "docs") as lake:
        EditedLake(lake, 100, lambda _: 5).settle()
        assert contents(lake, lake.manifest.read()) == wanted
        assert len(lake.chunks.all()) == 1
        assert rows_on_disk(lake) == 60
