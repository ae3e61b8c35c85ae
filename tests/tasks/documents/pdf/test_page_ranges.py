"""A long PDF file in ranges: the same document as in one go, whichever way the ranges were read."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from millrace.tasks.documents import (
    DocumentOptions,
    PageRange,
    PdfEngine,
    join_page_ranges,
    long_pdf_pages,
    page_ranges,
    read_documents,
    read_page_range,
)
from millrace.tasks.documents.pdf.open_file import close_file
from millrace.tasks.records import Document, Reject, SourceFile
from tests.tasks.documents.conftest import source_file
from tests.tasks.documents.pdf_files import PdfFile, book


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_file()


def unwatched(item: str) -> None: ...


def in_ranges(path: Path, options: DocumentOptions, pages: int, *, backwards: bool) -> list[Document | Reject]:
    """Read range by range, in either order."""
    file, ranges = source_file(path), page_ranges(pages)
    read: dict[range, PageRange] = {}
    for numbers in reversed(ranges) if backwards else ranges:
        found = read_page_range(file, options, numbers, skip={}, at=unwatched)
        assert found is not None
        read[numbers] = found
        if backwards:
            close_file()  # as if each range were read by a process of its own
    return list(join_page_ranges(file, [read[numbers] for numbers in ranges], skip={}, at=unwatched))


@pytest.mark.parametrize("engine", ["pypdf", "pdfium"])
@pytest.mark.parametrize("backwards", [False, True])
def test_ranges_give_the_document_that_one_go_gives(tmp_path: Path, engine: PdfEngine, backwards: bool) -> None:
    made = book(130, sentences=3)
    made.broken_pages = frozenset([1, 40, 77])
    made.pages[90] = b""
    made.pages[120] = b"0 0 m 9 9 l S"
    path = tmp_path / "book.pdf"
    path.write_bytes(made.to_bytes())
    options = DocumentOptions(pdf_engine=engine)
    at_once = list(read_documents(source_file(path), options))
    document = at_once[0]
    assert isinstance(document, Document)
    assert (len(document.pages), document.blank_pages, len(at_once)) == (125, 1, 5)
    assert len(document.headings) == 6
    assert in_ranges(path, options, 130, backwards=backwards) == at_once


def test_a_file_without_one_usable_page_is_one_reject_in_ranges_too(tmp_path: Path) -> None:
    path = tmp_path / "scan.pdf"
    path.write_bytes(PdfFile(pages=[b"/Im1 Do"] * 130, images={"Im1": (900, 900)}).to_bytes())
    options = DocumentOptions()
    assert in_ranges(path, options, 130, backwards=False) == list(read_documents(source_file(path), options))


def test_the_ranges_hold_each_page_once() -> None:
    assert [n for numbers in page_ranges(2_015) for n in numbers] == list(range(1, 2_016))


@pytest.mark.parametrize(("pages", "long"), [(120, 0), (121, 121)])
def test_the_number_of_pages_alone_makes_a_file_long(tmp_path: Path, pages: int, long: int) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(PdfFile(pages=[b""] * pages).to_bytes())
    assert long_pdf_pages(source_file(path), DocumentOptions(), at=unwatched) == long


@pytest.mark.parametrize("name", ["a.pdf", "a.txt"])
def test_what_is_no_pdf_or_does_not_open_is_not_long(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"no PDF")
    assert long_pdf_pages(source_file(path), DocumentOptions(), at=unwatched) == 0
    assert read_page_range(source_file(path), DocumentOptions(), range(1, 5), skip={}, at=unwatched) is None


def test_a_range_leaves_out_what_hung_and_announces_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(book(5, sentences=3).to_bytes())
    announced: list[str] = []
    skip = {"page 4": "timeout: 60 s"}
    found = read_page_range(source_file(path), DocumentOptions(), range(3, 6), skip=skip, at=announced.append)
    assert found is not None
    assert announced == ["", "page 3", "page 5", "outline"]
    assert [number for number, _ in found.pages.taken] == [3, 5]
    assert [(reject.item, reject.reason) for reject in found.pages.rejects] == [("page 4", "timeout")]


def test_ranges_of_two_versions_of_a_file_have_two_digests(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    digests = set()
    for pages in (5, 6):
        path.write_bytes(book(pages, sentences=3).to_bytes())
        found = read_page_range(source_file(path), DocumentOptions(), range(1, 3), skip={}, at=unwatched)
        assert found is not None
        digests.add(found.digest)
    assert len(digests) == 2


def test_asking_whether_a_file_is_long_costs_a_short_one_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened = tmp_path / "a.pdf", []
    path.write_bytes(book(5, sentences=3).to_bytes())

    def counted(file: SourceFile) -> bytes:
        opened.append(file.path)
        return path.read_bytes()

    monkeypatch.setattr("millrace.tasks.documents.pdf.open_file.read_source", counted)
    assert long_pdf_pages(source_file(path), DocumentOptions(), at=unwatched) == 0
    assert isinstance(next(read_documents(source_file(path), DocumentOptions())), Document)
    assert len(opened) == 1


def test_a_range_crosses_to_another_process_as_data_that_can_run_no_code(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(book(5).to_bytes())
    read = read_page_range(path_file := source_file(path), DocumentOptions(), range(1, 6), skip={}, at=unwatched)
    assert read is not None
    rejects = (Reject("read", path_file.name, "page 3", "page_damaged", "\u6c34", ""),)
    read = replace(read, pages=replace(read.pages, rejects=rejects))
    assert PageRange.from_json(read.to_json()) == read
    for damaged in (b"", b"[]", b"{}", pickle.dumps(read), read.to_json()[:-9], b"[" * 100_000):
        with pytest.raises(ValueError, match=r"\S"):
            PageRange.from_json(damaged)
