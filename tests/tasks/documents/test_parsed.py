"""What was slow to read is read once, whatever it is called then."""

from dataclasses import replace
from pathlib import Path

import pytest

from millrace.tasks.documents import DocumentOptions, ParsedFiles, parsed, read_documents
from millrace.tasks.records import Document, Reject
from tests.tasks.documents.conftest import source_file
from tests.tasks.documents.pdf_files import PdfFile
from tests.tasks.documents.test_external import Kept


def test_a_slow_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pdf = PdfFile(bookmarks=[("First", 1)], broken_pages=frozenset({2}), is_compressed=True)
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf.add_page("One", "more").add_page("Two").add_page("Three").to_bytes())
    kept = Kept()
    options = DocumentOptions()
    first = list(read_documents(source_file(path), options, parsed=ParsedFiles(kept, "4")))
    assert (len(first), len(kept)) == (2, 0)  # it was quick
    monkeypatch.setattr(parsed, "SLOW_S", 0.0)
    assert list(read_documents(source_file(path), options, parsed=ParsedFiles(kept, "4"))) == first
    assert len(kept) == 1
    moved = path.rename(tmp_path / "b.pdf")
    monkeypatch.setattr("millrace.tasks.documents.reading._read_pdf", lambda *_: iter(()))
    again = list(read_documents(source_file(moved), options, parsed=ParsedFiles(kept, "4")))
    document, reject = first
    assert isinstance(document, Document)
    assert isinstance(reject, Reject)
    assert again == [replace(document, source="b.pdf", title="b"), replace(reject, source="b.pdf")]
    assert list(read_documents(source_file(moved), options, parsed=ParsedFiles(kept, "5"))) == []  # read anew
