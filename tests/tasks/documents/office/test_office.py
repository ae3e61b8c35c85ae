"""Sheets, slides, OpenDocument, RTF and EPUB: every word in its place, and one broken part does not lose the others."""

import base64
import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from millrace.tasks.documents import DocumentOptions, read_documents
from millrace.tasks.records import Document, Reject
from tests.tasks.documents.conftest import source_file
from tests.tasks.documents.office.packages import epub, odf, package, pptx, row, shape, xlsx

Read = Callable[[str, bytes], list[Document | Reject]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_all(name: str, content: bytes) -> list[Document | Reject]:
        path = tmp_path / name
        path.write_bytes(content)
        found = list(read_documents(source_file(path), DocumentOptions()))
        assert all(isinstance(one, Document | Reject) for one in found)
        return found  # type: ignore[return-value]

    return read_all


def the_document(found: list[Document | Reject]) -> Document:
    [document] = found
    assert isinstance(document, Document), document
    assert all(document.text.startswith(heading.title, heading.start) for heading in document.headings)
    return document


def test_sheets_are_tables_under_their_names(read: Read) -> None:
    rows = (
        row("Readings of May") + "<row/>" + row("Date", None, "Level", "Closed") + row(46143.0, None, 1.5, "no", style=1)
        + row(46144.5, None, 3.0, "yes  or\nno", style=1) + "<row/>" + row(1.0, 2.0) + row("a", 0.1)
    )  # fmt: skip
    document = the_document(
        read("a.xlsx", xlsx(("水位", "visible", rows), ("s", "hidden", row("x")), ("e", "visible", "")))
    )
    assert document.text == (
        "水位\n\nReadings of May\n\nDate | Level | Closed\n2026-05-01 | 1900-01-01 12:00:00 | no\n"
        "2026-05-02 12:00:00 | 1900-01-03 | yes or no\n\n1 | 2\na | 0.1"
    )
    assert [(h.title, h.level) for h in document.headings] == [("水位", 1)]
    headers = [document.text[table.start : table.body] for table in document.tables]
    assert headers == ["Date | Level | Closed\n", ""]


def test_slides_are_pages_under_their_titles(read: Read) -> None:
    table = (
        '<p:graphicFrame><a:tbl><a:tblPr firstRow="1"/>'
        '<a:tr><a:tc gridSpan="2"><a:p><a:r><a:t>State</a:t></a:r></a:p></a:tc><a:tc hMerge="1"/></a:tr>'
        "<a:tr><a:tc><a:p><a:r><a:t>red</a:t></a:r></a:p></a:tc><a:tc><a:p><a:r><a:t>leave</a:t></a:r></a:p></a:tc></a:tr>"
        "</a:tbl></p:graphicFrame>"
    )
    first = (
        shape("the wheel", "turns", levels=(0, 1)) + f"<p:grpSp>{shape('in a group')}</p:grpSp>" + table
        + shape("7", kind="sldNum") + shape("The", "mill", kind="ctrTitle")
    )  # fmt: skip
    document = the_document(read("a.pptx", pptx(first, "", shape("last"), notes=shape("say", "this", kind="body"))))
    assert document.text == (
        "The mill\n\nthe wheel\n- turns\n\nin a group\n\nState\n\nred | leave\n\nNotes: say\nthis\n\nlast"
    )
    assert [(page.number, document.text[page.start : page.end][:8]) for page in document.pages] == [
        (1, "The mill"),
        (3, "last"),
    ]
    assert [heading.title for heading in document.headings] == ["The mill"]
    assert document.title == "The mill"


def test_a_chart_is_a_table_of_its_numbers(read: Read) -> None:
    space = 'xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart"'

    def points(*values: str) -> str:
        return "".join(f'<c:pt idx="{n}"><c:v>{value}</c:v></c:pt>' for n, value in enumerate(values))

    chart = (
        f"<c:chartSpace {space}><c:chart><c:plotArea><c:ser><c:tx>{points('Level')}</c:tx><c:cat>{points('May', 'June')}</c:cat>"
        f"<c:val>{points('1.5', '2')}</c:val></c:ser></c:plotArea></c:chart></c:chartSpace>"
    )
    shown = f'<p:graphicFrame><c:chart {space} r:id="rchart"/></p:graphicFrame>'
    document = the_document(read("a.pptx", pptx(shown, chart=chart)))
    assert document.text == " | Level\nMay | 1.5\nJune | 2"


def test_a_broken_slide_does_not_lose_the_others(read: Read) -> None:
    document, reject = read("a.pptx", pptx(shape("one"), "<", shape("three")))
    assert isinstance(document, Document)
    assert document.text == "one\n\nthree"
    assert isinstance(reject, Reject)
    assert (reject.item, reject.reason) == ("page 2", "page_damaged")


def test_chapters_of_a_book_come_in_the_order_of_its_spine(read: Read) -> None:
    chapters = {
        "b": "<h1>Weir</h1><p>stone</p>",
        "a": "<h1>Wheel</h1><table><tr><th>x</th><th>y</th></tr><tr><td>1</td><td>2</td></tr></table>",
    }
    document = the_document(read("a.epub", epub(chapters, title="The Mill")))
    assert document.text == "Weir\n\nstone\n\nWheel\n\nx | y\n1 | 2"
    assert (document.title, [h.title for h in document.headings]) == ("The Mill", ["Weir", "Wheel"])
    [table] = document.tables
    assert document.text[table.start : table.body] == "x | y\n"


def test_a_chapter_that_is_missing_does_not_lose_the_others_and_a_protected_book_says_so(read: Read) -> None:
    whole = epub({"a": "<p>one</p>", "b": "<p>two</p>"})
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if name != "OPS/a.xhtml"}
    document, reject = read("a.epub", package(parts))
    assert isinstance(document, Document)
    assert document.text == "two"
    assert isinstance(reject, Reject)
    assert (reject.item, reject.reason) == ("chapter 2", "damaged")
    rights = '<encryption><EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></encryption>'
    [refused] = read("b.epub", epub({"a": "x"}, more={"META-INF/encryption.xml": rights}))
    assert isinstance(refused, Reject)
    assert refused.reason == "encrypted"


