"""Which files are listed, in which order, and what is said about the others."""

import os
import random
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from millrace.tasks.documents import DocumentOptions, file_hash, list_files, read_documents
from millrace.tasks.errors import ConfigurationError, SourceError
from millrace.tasks.records import Document, LeftOut, Reject, SourceFile


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def listed(root: Path, **patterns: Iterable[str]) -> list[str]:
    items = list(list_files([root], base=root, **patterns))  # type: ignore[arg-type]
    return [item.name for item in items if isinstance(item, SourceFile)]


def rejects(*sources: Path) -> dict[str, str]:
    return {Path(r.source).name: r.reason for r in list_files(list(sources)) if isinstance(r, Reject)}


def test_files_come_in_the_order_of_their_paths_bytes(tmp_path: Path) -> None:
    names = ["a-b/x.md", "a.md", "a/z.md", "a/b/c.md", "ab.md", "中文/甲.md", "é.md", "Z.md"]
    random.Random(4).shuffle(names)
    write(tmp_path, *names)
    assert listed(tmp_path) == sorted(names, key=os.fsencode)


def test_a_file_carries_its_absolute_path_size_and_time(tmp_path: Path) -> None:
    write(tmp_path, "a.md")
    os.utime(tmp_path / "a.md", ns=(1, 1_700_000_000_123_456_789))
    [found] = list_files([tmp_path])
    path = str(tmp_path / "a.md")
    status = Path(path).stat()
    assert found == SourceFile(
        path,
        path,
        4,
        mtime_ns=1_700_000_000_123_456_789,
        within=str(tmp_path),
        ctime_ns=status.st_ctime_ns,
        inode=status.st_ino,
    )


def test_names_are_relative_to_the_base_folder(tmp_path: Path) -> None:
    write(tmp_path, "corpus/a.md")
    [found] = list_files([tmp_path / "corpus"], base=tmp_path)
    assert isinstance(found, SourceFile)
    assert found.name == "corpus/a.md"


def test_a_source_outside_the_base_folder_is_a_configuration_error(tmp_path: Path) -> None:
    write(tmp_path, "corpus/a.md", "corpus-2/b.md")
    with pytest.raises(ConfigurationError, match="outside the base folder"):
        list_files([tmp_path / "corpus-2"], base=tmp_path / "corpus")


def test_hidden_names_and_what_tools_leave_behind_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, ".git/x.md", ".hidden.md", "a.md~", "#a.md#", "~$a.md", "CVS/y.md", "__MACOSX/z.md", "kept.md")
    assert listed(tmp_path) == ["kept.md"]


def test_a_source_may_be_hidden_itself(tmp_path: Path) -> None:
    write(tmp_path, ".notes/a.md", ".b.secret")
    folder, file = tmp_path / ".notes", tmp_path / ".b.secret"
    assert [i.name for i in list_files([folder, file], base=tmp_path) if isinstance(i, SourceFile)] == [
        ".b.secret",
        ".notes/a.md",
    ]


def test_only_known_suffixes_are_listed_unless_patterns_say_otherwise(tmp_path: Path) -> None:
    write(tmp_path, "a.pdf", "b.PDF", "c.exe", "d.tex")
    assert listed(tmp_path) == ["a.pdf", "b.PDF"]
    assert listed(tmp_path, include=["*.tex", "*.exe"]) == ["c.exe", "d.tex"]


