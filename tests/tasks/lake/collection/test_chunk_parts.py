from pathlib import Path

import pyarrow as pa
import pytest

from millrace.tasks.errors import LakeError
from millrace.tasks.lake import ChunkParts, PartName
from millrace.tasks.records import CHUNK_SCHEMA, MANIFEST_SCHEMA, Chunk, chunk_id, chunk_table


def chunks(source: str, *numbers: int) -> list[Chunk]:
    return [
        Chunk(chunk_id(source, f"{n}", 0), source, f"{source} {n}", 0, 1, n, 1, None, None, (), "t", "h", {})
        for n in numbers
    ]


def manifest(**ranges: tuple[int, int, int]) -> pa.Table:
    """Source to job, first and last part."""
    blank = {field.name: "" if pa.types.is_string(field.type) else 0 for field in MANIFEST_SCHEMA}
    rows = [
        blank | {"source": source, "job": job, "part_first": first, "part_last": last, "chunks": 1}
        for source, (job, first, last) in ranges.items()
    ]
    return pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)


@pytest.fixture
def parts(tmp_path: Path) -> ChunkParts:
    """Job 7 has documents a, b and c; b is in parts 0 and 1."""
    parts = ChunkParts(tmp_path)
    parts.write(7, 0, chunk_table([*chunks("a", 0, 1), *chunks("b", 0, 1)]))
    parts.write(7, 1, chunk_table([*chunks("b", 2), *chunks("c", 0)]))
    return parts


def test_a_document_is_read_in_order_across_its_parts(parts: ChunkParts) -> None:
    table = parts.read(7, 0, 1, columns=["content"], sources=["b"])
    assert table.to_pydict() == {"content": ["b 0", "b 1", "b 2"]}
    assert parts.read(7, 0, 0).schema == CHUNK_SCHEMA
    assert parts.read(7, 0, 1).num_rows == 6


def test_parts_that_no_document_is_in_dangle(parts: ChunkParts) -> None:
    assert parts.dangling(manifest(a=(7, 0, 0))) == [PartName(7, 1)]
    assert parts.dangling(manifest(b=(7, 0, 1))) == []
    assert parts.dangling(manifest(a=(6, 0, 0))) == [PartName(7, 0), PartName(7, 1)]


def test_the_beginning_of_a_document_that_was_never_finished_is_owned_by_nobody(parts: ChunkParts) -> None:
    """Part 0 does not dangle, since a is in it; b was cut short by a kill and still has rows there."""
    names = [PartName(7, 0), PartName(7, 1)]

    def unowned(manifest: pa.Table) -> list[list[str]]:
        found = list(parts.unowned_rows(names, manifest))
        assert [name for name, _ in found] == names
        return [rows["id"].to_pylist() for _, rows in found]

    b = [chunk.id for chunk in chunks("b", 0, 1)]
    assert unowned(manifest(z=(8, 0, 1), a=(7, 0, 0), b=(3, 0, 0), c=(7, 1, 1))) == [b, [chunks("b", 2)[0].id]]
    assert unowned(manifest(c=(7, 1, 1), a=(7, 0, 0), b=(7, 0, 1))) == [[], []]
    assert [len(ids) for ids in unowned(manifest())] == [4, 2]


def test_many_parts_are_laid_beside_the_manifest_each_to_its_own_job(tmp_path: Path) -> None:
    parts, live, expected = ChunkParts(tmp_path), {}, {}
    for job in range(5, 1_105):
        parts.write(job, 0, chunk_table([*chunks(f"whole {job}", 0), *chunks(f"cut short {job}", 0)]))
        live[f"whole {job}"] = (job, 0, 0)
        live[f"cut short {job}"] = (job - 1, 0, 0)  # an earlier version
        expected[PartName(job, 0)] = [f"cut short {job}"]
    found = parts.unowned_rows(parts.all(), manifest(**live))
    assert {name: rows["source"].to_pylist() for name, rows in found} == expected


def test_removed_parts_are_gone_and_removing_them_again_is_no_error(parts: ChunkParts) -> None:
    parts.remove([PartName(7, 0)])
    parts.remove([PartName(7, 0)])
    assert parts.all() == [PartName(7, 1)]


def test_a_missing_and_a_damaged_part_are_named_with_what_to_do(parts: ChunkParts) -> None:
    assert parts.problem(PartName(7, 0)) == ""
    path = Path(str(parts.path(PartName(7, 0))))
    path.write_bytes(path.read_bytes()[:-20])
    assert f"{path} is damaged" in parts.problem(PartName(7, 0))
    with pytest.raises(LakeError, match=r"part-000009-000\.parquet is missing.*verify --repair"):
        parts.read(9, 0, 0)


def test_any_altered_byte_of_a_part_is_found_or_harmless(parts: ChunkParts) -> None:
    path = Path(str(parts.path(PartName(7, 0))))
    whole, rows = path.read_bytes(), parts.read(7, 0, 0)
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        assert parts.problem(PartName(7, 0)) or parts.read(7, 0, 0).equals(rows), at


def test_other_files_in_the_folder_are_not_parts(parts: ChunkParts, tmp_path: Path) -> None:
    for name in (".part-000001-000.parquet.0a.tmp", "part-1-0.parquet", "notes.txt"):
        (tmp_path / name).write_text("x")
    assert parts.all() == [PartName(7, 0), PartName(7, 1)]
