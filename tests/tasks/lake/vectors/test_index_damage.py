"""Whatever happens to the key index: no key is lost, nothing is embedded again, and no error but one with a remedy."""

import random
import shutil
from pathlib import Path

import pytest

from millrace.tasks.errors import LakeUnreachable
from millrace.tasks.lake import VectorStore
from millrace.tasks.lake.vectors.key_file import IndexedPart, KeyFile, KeyFileDamaged
from millrace.tasks.lake.vectors.key_index import KeyIndex
from tests.tasks.lake.numbered import OpenStore, Texts


@pytest.fixture
def folder(open_store: OpenStore, texts: Texts, tmp_path: Path) -> Path:
    """A store of 750 texts in four parts and as many key files, or fewer, closed."""
    store = open_store()
    for first, count in ((0, 400), (400, 200), (600, 100), (700, 50)):
        texts.fill(store, range(first, first + count))
        store.seal()
    store.close()
    return tmp_path / "vectors" / texts.space.name


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flipped(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def test_no_flipped_bit_of_a_key_file_is_overlooked(folder: Path) -> None:
    chance = random.Random(seed := random.randrange(1 << 30))
    path = max((folder / "index").iterdir())
    sound = path.read_bytes()
    for flip in range(400):
        path.write_bytes(flipped(sound, chance))
        with pytest.raises(KeyFileDamaged, match="agree with its checksum"):
            print(seed, flip, KeyFile.open(path))


@pytest.mark.parametrize("read_only", [True, False])
def test_no_flipped_bit_loses_a_key_and_a_reader_changes_nothing(read_only: bool, folder: Path, texts: Texts) -> None:
    chance = random.Random(seed := random.randrange(1 << 30))
    keys = texts.keys(range(750))
    assert len(list((folder / "index").iterdir())) > 1
    for flip in range(20 if read_only else 8):
        path = chance.choice(sorted((folder / "index").iterdir()))
        path.write_bytes(flipped(path.read_bytes(), chance))
        before = contents(folder)
        with VectorStore.open(folder.parent, texts.space, read_only=read_only) as store:
            assert store.missing(keys) == [], (seed, flip)
            assert store.damaged == []
            assert sum(store.parts().values()) == 750
        if read_only:
            assert contents(folder) == before
        else:
            assert len(KeyIndex.open(folder / "index", read_only=True).locate(keys)) == 750, (seed, flip)


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_key_file_that_is_cut_short_is_thrown_away(length: int, folder: Path, texts: Texts) -> None:
    for path in (folder / "index").iterdir():
        path.write_bytes(path.read_bytes()[:length])
    for read_only in (True, False, True):
        with VectorStore.open(folder.parent, texts.space, read_only=read_only) as store:
            texts.assert_holds(store, range(750))


def test_a_whole_index_is_used_as_it_is(folder: Path, texts: Texts, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a part's keys were read again")

    monkeypatch.setattr("millrace.tasks.lake.vectors.part_index.read_keys", refuse)
    before = contents(folder)
    for read_only in (False, True, False):
        with VectorStore.open(folder.parent, texts.space, read_only=read_only) as store:
            texts.assert_holds(store, range(750))
    assert contents(folder) == before


def test_an_index_that_is_whole_and_names_wrong_rows_is_made_again(folder: Path, texts: Texts) -> None:
    for path in (folder / "index").iterdir():
        file = KeyFile.open(path)
        records = file.records.copy()
        records["row"] += 1
        path.unlink()
        KeyFile.write(path, file.parts, [records])
    for read_only in (True, False):
        with VectorStore.open(folder.parent, texts.space, read_only=read_only) as store:
            texts.assert_holds(store, range(750))


def test_an_index_that_names_a_part_which_is_not_there_follows_the_folder(folder: Path, texts: Texts) -> None:
    file = KeyFile.open(next((folder / "index").iterdir()))
    parts = {"part-00000099-00000000.parquet": IndexedPart(1, len(file.records))}
    KeyFile.write(folder / "index" / "keys-00000099.bin", parts, [file.records])
    with VectorStore.open(folder.parent, texts.space) as store:
        texts.assert_holds(store, range(750))


def test_the_index_of_an_earlier_version_is_made_anew_and_removed(folder: Path, texts: Texts) -> None:
    shutil.rmtree(folder / "index")
    for ending in ("", "-wal", "-shm", ".checksum.json"):
        (folder / f"index.sqlite{ending}").write_bytes(b"as SQLite had it")
    with VectorStore.open(folder.parent, texts.space, read_only=True) as store:
        texts.assert_holds(store, range(750))
    assert len(list(folder.glob("index.sqlite*"))) == 4
    assert not (folder / "index").exists()
    with VectorStore.open(folder.parent, texts.space) as store:
        texts.assert_holds(store, range(750))
    assert list(folder.glob("index.sqlite*")) == []
    assert len(KeyIndex.open(folder / "index", read_only=True).locate(texts.keys(range(750)))) == 750


def test_an_index_without_rights_is_told_as_that(folder: Path, texts: Texts, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def refuse(self: Path, *arguments: object, **more: object) -> object:
        if self.suffix == ".bin":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *arguments, **more)  # type: ignore[call-overload]

    before = contents(folder)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(
            LakeUnreachable, match=r"keys-.*\.bin failed: Permission denied\. Give this user the rights"
        ):
            VectorStore.open(folder.parent, texts.space)
    assert contents(folder) == before
