"""The vector store among objects: parts in the bucket, journals and index on each machine's own disk."""

from pathlib import Path

import pytest

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake import Lake, ObjectPath, ObjectStore, VectorStore
from millrace.tasks.lake.storage.atomic import write_bytes_atomically
from millrace.tasks.records import CHUNK_SCHEMA
from tests.system.servers.object_fixtures import Bucket
from tests.tasks.lake.numbered import Texts


def store_on(bucket: Bucket, texts: Texts, machine: str = "one", *, read_only: bool = False) -> VectorStore:
    return VectorStore.open(bucket.seen_from(machine) / "vectors", texts.space, read_only=read_only)


def local_files(bucket: Bucket, ending: str) -> list[Path]:
    return sorted(bucket.local.rglob(f"*{ending}"))


def test_what_one_machine_bought_another_reads(bucket: Bucket, texts: Texts) -> None:
    with store_on(bucket, texts) as store:
        texts.fill(store, range(1_000))
        assert len(local_files(bucket, ".arrows")) == 1
    assert local_files(bucket, ".arrows") == []
    with store_on(bucket, texts, "two", read_only=True) as reader:
        texts.assert_holds(reader, range(1_000))
        assert reader.missing(texts.keys([999, 1_000])) == [1]
    with store_on(bucket, texts, "two") as writer:
        texts.fill(writer, range(1_000, 1_100))
        texts.assert_holds(writer, range(1_100))
    with store_on(bucket, texts) as store:
        texts.assert_holds(store, range(1_100))
        assert list(store.check()) == []


def test_small_parts_become_a_large_one_that_a_reader_finds(bucket: Bucket, texts: Texts) -> None:
    with store_on(bucket, texts) as store:
        for first in range(0, 300, 100):
            texts.fill(store, range(first, first + 100))
            store.seal()
        with store_on(bucket, texts, "two", read_only=True) as reader:
            texts.assert_holds(reader, range(50))
            assert store.compact(min_parts=2) == 3
            texts.assert_holds(reader, range(300))
        texts.assert_holds(store, range(300))
    assert len([key for key in bucket.objects() if "part-" in key]) == 1


def test_a_journal_becomes_a_part_on_the_machine_that_has_it(bucket: Bucket, texts: Texts) -> None:
    store = store_on(bucket, texts)
    texts.fill(store, range(100))
    with store_on(bucket, texts, read_only=True) as reader:
        texts.assert_holds(reader, range(100))
    with store_on(bucket, texts, "two", read_only=True) as reader:
        assert len(reader.missing(texts.keys(range(100)))) == 100
    store.close()
    with store_on(bucket, texts, "two", read_only=True) as reader:
        texts.assert_holds(reader, range(100))


def test_a_damaged_part_is_found_and_what_can_be_read_of_it_is_kept(bucket: Bucket, texts: Texts) -> None:
    with store_on(bucket, texts) as store:
        texts.fill(store, range(600))
        store.seal()
        (part,) = store.parts()
    assert isinstance(part, ObjectPath)
    data = bytearray(part.read_bytes())
    data[data.index(texts.vectors([300]).tobytes())] ^= 1
    write_bytes_atomically(bytes(data), part)
    with store_on(bucket, texts) as store:
        assert [damage.path for damage in store.check()] == [part]
        assert store.repair() == 600 - 8  # a checksum covers eight rows
        texts.assert_holds(store, [*range(296), *range(304, 600)])
    assert [key for key in bucket.objects() if key.endswith(".damaged")] == [
        f"vectors/{texts.space.name}/{part.name}.damaged"
    ]


def test_storage_that_is_gone_is_told_as_that_and_nothing_is_taken_for_damaged(bucket: Bucket, texts: Texts) -> None:
    with Lake.open(bucket.lake, "documents") as lake:
        lake.chunks.write(1, 0, CHUNK_SCHEMA.empty_table())
        name = lake.chunks.all()[0]
        with lake.vectors(texts.space) as store:
            texts.fill(store, range(300))
    with store_on(bucket, texts, read_only=True) as store:
        closed = ObjectStore(
            endpoint="http://127.0.0.1:9", region="us-east-1", virtual_hosting=False, local=bucket.local
        )
        bucket_files, store._space_folder.folder.store.files = store._space_folder.folder.store.files, closed.files  # type: ignore[union-attr]
        with pytest.raises(LakeUnreachable):
            store.read(texts.keys([0]))
        assert store.damaged == []
        store._space_folder.folder.store.files = bucket_files  # type: ignore[union-attr]
        texts.assert_holds(store, range(300))
    lake.chunks._folder.store.files = closed.files  # type: ignore[union-attr]
    with pytest.raises(LakeUnreachable):
        lake.chunks.problem(name)


def test_a_lake_of_objects_says_what_it_holds(bucket: Bucket, texts: Texts) -> None:
    with Lake.open(bucket.lake, "documents") as lake, lake.vectors(texts.space) as store:
        texts.fill(store, range(20))
    with Lake.open(bucket.seen_from("two"), "documents", read_only=True) as lake:
        (summary,) = lake.spaces()
        assert (summary.vectors, summary.parts, summary.damaged) == (20, 1, 0)
        assert lake.manifest.read().num_rows == 0
        with pytest.raises(LakeError, match="opened for reading"):
            lake.next_job()


def test_job_numbers_are_given_once_whichever_machine_asks(bucket: Bucket) -> None:
    with Lake.open(bucket.lake, "documents") as lake:
        assert lake.next_job(3) == 1
    with Lake.open(bucket.seen_from("two"), "documents") as lake:
        assert lake.next_job() == 4