def test_an_opendocument_text_has_headings_lists_tables_and_no_deletions(read: Read) -> None:
    body = (
        "<text:tracked-changes><text:changed-region><text:p>deleted</text:p></text:changed-region></text:tracked-changes>"
        "<text:table-of-content><text:p>Scope 1</text:p></text:table-of-content>"
        '<text:h text:outline-level="2">Scope</text:h>'
        '<text:p>one<text:s text:c="3"/>two<text:tab/>three<text:line-break/>four<office:annotation><text:p>comment</text:p>'
        "</office:annotation><text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>see A</text:p>"
        "</text:note-body></text:note></text:p>"
        "<text:list><text:list-item><text:p>a</text:p><text:list><text:list-item><text:p>b</text:p></text:list-item></text:list>"
        "</text:list-item></text:list>"
        "<table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>x</text:p></table:table-cell>"
        "<table:table-cell><text:p>y</text:p></table:table-cell></table:table-row></table:table-header-rows><table:table-row>"
        '<table:table-cell table:number-columns-repeated="2"><text:p>1</text:p></table:table-cell></table:table-row></table:table>'
        "<text:p><draw:frame><draw:text-box><text:p>boxed</text:p></draw:text-box></draw:frame></text:p>"
    )
    document = the_document(read("a.odt", odf("text", body, title="The Mill")))
    assert document.text == "Scope\n\none two three\nfour [see A]\n\n- a\n  - b\n\nx | y\n1 | 1\n\nboxed"
    assert (document.title, [(h.level, h.title) for h in document.headings]) == ("The Mill", [(2, "Scope")])
    assert [document.text[t.start : t.body] for t in document.tables] == ["x | y\n"]