def test_packed_files_are_listed_where_a_reader_takes_what_is_packed(tmp_path: Path) -> None:
    write(tmp_path, "a.csv.gz", "b.tar.GZ", "changelog.Debian.gz", "d.tex.gz", "e.tgz")
    assert listed(tmp_path) == ["a.csv.gz", "b.tar.GZ", "e.tgz"]
    assert listed(tmp_path, include=["*.gz", "*.tex"]) == ["a.csv.gz", "b.tar.GZ", "d.tex.gz"]
    listing = list_files([tmp_path])
    assert len(list(listing)) == 3
    assert listing.left_out == LeftOut({".gz": 2})


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*.md", ["a.md", "docs/b.md", "docs/deep/c.md"]),
        ("/*.md", ["a.md"]),
        ("docs/*.md", ["docs/b.md"]),
        ("docs/**", ["docs/b.md", "docs/deep/c.md", "docs/e.txt"]),
        ("**/deep/*", ["docs/deep/c.md"]),
        ("docs/", ["docs/b.md", "docs/deep/c.md", "docs/e.txt"]),
        ("DOCS/?.TXT", ["docs/e.txt"]),
        ("[!ab].md", ["docs/deep/c.md"]),
        ("docs/**/c.md", ["docs/deep/c.md"]),
        ("a.md/", []),
    ],
)
def test_patterns_mean_what_they_mean_in_gitignore(tmp_path: Path, pattern: str, matches: list[str]) -> None:
    write(tmp_path, "a.md", "docs/b.md", "docs/deep/c.md", "docs/e.txt")
    assert listed(tmp_path, include=[pattern]) == matches
    everything = ["a.md", "docs/b.md", "docs/deep/c.md", "docs/e.txt"]
    assert listed(tmp_path, exclude=[pattern]) == [name for name in everything if name not in matches]


def test_an_empty_pattern_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="matches nothing"):
        list_files([tmp_path], exclude=["/"])


def test_an_excluded_folder_is_not_entered(tmp_path: Path) -> None:
    write(tmp_path, "kept/a.md", "drafts/b.md")
    (tmp_path / "drafts" / "loop.md").symlink_to("nowhere")
    assert list(rejects(tmp_path)) == ["loop.md"]
    assert [r for r in list_files([tmp_path], exclude=["drafts"]) if isinstance(r, Reject)] == []


def test_a_file_below_two_sources_is_listed_once(tmp_path: Path) -> None:
    write(tmp_path, "a/b/c.md", "a/d.md")
    sources = [tmp_path / "a" / "b", tmp_path / "a", tmp_path / "a" / "d.md", tmp_path / "a"]
    names = [i.name for i in list_files(sources, base=tmp_path) if isinstance(i, SourceFile)]
    assert names == ["a/b/c.md", "a/d.md"]


def test_a_missing_source_is_named_before_anything_is_listed(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no-such-folder.*No such file"):
        list_files([tmp_path, tmp_path / "no-such-folder"])


def test_no_source_at_all_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        list_files([])


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes and sockets in the file system")
def test_pipes_sockets_and_devices_are_never_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "null.txt").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # a socket's path may not be as long as pytest's folders are
        listener.bind("socket.txt")
    assert list(list_files([tmp_path])) == []
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        list_files([tmp_path / "pipe.txt"])


def test_links_to_folders_are_not_followed_and_those_that_leave_are_reported(tmp_path: Path) -> None:
    write(tmp_path, "corpus/a/b.md", "elsewhere/c.md")
    (tmp_path / "corpus" / "a" / "up").symlink_to("..")
    (tmp_path / "corpus" / "out").symlink_to(tmp_path / "elsewhere")
    assert listed(tmp_path / "corpus") == ["a/b.md"]
    assert rejects(tmp_path / "corpus") == {"out": "link_leaves_source"}


def test_a_linked_file_is_listed_under_its_link_unless_it_is_listed_anyway(tmp_path: Path) -> None:
    write(tmp_path, "corpus/a.md", "corpus/.store/b.md", "elsewhere/c.md")
    (tmp_path / "corpus" / "again.md").symlink_to("a.md")
    (tmp_path / "corpus" / "stored.md").symlink_to(".store/b.md")
    (tmp_path / "corpus" / "outside.md").symlink_to(tmp_path / "elsewhere" / "c.md")
    assert listed(tmp_path / "corpus") == ["a.md", "stored.md"]
    assert rejects(tmp_path / "corpus") == {"outside.md": "link_leaves_source"}
    followed = list_files([tmp_path / "corpus"], base=tmp_path / "corpus", follow_links=True)
    assert [i.name for i in followed if isinstance(i, SourceFile)] == ["a.md", "outside.md", "stored.md"]
    both = [tmp_path / "corpus", tmp_path / "elsewhere"]
    assert [i.name for i in list_files(both, base=tmp_path) if isinstance(i, SourceFile)] == [
        *("corpus/a.md", "corpus/stored.md", "elsewhere/c.md"),
    ]


