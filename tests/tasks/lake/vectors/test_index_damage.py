"""Whatever happens to the key index: no key is lost, nothing is embedded again, and no error but one with a remedy."""

import random
import sqlite3
from pathlib import Path

import pytest

from millrace.tasks.errors import LakeUnreachable
from millrace.tasks.lake import VectorStore
from millrace.tasks.lake.vectors.key_index import KeyIndex
from tests.tasks.lake.numbered import OpenStore, Texts

FLIPS = 400
CHECKSUM = "index.sqlite.checksum.json"


@pytest.fixture
def folder(open_store: OpenStore, texts: Texts, tmp_path: Path) -> Path:
    """A store of 600 texts in three parts, closed."""
    store = open_store()
    for first in (0, 200, 400):
        texts.fill(store, range(first, first + 200))
        store.seal()
    store.close()
    return tmp_path / "vectors" / texts.space.name


def flipped(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


@pytest.mark.parametrize("name", ["index.sqlite", CHECKSUM])
def test_no_flipped_bit_of_a_closed_index_loses_a_key(name: str, folder: Path, texts: Texts) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    keys = texts.keys(range(600))
    sound = {path: path.read_bytes() for path in folder.glob("index.sqlite*")}
    for flip in range(FLIPS if name == "index.sqlite" else 40):
        for path, data in sound.items():
            path.write_bytes(flipped(data, chance) if path.name == name else data)
        # Nine in ten are opened by a reader, which is quicker and has the same index to judge.
        with VectorStore.open(folder.parent, texts.space, read_only=flip % 10 > 0) as store:
            assert store.missing(keys) == [], (seed, flip)
            assert store.damaged == []
        for path in folder.glob("index.sqlite-*"):
            path.unlink()


def test_no_flipped_bit_of_an_index_whose_writer_was_killed_loses_a_key(folder: Path, texts: Texts) -> None:
    """It has no checksum: a writer makes it again, a reader takes it as it is and never fails."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    sound = (folder / "index.sqlite").read_bytes()
    for flip in range(60):
        (folder / CHECKSUM).unlink(missing_ok=True)
        (folder / "index.sqlite").write_bytes(flipped(sound, chance))
        with VectorStore.open(folder.parent, texts.space, read_only=True) as store:
            store.missing(texts.keys(range(600)))
        if flip % 10 == 0:
            with VectorStore.open(folder.parent, texts.space) as store:
                texts.assert_holds(store, range(600))
        for path in folder.glob("index.sqlite-*"):
            path.unlink()


def test_an_index_is_used_as_it_is_while_it_agrees_with_its_checksum(
    folder: Path, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renew(path: Path) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(KeyIndex, "renew", renew)
    before = (folder / "index.sqlite").stat().st_mtime_ns
    for read_only in (False, True, False):
        with VectorStore.open(folder.parent, texts.space, read_only=read_only) as store:
            texts.assert_holds(store, range(600))
    assert (folder / "index.sqlite").stat().st_mtime_ns == before


def test_a_row_that_was_deleted_behind_its_back_is_found_again(folder: Path, texts: Texts) -> None:
    with sqlite3.connect(folder / "index.sqlite") as index:
        index.execute("DELETE FROM vector WHERE row % 2")
    index.close()
    with VectorStore.open(folder.parent, texts.space) as store:
        texts.assert_holds(store, range(600))


def test_an_index_without_rights_is_told_as_that(folder: Path, texts: Texts, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def refuse(self: Path, *arguments: object, **more: object) -> object:
        if self.name == "index.sqlite":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(LakeUnreachable, match=r"index\.sqlite failed: Permission denied\. Give this user the rights"):
        VectorStore.open(folder.parent, texts.space)
    assert (folder / "index.sqlite").exists()