def test_an_opendocument_presentation_has_a_page_a_slide(read: Read) -> None:
    def slide(title: str, text: str) -> str:
        return (
            f'<draw:page><draw:frame presentation:class="title"><draw:text-box><text:p>{title}</text:p></draw:text-box>'
            f"</draw:frame><draw:frame><draw:text-box><text:p>{text}</text:p></draw:text-box></draw:frame>"
            "<presentation:notes><draw:frame><draw:text-box><text:p>note</text:p></draw:text-box></draw:frame>"
            "</presentation:notes></draw:page>"
        )

    document = the_document(read("a.odp", odf("presentation", slide("One", "x") + slide("Two", "y"))))
    assert document.text == "One\n\nx\n\nNotes: note\n\nTwo\n\ny\n\nNotes: note"
    assert [(p.number, document.text[p.start : p.end][:3]) for p in document.pages] == [(1, "One"), (2, "Two")]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (rb"{\rtf1\ansi\ansicpg1252 caf\'e9 \u8364? {\b bold}\par next}", "café € bold\nnext"),
        (rb"{\rtf1\ansi\ansicpg936{\fonttbl{\f0\fcharset134 SimSun;}}\f0 \'cb\'ae\'c4\'a5\par}", "水磨"),
        (rb"{\rtf1\ansi{\pict\pngblip 89504e47}{\*\comment hidden}shown}", "shown"),
    ],
)
def test_rtf_is_read_with_its_code_page(content: bytes, text: str, read: Read) -> None:
    assert the_document(read("a.rtf", content)).text == text


@pytest.mark.parametrize("name", ["a.xlsx", "a.xls", "a.ods", "a.pptx", "a.odt", "a.odp", "a.epub", "a.rtf"])
@pytest.mark.parametrize(
    "content", [b"%PDF-1.7\n%\xe2\xe3", b"PK\x03\x04" + bytes(40), package({"a.txt": "x"}), bytes(1000)]
)
def test_what_is_no_such_file_is_one_reject_with_a_remedy(name: str, content: bytes, read: Read) -> None:
    [reject] = read(name, content)
    assert isinstance(reject, Reject), reject
    assert reject.reason in {"damaged", "unsupported_format", "no_text"}
    assert reject.message
    assert reject.remedy


PANICKING_XLS = "c-p&gUhu)fjZzO8(10}qGsD0CoD6J8VvIn{0pkcTFfc*I{{8>|A13^N6bvcw7fOTTkOdfjtUwHkb9QLFazg1*@E-sRi_fq"
"""A damaged workbook of the old format over which the library panics; compressed, base 85."""


def test_a_sheet_over_which_the_library_panics_is_a_reject(read: Read) -> None:
    [reject] = read("a.xls", zlib.decompress(base64.b85decode(PANICKING_XLS)))
    assert isinstance(reject, Reject)
    assert reject.reason == "damaged"
    assert "\n" not in reject.message


def test_each_row_of_a_sheet_can_be_a_document(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    first = "<row/>" + row("id", "text", "level") + row("x", "the wheel", 1.5) + row("y", "")
    path.write_bytes(xlsx(("one", "visible", first), ("two", "visible", row("text") + row("the weir"))))
    options = DocumentOptions(sheets="records", metadata_columns=("level",))
    wheel, empty, weir = read_documents(source_file(path), options)
    assert isinstance(wheel, Document)
    assert (wheel.source, wheel.text, wheel.extra) == ("a.xlsx#x", "the wheel", {"level": 1.5})
    assert isinstance(empty, Reject)
    assert (empty.source, empty.reason) == ("a.xlsx#y", "missing_text")
    assert isinstance(weir, Document)
    assert (weir.source, weir.text) == ("a.xlsx#3", "the weir")
