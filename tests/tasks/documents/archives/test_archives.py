"""Archives are read as folders, within bounds, and nothing in them can lead anywhere."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from millrace.tasks.documents import DocumentOptions, LeftOutMember, read_documents
from millrace.tasks.documents import member_budget as bounds
from millrace.tasks.records import Document, LeftOut, Reject
from tests.tasks.documents.archives.archives import Pack, tar_gz, tarred, zipped
from tests.tasks.documents.conftest import Read, source_file


def said(found: list[Document | LeftOutMember | Reject]) -> list[tuple[str, str]]:
    """Each item in two words: its source, and its text, reason or count."""
    return [
        (each.source, each.text if isinstance(each, Document) else each.reason if isinstance(each, Reject)
         else each.counted.summary())
        for each in found
    ]  # fmt: skip


FORMS = [("a.zip", zipped), ("a.tar", tarred), ("a.tar.gz", tar_gz), ("a.tgz", tar_gz)]


@pytest.mark.parametrize(("archive", "pack"), FORMS)
def test_entries_are_read_left_out_and_refused_as_in_a_folder(read: Read, archive: str, pack: Pack) -> None:
    content = pack(
        {
            "./b/报告.md": b"# Report",
            "a.csv": b"id,text\n1,one\n2,two\n",
            "c#/d.txt": b"sharp",
            "e\\f.txt": b"from Windows",
            ".git/config.md": b"x",
            ".git/other.md": b"x",
            "node_modules/x/readme.md": b"x",
            "photo.PNG": b"x",
            "../up.md": b"x",
            "/absolute.md": b"x",
            "g/../../h.md": b"x",
            "empty.md": b"",
            "bad.txt": b"\x00\x01",
        }
    )
    assert said(read(archive, content)) == [
        (f"{archive}#b/报告.md", "# Report"),
        (f"{archive}#a.csv#1", "one"),
        (f"{archive}#a.csv#2", "two"),
        (f"{archive}#c%23/d.txt", "sharp"),
        (f"{archive}#e/f.txt", "from Windows"),
        (f"{archive}#.git/config.md", "1 hidden"),
        (f"{archive}#node_modules/x/readme.md", "1 of tools (node_modules/)"),
        (f"{archive}#photo.PNG", "1 file that no reader takes (1 .png)"),
        (f"{archive}#../up.md", "unsafe_name"),
        (f"{archive}#/absolute.md", "unsafe_name"),
        (f"{archive}#g/../../h.md", "unsafe_name"),
        (f"{archive}#empty.md", "empty"),
        (f"{archive}#bad.txt", "binary"),
    ]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_links_devices_and_second_entries_of_a_name_are_rejects(read: Read) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, mode in (("link.md", 0o120777), ("pipe.md", 0o010666), ("file.md", 0o100666), ("file.md", 0o100666)):
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, "/etc/passwd")
    as_zip = said(read("a.zip", packed.getvalue()))
    assert as_zip == [
        ("a.zip#link.md", "not_regular"),
        ("a.zip#pipe.md", "not_regular"),
        ("a.zip#file.md", "/etc/passwd"),
        ("a.zip#file.md", "duplicate_name"),
    ]
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        content = tarred({"link.md": b""}, type=kind, linkname="/etc/passwd")
        assert said(read("a.tar", content)) == [("a.tar#link.md", "not_regular")]


def test_names_in_gbk_without_a_mark_are_understood(read: Read) -> None:
    content = zipped({"AAAA/BBBB.md": b"text"}, zipfile.ZIP_STORED)
    content = content.replace(b"AAAA", "报告".encode("gbk")).replace(b"BBBB", "水位".encode("gbk"))
    assert said(read("a.zip", content)) == [("a.zip#报告/水位.md", "text")]
    content = tarred({"AAAA.md": b"text"}, mtime=0)
    head = bytearray(content.replace(b"AAAA", "报告".encode("gbk"), 1))
    head[148:156] = b"        "
    head[148:156] = b"%06o\0 " % sum(head[:512])
    assert said(read("a.tar", bytes(head))) == [("a.tar#报告.md", "text")]


def test_what_is_encrypted_or_packed_in_an_unknown_way_costs_itself_alone(read: Read) -> None:
    content = zipped({"a.md": b"first", "b.md": b"second", "c.md": b"third"}, zipfile.ZIP_STORED)
    directory = content.index(b"PK\x01\x02")
    second = content.index(b"PK\x01\x02", directory + 4)
    third = content.index(b"PK\x01\x02", second + 4)
    changed = bytearray(content)
    struct.pack_into("<H", changed, second + 8, 1)  # flags: encrypted
    struct.pack_into("<H", changed, third + 10, 98)  # method: PPMd
    struct.pack_into("<H", changed, content.index(b"PK\x03\x04", content.index(b"second")) + 8, 98)
    assert said(read("a.zip", bytes(changed))) == [
        ("a.zip#a.md", "first"),
        ("a.zip#b.md", "encrypted"),
        ("a.zip#c.md", "unsupported_format"),
    ]


def test_of_a_damaged_archive_what_can_be_read_is_read(read: Read) -> None:
    noise = os.urandom(300_000)
    entries = {"a.md": b"first", "noise.bin": noise, "b.md": b"last"}
    for archive, pack in (("a.tar", tarred), ("a.tar.gz", tar_gz)):
        content = pack(entries)
        first, *_, broken = said(read(archive, content[: len(content) // 2]))
        assert (first, broken) == ((f"{archive}#a.md", "first"), (archive, "damaged"))
    content = zipped({"a.md": b"first", "b.md": b"words " * 99}, zipfile.ZIP_STORED).replace(b"words ", b"wards ", 1)
    assert said(read("a.zip", content)) == [("a.zip#a.md", "first"), ("a.zip#b.md", "damaged")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.zip", b"no archive", "damaged"),
        ("a.tar", b"no archive" * 99, "damaged"),
        ("a.gz", b"no archive", "damaged"),
        ("a.zip", b"", "empty"),
        ("a.zip", zipped({}), "no_text"),
        ("a.tar", tarred({}), "no_text"),
    ],
)
def test_what_is_no_archive_or_an_empty_one_is_a_reject(
    reject: Callable[..., Reject], name: str, content: bytes, reason: str
) -> None:
    assert (reject(name, content).source, reject(name, content).reason) == (name, reason)


def test_an_archive_of_files_without_a_reader_is_a_reject_that_counts_them(read: Read) -> None:
    found = read("a.zip", zipped({"a.png": b"x", "b.exe": b"y"}))
    assert said(found) == [
        ("a.zip#a.png", "1 file that no reader takes (1 .png)"),
        ("a.zip#b.exe", "1 file that no reader takes (1 .exe)"),
        ("a.zip", "no_text"),
    ]


def test_a_single_file_in_gzip_is_read_as_what_it_is(read: Read) -> None:
    assert said(read("a.csv.gz", gzip.compress(b"id,text\n1,one\n"))) == [("a.csv.gz#a.csv#1", "one")]
    packed = {"b.svg.gz": gzip.compress(b"<svg/>"), "c.md.gz": gzip.compress(b"text")}
    assert said(read("d.zip", zipped(packed))) == [
        ("d.zip#b.svg.gz", "1 file that no reader takes (1 .gz)"),
        ("d.zip#c.md.gz#c.md", "text"),
    ]


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test reaches soon."""
    monkeypatch.setattr(bounds, "UNPACKED_BYTES_OF_ANY", 1 << 20)
    monkeypatch.setattr(bounds, "MEMBERS_OF_ANY", 50)
    for module in ("zip_archive", "tar_archive"):
        monkeypatch.setattr(f"millrace.tasks.documents.archives.{module}.MAX_ENTRIES", 300)


