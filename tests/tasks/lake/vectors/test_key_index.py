from pathlib import Path

import numpy as np
import pytest

from millrace.tasks.lake.vectors import key_index
from millrace.tasks.lake.vectors.key_index import KeyIndex
from millrace.tasks.lake.vectors.schema import KeyBytes


def keys(seed: int, count: int) -> KeyBytes:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


@pytest.mark.parametrize("files", [1, 7])
def test_an_index_filled_at_once_is_the_one_filled_part_by_part(
    files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key in two parts is found in the later one, either way."""
    monkeypatch.setattr(key_index, "_KEYS_A_FILE", 1_500 // files)
    first, second = keys(1, 1_000), keys(2, 500)
    second[:10] = first[:10]
    one, other = KeyIndex.open(tmp_path / "one.sqlite"), KeyIndex.open(tmp_path / "other.sqlite")
    one.load([("a", 11, first), ("b", 12, second)], 1_500)
    other.add("a", 11, first)
    other.add("b", 12, second)
    wanted = [row.tobytes() for row in (*first, *second, *keys(3, 10))]
    assert one.locate(wanted) == other.locate(wanted)
    assert len(one.locate(wanted)) == 1_490
    assert one.locate(wanted)[first[0].tobytes()] == ("b", 0)
    assert one.locate(wanted)[first[999].tobytes()] == ("a", 999)
    assert (one.sizes(), one.rows()) == (other.sizes(), other.rows()) == ({"a": 11, "b": 12}, {"a": 1_000, "b": 500})
    assert sorted(path.name for path in tmp_path.glob(".sort*")) == []
    one.close()
    other.close()


def test_a_compaction_moves_keys_without_writing_them_again(tmp_path: Path) -> None:
    index = KeyIndex.open(tmp_path / "index.sqlite")
    parts = {name: keys(seed, 100) for seed, name in enumerate("abc")}
    for name, some in parts.items():
        index.add(name, 1, some)
    assert index.merge("ab", 2, {"a": 100, "b": 100})
    assert index.merge("abc", 3, {"ab": 200, "c": 100})
    found = index.locate(row.tobytes() for some in parts.values() for row in some)
    expected = [row.tobytes() for some in parts.values() for row in some]
    assert found == {key: ("abc", row) for row, key in enumerate(expected)}
    assert index.superseded() == {"a", "b", "ab", "c"}
    assert not index.merge("x", 1, {"abc": 299})
    index.close()
