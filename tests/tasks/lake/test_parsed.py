"""Kept by key; damaged or unknown is None; a reader writes nothing."""

from pathlib import Path

from millrace.tasks.lake import ParsedFolder


def test_what_was_put_is_got_until_it_is_damaged(tmp_path: Path) -> None:
    folder = ParsedFolder(tmp_path / "parsed")
    assert folder.get("ab") is None
    folder.put("ab", b"text" * 1000)
    assert folder.get("ab") == b"text" * 1000
    [file] = folder.files()
    assert isinstance(file, Path)
    for position in (0, 16, 30):
        good = file.read_bytes()
        file.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        assert folder.get("ab") is None
        file.write_bytes(good)
    file.write_bytes(b"")
    assert folder.get("ab") is None


def test_a_reader_keeps_nothing(tmp_path: Path) -> None:
    folder = ParsedFolder(tmp_path / "parsed", read_only=True)
    folder.put("ab", b"x")
    assert not (tmp_path / "parsed").exists()
    assert folder.files() == []
