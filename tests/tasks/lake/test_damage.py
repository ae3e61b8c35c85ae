"""Damaged files: the message names the file and the remedy, nothing is made worse, the rest is usable."""

import asyncio
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks.errors import LakeError
from millrace.tasks.lake import VectorStore
from millrace.tasks.lake.vectors.part_file import PartDamaged, VectorPart, check_part
from millrace.tasks.lake.vectors.schema import Layout, vectors_in
from tests.tasks.lake.numbered import OpenStore, Texts


@pytest.fixture
def two_parts(open_store: OpenStore, texts: Texts) -> list[Path]:
    """Texts 0 to 999 in one part, 1,000 to 1,099 in another."""
    store = open_store()
    for numbers in (range(1_000), range(1_000, 1_100)):
        texts.fill(store, numbers)
        store.seal()
    parts = [Path(str(path)) for path in store.parts()]
    store.close()
    return parts


def alter(path: Path, at: int, count: int = 64) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + count] = bytes(b ^ 0xFF for b in data[at : at + count])
    path.write_bytes(data)


def start_of_vectors(path: Path, group: int) -> int:
    return int(pq.ParquetFile(path).metadata.row_group(group).column(1).data_page_offset) + 100


def test_an_altered_vector_is_never_read_and_its_neighbours_groups_are(
    open_store: OpenStore, texts: Texts, two_parts: list[Path]
) -> None:
    alter(two_parts[0], start_of_vectors(two_parts[0], 1))
    store = open_store()
    texts.assert_holds(store, [*range(256), *range(512, 1_100)])
    with pytest.raises(LakeError, match=rf"{two_parts[0].name} is damaged .*verify --repair"):
        store.read(texts.keys([300]))
    assert [damage.path for damage in store.damaged] == [two_parts[0]]


@pytest.mark.parametrize("length", [0, 1, 1_000, -1])
def test_a_truncated_part_is_reported_and_not_bought_again_in_silence(
    length: int, open_store: OpenStore, texts: Texts, two_parts: list[Path]
) -> None:
    part = two_parts[0]
    part.write_bytes(part.read_bytes()[:length])
    store = open_store()
    assert [damage.path for damage in store.damaged] == [part]
    assert store.missing(texts.keys(range(1_100))) == []
    texts.assert_holds(store, range(1_000, 1_100))
    with pytest.raises(LakeError, match=part.name):
        store.read(texts.keys([0]))


def test_check_finds_the_damaged_part_and_repair_keeps_what_can_be_read(
    open_store: OpenStore, texts: Texts, two_parts: list[Path]
) -> None:
    alter(two_parts[0], start_of_vectors(two_parts[0], 1))
    store = open_store()
    assert [damage.path for damage in store.check()] == [two_parts[0]]
    assert store.repair() == 1_000 - 256  # the list structure is hit, without which no vector of the group is found
    assert list(store.check()) == store.damaged == []
    assert two_parts[0].with_name(two_parts[0].name + ".damaged").exists()
    assert store.missing(texts.keys(range(1_100))) == list(range(256, 512))
    texts.fill(store, range(256, 512))
    texts.assert_holds(store, range(1_100))