@pytest.mark.parametrize("name", ["a.md", "a.jsonl", "a.parquet", "a.pdf", "a.html"])
def test_a_file_that_becomes_a_link_out_of_its_source_after_the_listing_is_not_read(tmp_path: Path, name: str) -> None:
    """A link to /proc/self/environ put the key of the provider into the message of a reject."""
    write(tmp_path, "corpus/sub/" + name)
    (tmp_path / "secret").write_text('{"text": "the key"}')
    [file] = list_files([tmp_path / "corpus"])
    assert isinstance(file, SourceFile)
    Path(file.path).unlink()
    Path(file.path).symlink_to(tmp_path / "secret")
    [refused] = read_documents(file, DocumentOptions())
    assert isinstance(refused, Reject)
    assert refused.reason == "link_leaves_source"
    assert "the key" not in refused.message + refused.remedy
    with pytest.raises(OSError, match="leads out of its source"):
        file_hash(file)


def test_a_folder_that_becomes_a_link_out_of_its_source_after_the_listing_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, "corpus/sub/a.md", "elsewhere/a.md")
    [file] = list_files([tmp_path / "corpus"])
    assert isinstance(file, SourceFile)
    (tmp_path / "corpus" / "sub").rename(tmp_path / "away")
    (tmp_path / "corpus" / "sub").symlink_to(tmp_path / "elsewhere")
    assert [r.reason for r in read_documents(file, DocumentOptions()) if isinstance(r, Reject)] == [
        "link_leaves_source"
    ]


def test_a_source_below_a_link_is_read(tmp_path: Path) -> None:
    write(tmp_path, "real/a.md")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "b.md").symlink_to("real/a.md")
    for source in ("link", "b.md"):
        [file] = list_files([tmp_path / source])
        assert isinstance(file, SourceFile)
        assert [type(found) for found in read_documents(file, DocumentOptions())] == [Document]


