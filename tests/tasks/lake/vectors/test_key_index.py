from pathlib import Path

import numpy as np
import pytest

from millrace.tasks.lake.vectors import key_file
from millrace.tasks.lake.vectors.key_index import KeyIndex, NewPart
from millrace.tasks.lake.vectors.schema import KeyBytes


def keys(seed: int, count: int) -> KeyBytes:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


def as_bytes(*several: KeyBytes) -> list[bytes]:
    return [row.tobytes() for some in several for row in some]


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize("merged_at_once", [1 << 16, 300])
def test_every_key_is_found_where_it_is_through_all_merges(
    merged_at_once: int, on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_file, "_MERGED_AT_ONCE", merged_at_once)
    index = KeyIndex(tmp_path if on_disk else None)
    expected: dict[bytes, tuple[str, int]] = {}
    sizes = {}
    for number in range(150):
        some = keys(number, 1 + number % 40)
        index.add([NewPart(f"p{number}", number, some)])
        sizes[f"p{number}"] = number, len(some)
        expected |= {key: (f"p{number}", row) for row, key in enumerate(as_bytes(some))}
    assert index.locate([*expected, *as_bytes(keys(999, 10))]) == expected
    assert {name: part[:2] for name, part in index.parts().items()} == sizes
    files = list(tmp_path.iterdir())
    assert 0 < len(files) < 30 if on_disk else not files
    if on_disk:
        assert KeyIndex.open(tmp_path, read_only=False).locate(expected) == expected
        assert sum(path.stat().st_size for path in files) < len(expected) * 24 + 150 * 40


def test_keys_that_begin_alike_are_told_apart_and_those_in_two_parts_survive_the_loss_of_one(tmp_path: Path) -> None:
    index = KeyIndex(tmp_path)
    alike = keys(1, 40)
    alike[:, :8] = 7
    index.add([NewPart("a", 1, alike[:30]), NewPart("b", 1, alike[10:])])
    assert len(index.locate(as_bytes(alike))) == 40
    index.drop({"a"})
    assert index.locate(as_bytes(alike)) == {key: ("b", row) for row, key in enumerate(as_bytes(alike[10:]))}
    index.drop({"b"})
    assert index.locate(as_bytes(alike)) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_replaces_others_is_found_in_their_place(tmp_path: Path) -> None:
    index = KeyIndex(tmp_path)
    parts = {name: keys(seed, 100) for seed, name in enumerate("abc")}
    for name, some in parts.items():
        index.add([NewPart(name, 1, some)])
    before = set(tmp_path.iterdir())
    index.add([NewPart("ab", 2, np.concatenate([parts["a"], parts["b"]]), ["a", "b"])])
    for opened in (index, KeyIndex.open(tmp_path, read_only=True)):
        opened.drop({"a", "b"})  # as when their files are seen to be gone
        found = opened.locate(as_bytes(*parts.values()))
        assert [found[key] for key in as_bytes(parts["a"], parts["b"])] == [("ab", row) for row in range(200)]
        assert opened.parts().keys() == {"ab", "c"}
    assert len(before & set(tmp_path.iterdir())) == 1  # what only held parts that are gone is gone


def test_a_part_that_is_made_again_with_fewer_rows_is_found_as_it_is_now(tmp_path: Path) -> None:
    index = KeyIndex(tmp_path)
    some = keys(1, 100)
    index.add([NewPart("a", 1, some), NewPart("b", 1, keys(2, 100))])
    index.add([NewPart("a", 1, some[:60])])
    for opened in (index, KeyIndex.open(tmp_path, read_only=False)):
        assert opened.locate(as_bytes(some)) == {key: ("a", row) for row, key in enumerate(as_bytes(some[:60]))}
        assert opened.parts().keys() == {"a", "b"}


def test_a_merge_that_was_cut_short_before_it_deleted_what_it_merged_is_finished(tmp_path: Path) -> None:
    index = KeyIndex(tmp_path)
    parts = {str(number): keys(number, 10) for number in range(8)}
    kept: dict[Path, bytes] = {}
    for name, some in parts.items():
        kept |= {path: path.read_bytes() for path in tmp_path.iterdir()}
        index.add([NewPart(name, 1, some)])
    merged = set(tmp_path.iterdir())
    for path, data in kept.items():
        path.write_bytes(data)
    for read_only in (True, False):
        opened = KeyIndex.open(tmp_path, read_only=read_only)
        assert len(opened.locate(as_bytes(*parts.values()))) == 80
    assert set(tmp_path.iterdir()) == merged


def test_a_renewed_index_leaves_the_old_one_readable(tmp_path: Path) -> None:
    index = KeyIndex(tmp_path)
    some = keys(1, 100)
    index.add([NewPart("a", 1, some)])
    new = index.renewed()
    assert (len(index.locate(as_bytes(some))), new.locate(as_bytes(some)), list(tmp_path.iterdir())) == (100, {}, [])