@pytest.mark.usefixtures("small_bounds")
@pytest.mark.parametrize(("archive", "pack"), [("a.zip", zipped), ("a.tar.gz", tar_gz)])
def test_a_bomb_is_one_reject_and_what_was_read_before_stays(read: Read, archive: str, pack: Pack) -> None:
    content = pack({"a.md": b"first", "b.txt": b"0" * (16 << 20), "c.md": b"last"})
    *_, bomb = found = read(archive, content)
    assert said(found) == [(f"{archive}#a.md", "first"), (archive, "too_large")]
    assert isinstance(bomb, Reject)
    assert "MiB" in bomb.message


@pytest.mark.usefixtures("small_bounds")
def test_bombs_in_a_bomb_do_not_add_up(read: Read) -> None:
    inner = zipped({"b.txt": b"0" * (8 << 20)})
    assert said(read("a.zip", zipped({f"{n}.zip": inner for n in range(40)}))) == [
        ("a.zip#0.zip", "too_large"),
        ("a.zip", "too_large"),
    ]


@pytest.mark.usefixtures("small_bounds")
def test_archives_in_archives_end_at_a_bound(read: Read) -> None:
    content = zipped({"a.md": b"x"})
    for depth in range(6):
        content = zipped({f"{depth}-{n}.zip": content for n in range(8)})
    found = said(read("a.zip", content))
    assert found[-1] == ("a.zip", "too_large")
    assert len(found) < 250


@pytest.mark.usefixtures("small_bounds")
@pytest.mark.parametrize(("archive", "pack"), FORMS)
def test_too_many_entries_are_one_reject(read: Read, archive: str, pack: Pack) -> None:
    assert said(read(archive, pack({f"{n}.md": b"" for n in range(301)}))) == [(archive, "too_large")]


def test_an_end_record_that_announces_too_many_entries_is_believed(reject: Callable[..., Reject]) -> None:
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 10**7, 10**7, 46 * 10**7, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert reject("a.zip", record + locator + end).reason == "too_large"


@pytest.mark.parametrize(("archive", "pack"), FORMS[:3])
def test_an_entry_that_hung_its_reader_costs_itself_alone(tmp_path: Path, archive: str, pack: Pack) -> None:
    path = tmp_path / archive
    path.write_bytes(pack({"a.md": b"first", "b.md": b"second", "c.md": b"third"}))
    announced: list[str] = []
    assert len(list(read_documents(source_file(path), DocumentOptions(), at=announced.append))) == 3
    assert "b.md#" in announced
    found = list(read_documents(source_file(path), DocumentOptions(), skip={"b.md#": "timeout: 60 s"}))
    assert said(found) == [(f"{archive}#a.md", "first"), (f"{archive}#b.md", "timeout"), (f"{archive}#c.md", "third")]


def test_a_packed_archive_that_hangs_between_entries_keeps_those_before(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(tar_gz({"a.md": b"first", "b.md": b"second"}))
    found = list(read_documents(source_file(path), DocumentOptions(), skip={"entry 2": "timeout: 60 s"}))
    assert said(found) == [("a.tar.gz#a.md", "first"), ("a.tar.gz", "timeout")]


def test_nothing_is_written_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Read) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    read("a.zip", zipped({"b.md": b"x", "../c.md": b"x", "d/e.md": b"x"}))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip", "here"]


def test_left_out_members_count_as_what_they_are(read: Read) -> None:
    [device, *_] = read("a.tar", tarred({"null": b""}, type=tarfile.CHRTYPE))
    assert device == LeftOutMember("a.tar#null", LeftOut(not_regular=1))