def test_broken_and_circular_links_are_rejects(tmp_path: Path) -> None:
    (tmp_path / "gone.md").symlink_to("nowhere.md")
    (tmp_path / "self.md").symlink_to("self.md")
    (tmp_path / "uninteresting").symlink_to("nowhere")
    assert rejects(tmp_path) == {"gone.md": "broken_link", "self.md": "broken_link"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_not_utf8_is_a_reject_that_can_be_shown(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    with open(folder + b"/\xc2\xd2\xc2\xeb.txt", "w") as file:  # noqa: PTH123 - a name that Path cannot hold
        file.write("text")
    os.mkdir(folder + b"/dir\xff")  # noqa: PTH102
    found = list(list_files([tmp_path], base=tmp_path))
    assert [(r.source, r.reason) for r in found if isinstance(r, Reject)] == [
        (r"dir\xff", "name_not_utf8"),
        (r"\xc2\xd2\xc2\xeb.txt", "name_not_utf8"),
    ]


def test_what_is_left_out_is_counted_by_suffix_and_by_why(tmp_path: Path) -> None:
    write(tmp_path, "a.dwg", "b.DWG", "Makefile", "c.md", "d.md~", ".git/x.md", ".hidden.md", "drafts/e.md", "f.txt")
    write(
        tmp_path, "node_modules/g.md", "site/node_modules/h.md", "cache/CACHEDIR.TAG", "cache/i.md", "venv/pyvenv.cfg"
    )
    os.mkfifo(tmp_path / "pipe.md")
    listing = list_files([tmp_path], base=tmp_path, exclude=["drafts/", "*.txt"])
    assert [found.name for found in listing if isinstance(found, SourceFile)] == ["c.md"]
    assert listing.left_out == LeftOut(
        unsupported={".dwg": 2, "": 1},
        hidden=2,
        excluded=2,
        by_tools={"*~": 1, "CACHEDIR.TAG": 1, "node_modules/": 2, "pyvenv.cfg": 1},
        not_regular=1,
    )
    assert listing.left_out.total == 13
    assert listing.left_out.summary().startswith("3 files that no reader takes (2 .dwg, 1 without a suffix), 2 hidden")


def test_what_one_source_leaves_out_and_another_takes_is_not_counted(tmp_path: Path) -> None:
    write(tmp_path, "a.cfg", "b.md")
    listing = list_files([tmp_path, tmp_path / "a.cfg"], base=tmp_path)
    assert [found.name for found in listing if isinstance(found, SourceFile)] == ["a.cfg", "b.md"]
    assert listing.left_out.total == 0


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("letter", b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
        ("letter", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document of the old binary format"),
        ("page.bak", b"\x1f\x8b\x08", "gzip data"),
    ],
)
def test_a_file_named_as_a_source_that_no_reader_takes_is_a_reject_that_names_its_kind(
    tmp_path: Path, name: str, content: bytes, kind: str
) -> None:
    (tmp_path / name).write_bytes(content)
    [refused] = list_files([tmp_path / name])
    assert isinstance(refused, Reject)
    assert (refused.stage, refused.reason) == ("scan", "unsupported_format")
    assert kind in refused.message


@pytest.mark.parametrize("text", ["ID3 tags hold a title", "BZh is a signature", "GIF89a, a format", "PAR1 of two"])
def test_a_text_that_begins_like_another_kind_of_file_is_taken(tmp_path: Path, text: str) -> None:
    (tmp_path / "notes").write_text(text)
    [found] = list_files([tmp_path / "notes"])
    assert isinstance(found, SourceFile)


def test_a_folder_that_may_be_listed_but_not_entered_is_one_reject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "open/a.md", "shut/b.md", "shut/c.md")
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "shut")
    assert rejects(tmp_path) == {"shut": "unreadable"}
    assert listed(tmp_path) == ["open/a.md"]


def test_a_file_whose_path_is_too_long_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.md")
    folders = 4090 // 251 - len(str(tmp_path)) // 251
    monkeypatch.chdir(tmp_path)
    for _ in range(folders):
        os.mkdir("d" * 250)  # noqa: PTH102 - the path as a whole is longer than a call takes
        os.chdir("d" * 250)
    Path("e" * 200 + ".md").write_text("deep")
    os.chdir(tmp_path)
    found = list(list_files([tmp_path], base=tmp_path))
    assert [f.name for f in found if isinstance(f, SourceFile)] == ["a.md"]
    [refused] = [f for f in found if isinstance(f, Reject)]
    assert (refused.reason, "too long" in refused.message) == ("unreadable", True)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="nothing is unreadable to root")
def test_a_folder_that_may_not_be_listed_is_a_reject_and_a_source_an_error(tmp_path: Path) -> None:
    write(tmp_path, "open/a.md", "closed/b.md")
    (tmp_path / "closed").chmod(0)
    try:
        assert rejects(tmp_path) == {"closed": "unreadable"}
        with pytest.raises(SourceError, match="Permission denied"):
            list_files([tmp_path / "closed"])
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_folders_deeper_than_python_recurses_are_walked(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(400):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "a.md").write_text("deep")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200)
    try:
        assert len(listed(tmp_path)) == 1
    finally:
        sys.setrecursionlimit(limit)


def test_the_hash_of_a_file_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert (
        file_hash(SourceFile(str(tmp_path / "a"), "a", 3, 1))
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
