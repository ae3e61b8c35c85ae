"""What a file is: its first bytes decide where the suffix lies or there is none."""

from pathlib import Path

import pytest

from millrace.tasks.documents import DocumentOptions, list_files, read_documents
from millrace.tasks.records import Document, Reject, SourceFile
from tests.tasks.documents.conftest import source_file
from tests.tasks.documents.office.packages import docx, epub, odf, paragraph, pptx, row, shape, xlsx
from tests.tasks.documents.pdf_files import PdfFile

CONTENTS = {
    "pdf": PdfFile().add_page("the wheel").to_bytes(),
    "docx": docx(paragraph("the wheel")),
    "pptx": pptx(shape("the wheel")),
    "xlsx": xlsx(("s", "visible", row("the wheel"))),
    "odt": odf("text", "<text:p>the wheel</text:p>"),
    "epub": epub({"a": "<p>the wheel</p>"}),
    "rtf": rb"{\rtf1 the wheel}",
}


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("name", ["a.txt", "a.html", "a.docx", "a.xls", "a.pdf", "a"])
def test_a_file_is_read_as_what_it_is(kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(CONTENTS[kind])
    [found] = list_files([tmp_path])
    assert isinstance(found, SourceFile)
    [document] = read_documents(found, DocumentOptions())
    assert isinstance(document, Document), document
    assert "the wheel" in document.text


@pytest.mark.parametrize("name", ["a.doc.docx", "a.xls", "a.rtf"])
def test_a_document_saved_as_html_under_an_office_name_is_html(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("<html><body><h1>Mill</h1><table><tr><th>x</th><th>y</th></tr></table></body></html>")
    [document] = read_documents(source_file(path), DocumentOptions())
    assert isinstance(document, Document)
    assert document.text == "Mill\n\nx | y"


def test_an_error_page_under_the_name_of_a_pdf_is_not_taken_for_a_document(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_text("<!DOCTYPE html><title>404</title>Not found")
    [reject] = read_documents(source_file(path), DocumentOptions())
    assert isinstance(reject, Reject)
    assert reject.reason == "not_a_pdf"


def test_a_file_without_a_suffix_that_shows_no_format_is_counted(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("the wheel")
    (tmp_path / "program").write_bytes(b"\x7fELF\x02\x01\x01\x00")
    (tmp_path / "word").write_bytes(b"PK is how an archive begins, and %PDF- is not at the beginning")
    listing = list_files([tmp_path])
    assert list(listing) == []
    assert listing.left_out.unsupported == {"": 3}
    (tmp_path / "report").write_bytes(CONTENTS["pdf"])
    assert [Path(each.path).name for each in list_files([tmp_path]) if isinstance(each, SourceFile)] == ["report"]
    assert list(list_files([tmp_path], include=["*.md"])) == []


def test_bytes_that_spell_a_folder_by_chance_are_no_member(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"PK\x03\x04" + bytes(22) + b"\x05\x00\x00\x00a.bin" + b"xl/worksheets word/ ppt/")
    [reject] = read_documents(source_file(path), DocumentOptions())
    assert isinstance(reject, Reject)
    assert reject.reason == "binary"