def test_one_altered_byte_of_a_small_part_costs_the_rows_around_it_and_no_others(
    open_store: OpenStore, texts: Texts, tmp_path: Path
) -> None:
    store = open_store()
    texts.fill(store, range(130))
    store.close()
    folder = tmp_path / "vectors" / texts.space.name
    (part,) = folder.glob("part-*")
    whole = part.read_bytes()
    vectors = whole.index(texts.vectors(range(130)).tobytes())
    for number in (0, 7, 64, 129):
        for path in folder.glob("part-*"):
            path.unlink()
        part.write_bytes(whole)
        alter(part, vectors + number * 16 * 4 + 5, 1)
        with open_store() as store:
            lost = {number // 8 * 8 + row for row in range(8)} & set(range(130))
            assert store.repair() == 130 - len(lost)
            assert store.missing(texts.keys(range(130))) == sorted(lost)
            texts.assert_holds(store, sorted(set(range(130)) - lost))


def test_a_part_without_a_footer_is_set_aside_whole(open_store: OpenStore, texts: Texts, two_parts: list[Path]) -> None:
    two_parts[0].write_bytes(b"PAR1")
    store = open_store()
    assert store.repair() == 0
    assert store.missing(texts.keys(range(1_100))) == list(range(1_000))


def test_a_damaged_part_is_not_compacted_away(open_store: OpenStore, texts: Texts, two_parts: list[Path]) -> None:
    alter(two_parts[0], start_of_vectors(two_parts[0], 1))
    store = open_store()
    texts.fill(store, range(2_000, 2_010))
    assert store.compact(min_parts=2) == 2
    assert two_parts[0].exists()
    texts.assert_holds(store, [*range(256), *range(1_000, 1_100), *range(2_000, 2_010)])


@settings(max_examples=60)
@given(data=st.data())
def test_no_altered_part_gives_a_wrong_vector(
    data: st.DataObject, texts: Texts, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("altered")
    with VectorStore.open(root, texts.space) as store:
        texts.fill(store, range(20))
        store.seal()
        part = Path(str(next(iter(store.parts()))))
    whole = part.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    part.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
    with VectorStore.open(root, texts.space, read_only=True) as store:
        for number in range(20):
            try:
                vector = store.read(texts.keys([number]))
            except LakeError:
                continue
            assert (vector == texts.vectors([number])).all(), at


def test_no_altered_page_header_makes_other_vectors_of_the_same_data(
    open_store: OpenStore, texts: Texts, tmp_path: Path
) -> None:
    """Parquet's checksums leave the header out, and in it one byte, once in a million, named another encoding."""
    store = open_store()
    texts.fill(store, range(20))
    store.close()
    (part,) = (tmp_path / "vectors" / texts.space.name).glob("part-*")
    whole = part.read_bytes()
    keys = np.frombuffer(b"".join(texts.keys(range(20))), np.uint8).reshape(20, 32)
    end = whole.index(texts.vectors(range(20)).tobytes())
    came_through = 0
    for at in range(whole.index(keys.tobytes()) + keys.size, end):
        for other in range(1, 32):
            part.write_bytes(whole[:at] + bytes([whole[at] ^ other]) + whole[at + 1 :])
            try:
                with VectorPart(part, Layout(16)) as file:
                    read = vectors_in(file.group(0)["vector"].chunk(0))
            except PartDamaged:
                continue
            assert (read == texts.vectors(range(20))).all(), (at, other)
            came_through += 1
    assert came_through


def test_an_index_of_another_folder_state_follows_the_folder(
    open_store: OpenStore, texts: Texts, two_parts: list[Path]
) -> None:
    two_parts[0].unlink()
    store = open_store()
    assert store.missing(texts.keys(range(1_100))) == list(range(1_000))
    texts.assert_holds(store, range(1_000, 1_100))


def test_a_part_that_was_copied_in_is_taken_in(
    open_store: OpenStore, texts: Texts, two_parts: list[Path], tmp_path: Path
) -> None:
    other = VectorStore.open(tmp_path / "other", texts.space)
    asyncio.run(texts.append_all(other, range(5_000, 5_010)))
    other.seal()
    part = Path(str(next(iter(other.parts()))))
    part.rename(two_parts[0].with_name(part.name))
    other.close()
    texts.assert_holds(open_store(), [*range(1_100), *range(5_000, 5_010)])


def test_check_names_what_is_wrong_with_a_file_that_is_no_part(texts: Texts, tmp_path: Path) -> None:
    path = tmp_path / "part-00000001-00000000.parquet"
    path.write_bytes(b"hello")
    damage = check_part(path, Layout(16))
    assert damage is not None
    assert str(path) in damage.message
    assert "verify --repair" in damage.message
