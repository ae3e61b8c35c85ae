import asyncio
import errno
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from millrace.tasks.errors import LakeError, LeaseHeld
from millrace.tasks.lake import VectorStore
from millrace.tasks.lake.vectors import compaction, journal
from millrace.tasks.lake.vectors import store as vector_store
from millrace.tasks.lake.vectors.journal import JournalFile, JournalReader
from tests.tasks.lake.numbered import OpenStore, Texts


def test_what_was_appended_is_read_back_in_the_order_asked(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    texts.fill(store, range(100))
    asked = [99, 0, 50, 50, 7]
    np.testing.assert_array_equal(store.read(texts.keys(asked)), texts.vectors(asked))


def test_missing_gives_the_positions_of_keys_that_nobody_bought(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    texts.fill(store, range(20))
    assert store.missing(texts.keys([5, 100, 19, 101, 100])) == [1, 3, 4]
    store.seal()
    assert store.missing(texts.keys([5, 100, 19, 101, 100])) == [1, 3, 4]


def test_keys_may_be_an_array_and_may_end_in_zeros(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    key = b"\x07" * 31 + b"\x00"
    asyncio.run(store.append([key], texts.vectors([1]), [1]))
    array = np.frombuffer(key + texts.key(9), np.uint8).reshape(2, 32)
    assert store.missing(array) == [1]
    np.testing.assert_array_equal(store.read(array[:1]), texts.vectors([1]))


def test_the_last_vectors_are_not_read_back_from_the_journal(
    open_store: OpenStore, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    texts.fill(store, range(100))
    monkeypatch.setattr(JournalReader, "read", lambda *_: pytest.fail("read back"))
    texts.assert_holds(store, range(100))
    store.seal()
    texts.assert_holds(store, range(100))


def test_more_than_is_kept_of_what_is_journalled_is_no_longer_in_memory(
    open_store: OpenStore, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_KEPT_BYTES", 0)
    store = open_store()
    embedded = texts.vectors(range(10))
    still_there = weakref.ref(embedded)
    asyncio.run(store.append(texts.keys(range(10)), embedded, [1] * 10))
    del embedded
    gc.collect()
    assert still_there() is None
    texts.assert_holds(store, range(10))


def test_a_journal_that_is_altered_under_the_store_is_named_and_its_vectors_are_not_used(
    open_store: OpenStore, texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_KEPT_BYTES", 0)
    store = open_store()
    texts.fill(store, range(3))
    path = next((tmp_path / "vectors" / texts.space.name).glob("journal-*"))
    at = path.read_bytes().index(texts.vectors([1]).tobytes())
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(8))
    message = rf"{path.name} does not hold at byte \d+ what was written there"
    with pytest.raises(LakeError, match=message):
        store.read(texts.keys([1]))
    with pytest.raises(LakeError, match=message):  # nor does it become a part
        store.close()
    opened = open_store()
    assert (opened.missing(texts.keys(range(3))), opened.recovered.dropped_batches) == ([0, 1, 2], 1)


def test_sealing_changes_nothing_for_a_reader(
    open_store: OpenStore, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_store, "SEAL_ROWS", 64)
    store = open_store()
    for first in range(0, 1_000, 100):
        texts.fill(store, range(first, first + 100))
    texts.assert_holds(store, range(1_000))
    store.seal()
    assert sum(store.parts().values()) == 1_000
    assert len(store.parts()) > 3
    texts.assert_holds(store, range(1_000))


def test_a_closed_store_is_found_again_as_parts_alone(open_store: OpenStore, texts: Texts, tmp_path: Path) -> None:
    first = open_store()
    texts.fill(first, range(30))
    first.close()
    folder = tmp_path / "vectors" / texts.space.name
    assert {path.suffix for path in folder.iterdir()} == {".json", ".parquet", ""}
    texts.assert_holds(open_store(), range(30))


def test_a_part_is_an_ordinary_parquet_file_in_order_of_purchase(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    for n in range(300):
        texts.fill(store, [n])
    store.seal()
    table = pq.read_table(next(iter(store.parts())))
    assert table.column_names == ["text_key", "vector", "tokens"]
    assert table["text_key"].to_pylist() == texts.keys(range(300))
    assert table["vector"].to_pylist()[7] == texts.vectors([7])[0].tolist()


def test_another_space_is_another_store(open_store: OpenStore, texts: Texts, tmp_path: Path) -> None:
    texts.fill(open_store(), range(10))
    other = type(texts.space)("local", "numbers", 16, text_type="query")
    with VectorStore.open(tmp_path / "vectors", other) as store:
        assert store.missing(texts.keys(range(10))) == list(range(10))


def test_a_read_of_a_text_that_was_never_bought_names_it(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    texts.fill(store, [1])
    with pytest.raises(LakeError, match=texts.key(2).hex()):
        store.read(texts.keys([1, 2]))


def test_vectors_of_another_shape_are_refused_before_anything_is_written(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    for wrong in (texts.vectors([1])[:, :8], texts.vectors([1, 2]), np.ones((1, 16), np.float16)):
        with pytest.raises(ValueError, match="expected 1 float32 vectors of 16 dimensions"):
            asyncio.run(store.append(texts.keys([1]), wrong, [1]))  # type: ignore[arg-type]
    assert store.missing(texts.keys([1])) == [0]


def test_appends_that_arrive_together_share_a_flush(open_store: OpenStore, texts: Texts) -> None:
    steps: list[str] = []
    store = open_store(checkpoint=steps.append)
    texts.fill(store, range(2_000))
    assert 1 <= steps.count("append: journalled") < 100


def test_a_key_is_not_known_before_it_is_on_disk(
    open_store: OpenStore, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    known: list[bool] = []
    sync = JournalFile.sync

    def watched(journal: JournalFile) -> None:
        known.append(store.missing(texts.keys([1])) == [])
        sync(journal)

    monkeypatch.setattr(JournalFile, "sync", watched)
    texts.fill(store, [1])
    assert known == [False]
    assert store.missing(texts.keys([1])) == []


def test_a_failed_flush_fails_what_was_waiting_and_what_comes_after(
    open_store: OpenStore, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed fsync the kernel may report success for pages that it has dropped."""
    store = open_store()
    texts.fill(store, [1])

    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("millrace.tasks.lake.vectors.journal.os.fsync", failing)
        with pytest.raises(LakeError, match=r"Writing the journal .* failed: Input/output error"):
            texts.fill(store, [2])
    with pytest.raises(LakeError, match="Input/output error"):
        texts.fill(store, [3])
    assert store.missing(texts.keys([1, 2, 3])) == [1, 2]
    store.close()
    texts.assert_holds(open_store(), [1])


def test_a_cancelled_append_is_kept_all_the_same(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()

    async def cancel_at_once() -> None:
        task = asyncio.create_task(texts.append_all(store, [1, 2, 3]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_at_once())
    store.seal()
    texts.assert_holds(store, [1, 2, 3])


def test_the_same_text_bought_twice_wastes_a_row_and_nothing_else(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    texts.fill(store, [1, 2])
    store.seal()
    texts.fill(store, [2, 3])
    store.compact(min_parts=2)
    assert sum(store.parts().values()) == 4
    texts.assert_holds(store, [1, 2, 3])


def test_compaction_merges_small_parts_in_order_and_leaves_few_for_later(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    for first in range(0, 70, 10):
        texts.fill(store, range(first, first + 10))
        store.seal()
    assert store.compact() == 0
    assert store.compact(min_parts=7) == 7
    assert list(store.parts().values()) == [70]
    assert np.concatenate(list(store.keys())).tobytes() == b"".join(texts.keys(range(70)))
    texts.assert_holds(store, range(70))


def test_readers_find_everything_acknowledged_while_parts_are_made_and_merged(
    open_store: OpenStore, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_store, "SEAL_ROWS", 50)
    monkeypatch.setattr(compaction, "_MANY", 4)
    monkeypatch.setattr(compaction, "MAX_ROWS", 400)
    monkeypatch.setattr(compaction, "_SMALL", 200)
    store = open_store()
    reader = open_store(read_only=True)
    acknowledged = 0
    done = threading.Event()

    def read() -> int:
        rounds = 0
        while not done.is_set():
            known = acknowledged
            texts.assert_holds(store, range(known))
            rounds += 1
        return rounds

    with ThreadPoolExecutor(2) as threads:
        rounds = [threads.submit(read) for _ in range(2)]
        try:
            for first in range(0, 3_000, 60):
                texts.fill(store, range(first, first + 60))
                acknowledged = first + 60
        finally:
            done.set()
        assert all(one.result() > 0 for one in rounds)
    assert max(store.parts().values()) > 200
    store.seal()
    texts.assert_holds(reader, range(3_000))


def test_what_a_killed_run_had_journalled_is_told(open_store: OpenStore, texts: Texts, tmp_path: Path) -> None:
    store = open_store()
    texts.fill(store, range(25))
    folder = tmp_path / "vectors" / texts.space.name
    path = next(folder.glob("journal-*"))
    left = path.read_bytes()
    store.close()
    next(folder.glob("part-*")).unlink()
    path.write_bytes(left + b"torn")
    again = open_store()
    assert (again.recovered.vectors, again.recovered.dropped_bytes) == (25, 4)
    assert list(folder.glob("journal-*")) == []
    texts.assert_holds(again, range(25))


def test_a_second_writer_is_refused_and_a_reader_is_not(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    texts.fill(store, range(10))
    with pytest.raises(LeaseHeld, match="is being written by process"):
        open_store()
    reader = open_store(read_only=True)
    texts.assert_holds(reader, range(10))
    with pytest.raises(LakeError, match="opened for reading"):
        texts.fill(reader, [11])


def test_a_reader_follows_the_writers_seals_and_compactions(open_store: OpenStore, texts: Texts) -> None:
    store = open_store()
    texts.fill(store, range(10))
    reader = open_store(read_only=True)
    for first in range(10, 50, 10):
        texts.fill(store, range(first, first + 10))
        store.seal()
    texts.assert_holds(reader, range(50))
    store.compact(min_parts=2)
    texts.assert_holds(reader, range(50))


def test_reading_a_store_that_is_not_there_makes_nothing(open_store: OpenStore, texts: Texts, tmp_path: Path) -> None:
    assert open_store(read_only=True).missing(texts.keys([1])) == [0]
    assert list(tmp_path.iterdir()) == []


def test_journal_and_index_can_be_on_another_disk(open_store: OpenStore, texts: Texts, tmp_path: Path) -> None:
    local = tmp_path / "local"
    store = open_store(journal_dir=local)
    texts.fill(store, range(10))
    store.seal()
    texts.fill(store, range(10, 20))
    remote = {path.name.partition("-")[0] for path in (tmp_path / "vectors" / texts.space.name).iterdir()}
    assert remote == {"space.json", "part", "lease"}
    assert sorted(path.name.partition("-")[0] for path in local.rglob("*.*")) == ["journal", "keys"]
    texts.assert_holds(store, range(20))


def test_two_lakes_keep_their_journals_apart_on_a_shared_disk(texts: Texts, tmp_path: Path) -> None:
    with VectorStore.open(tmp_path / "a", texts.space, journal_dir=tmp_path / "local") as one:
        texts.fill(one, [1])
        with VectorStore.open(tmp_path / "b", texts.space, journal_dir=tmp_path / "local") as other:
            assert other.missing(texts.keys([1])) == [0]


def test_a_folder_that_was_given_another_spaces_name_is_refused(
    open_store: OpenStore, texts: Texts, tmp_path: Path
) -> None:
    open_store().close()
    other = type(texts.space)("local", "numbers", 16, instruct="x")
    (tmp_path / "vectors" / texts.space.name).rename(tmp_path / "vectors" / other.name)
    with pytest.raises(LakeError, match="was renamed or edited"):
        VectorStore.open(tmp_path / "vectors", other)
