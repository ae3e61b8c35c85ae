"""A space with sparse vectors keeps one beside each dense vector; a space without keeps the files it always had."""

import asyncio
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Lake, VectorStore
from millrace.tasks.lake.vectors import store as vector_store
from millrace.tasks.lake.vectors.part_file import VectorPart
from millrace.tasks.records import EmbeddingSpace
from tests.tasks.lake.numbered import OpenStore, RunChild, Texts

SPARSE_SPACE = EmbeddingSpace("local", "numbers", 16, sparse=True)


@pytest.fixture(scope="session")
def texts() -> Texts:
    return Texts(SPARSE_SPACE)


def test_each_text_gets_its_own_sparse_vector_from_journal_and_part(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    texts.fill(store, range(700))
    texts.assert_holds(store, [699, 0, 5, 5, 300])
    store.seal()
    texts.fill(store, range(700, 710))
    texts.assert_holds(store, range(710))


def test_a_text_without_any_entry_has_an_empty_one(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    asyncio.run(store.append(texts.keys([1, 2]), texts.vectors([1, 2]), [1, 1], [b"", b""]))
    assert store.read_sparse(texts.keys([2, 1])) == [b"", b""]
    store.seal()
    assert store.read_sparse(texts.keys([2, 1])) == [b"", b""]
    assert next(store.check(), None) is None


def test_parts_keep_it_as_bytes_that_any_parquet_reader_reads(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    texts.fill(store, range(3))
    store.seal()
    (part,) = store.parts()
    table = pq.read_table(part)
    assert table.schema.field("sparse") == pa.field("sparse", pa.binary(), nullable=False)
    assert table["sparse"].to_pylist() == texts.sparse(range(3))


def test_compaction_and_readers_carry_it_along(
    open_store: OpenStore, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_store, "SEAL_ROWS", 64)
    store = open_store()
    reader = open_store(read_only=True)
    for first in range(0, 1_000, 100):
        texts.fill(store, range(first, first + 100))
    texts.assert_holds(store, range(1_000))
    assert store.compact(min_parts=2) > 2
    texts.assert_holds(store, range(1_000))
    texts.assert_holds(reader, range(1_000))
    store.close()
    texts.assert_holds(open_store(), range(1_000))


def test_only_the_sparse_column_is_read_for_it(
    open_store: OpenStore, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    texts.fill(store, range(600))
    store.seal()
    read: list[list[str] | None] = []
    group = VectorPart.group

    def watched(file: VectorPart, number: int, columns: list[str] | None = None) -> pa.Table:
        read.append(columns)
        return group(file, number, columns)

    monkeypatch.setattr(VectorPart, "group", watched)
    assert store.read_sparse(texts.keys(range(600))) == texts.sparse(range(600))
    assert read == [["text_key", "sparse"]] * 3


def test_it_is_required_where_the_space_has_it_and_refused_elsewhere(
    open_store: OpenStore, texts: Texts, tmp_path: Path
) -> None:
    store = open_store()
    keys, values = texts.keys([1, 2]), texts.vectors([1, 2])
    for wrong, message in (
        (None, "expected 2 sparse vectors, got none"),
        ([b""], "expected 2 sparse vectors, got 1"),
        ([b"", b"1234567"], "entries of 8 bytes"),
    ):
        with pytest.raises(ValueError, match=message):
            asyncio.run(store.append(keys, values, [1, 1], wrong))
    assert store.missing(keys) == [0, 1]
    with VectorStore.open(tmp_path / "dense", EmbeddingSpace("local", "numbers", 16)) as dense:
        with pytest.raises(ValueError, match="a space that has none"):
            asyncio.run(dense.append(keys, values, [1, 1], [b"", b""]))
        with pytest.raises(ValueError, match="has no sparse vectors"):
            dense.read_sparse(keys)


def test_what_was_never_bought_is_named(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    texts.fill(store, [1])
    with pytest.raises(LakeError, match=texts.key(2).hex()):
        store.read_sparse(texts.keys([1, 2]))


def test_an_altered_sparse_vector_is_never_read_and_the_rest_is_saved(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    texts.fill(store, range(600))
    store.seal()
    (part,) = (Path(str(path)) for path in store.parts())
    store.close()
    at = part.read_bytes().index(texts.sparse([300])[0])
    data = bytearray(part.read_bytes())
    data[at] ^= 1
    part.write_bytes(data)
    store = open_store()
    with pytest.raises(LakeError, match=f"{part.name} is damaged"):
        store.read_sparse(texts.keys([300]))
    assert [damage.path for damage in store.check()] == [part]
    assert store.repair() == 600 - 8
    whole = [*range(296), *range(304, 600)]
    texts.assert_holds(store, whole)


def test_nothing_acknowledged_is_lost_when_its_writer_is_killed(
    run_child: RunChild, texts: Texts, tmp_path: Path
) -> None:
    steps = ["append: journalled", "seal: renamed", "compact: indexed"]
    acknowledged: list[int] = []
    for attempt, step in enumerate(steps):
        ended = run_child("append-sparse", tmp_path, attempt * 10_000, 2_000, step)
        assert ended.killed, ended.error
        acknowledged += ended.acknowledged
    ended = run_child("append-sparse", tmp_path, 90_000, 90_000, "", kill_after=25)
    assert ended.killed, ended.error
    with VectorStore.open(tmp_path, texts.space) as store:
        texts.assert_holds(store, acknowledged + ended.acknowledged)
        assert store.damaged == []


def test_a_summary_counts_them_and_a_space_says_what_it_is(tmp_path: Path, texts: Texts) -> None:
    with Lake.open(tmp_path, "docs") as lake:
        with lake.vectors(texts.space) as store:
            texts.fill(store, range(100))
            store.seal()
            texts.fill(store, range(100, 130))
            (summary,) = lake.spaces()
            assert (summary.space, summary.vectors, summary.parts, summary.damaged) == (texts.space, 130, 1, 0)
        assert lake.space_named(texts.space.name) == texts.space
        folder = tmp_path / "vectors" / texts.space.name
        for content in ("", "[1]", '{"endpoint": "local"}', '{"endpoint": 1, "model": "m", "dimensions": 2}'):
            (folder / "space.json").write_text(content)
            assert lake.space_named(texts.space.name) is None
        other = json.dumps({"endpoint": "local", "model": "numbers", "dimensions": 8})
        (folder / "space.json").write_text(other)
        for name in (texts.space.name, "", "nowhere"):
            assert lake.space_named(name) is None


@pytest.fixture
def written_before(tmp_path: Path) -> Path:
    """A store as it was written before there were sparse vectors: texts 0 to 299 in a part, 300 to 309 in a journal."""
    dense = Texts(EmbeddingSpace("local", "numbers", 16))
    folder = tmp_path / "vectors" / "numbers-16-cc4be274745dbda6"
    folder.mkdir(parents=True)
    space = {"endpoint": "local", "model": "numbers", "dimensions": 16, "text_type": "", "instruct": ""}
    (folder / "space.json").write_text(json.dumps(space, indent=1))
    item = pa.field("item", pa.float32(), nullable=False)
    schema = pa.schema(
        [
            pa.field("text_key", pa.binary(32), nullable=False),
            pa.field("vector", pa.list_(item, 16), nullable=False),
            pa.field("tokens", pa.int32(), nullable=False),
        ]
    )

    def batch(numbers: Sequence[int]) -> pa.RecordBatch:
        values = pa.FixedSizeListArray.from_arrays(
            pa.array(dense.vectors(numbers).reshape(-1)), type=schema.field(1).type
        )
        columns = [pa.array(dense.keys(numbers), pa.binary(32)), values, pa.array([1] * len(numbers), pa.int32())]
        return pa.record_batch(columns, schema=schema)

    part = pa.Table.from_batches([batch(range(300))]).replace_schema_metadata({"millrace.replaces": "{}"})
    pq.write_table(part, folder / "part-00000001-0a1b2c3d.parquet", compression="none", use_dictionary=False,
                   write_statistics=False, write_page_checksum=True, row_group_size=256)  # fmt: skip
    with pa.ipc.new_stream(folder / "journal-00000002-4e5f6071.arrows", schema) as journal:
        some = batch(range(300, 310))
        crc = 0
        for part_of_it in (b"".join(dense.keys(range(300, 310))), dense.vectors(range(300, 310)).tobytes(),
                           np.ones(10, np.int32).tobytes()):  # fmt: skip
            crc = zlib.crc32(part_of_it, crc)
        journal.write_batch(some, custom_metadata={"crc32": str(crc)})
    return tmp_path / "vectors"


def test_a_store_written_before_there_were_sparse_vectors_is_read_and_carried_on(written_before: Path) -> None:
    dense = Texts(EmbeddingSpace("local", "numbers", 16))
    assert (written_before / dense.space.name).is_dir()
    with VectorStore.open(written_before, dense.space, read_only=True) as reader:
        dense.assert_holds(reader, range(310))
    with VectorStore.open(written_before, dense.space) as store:
        assert (store.recovered.vectors, store.recovered.dropped_batches, store.damaged) == (10, 0, [])
        dense.fill(store, range(310, 320))
        store.compact(min_parts=2)
        dense.assert_holds(store, range(320))
        assert list(store.check()) == []


def test_a_space_without_sparse_vectors_describes_itself_as_before(tmp_path: Path) -> None:
    space = EmbeddingSpace("local", "numbers", 16)
    VectorStore.open(tmp_path / "vectors", space).close()
    described = json.loads((tmp_path / "vectors" / space.name / "space.json").read_text())
    assert described.keys() == {"endpoint", "model", "dimensions", "text_type", "instruct"}
