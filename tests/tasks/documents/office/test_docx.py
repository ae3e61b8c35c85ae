"""Word documents: what Word shows with all changes accepted, its headings and tables, and nothing twice."""

from collections.abc import Callable
from pathlib import Path

import pytest

from millrace.tasks.documents import DocumentOptions, read_documents
from millrace.tasks.records import Document, Reject
from tests.tasks.documents.conftest import source_file
from tests.tasks.documents.office.packages import docx, package, paragraph, run

Read = Callable[[bytes], Document]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_one(content: bytes) -> Document:
        path = tmp_path / "a.docx"
        path.write_bytes(content)
        [document] = read_documents(source_file(path), DocumentOptions())
        assert isinstance(document, Document), document
        return document

    return read_one


def style(identity: str, name: str, more: str = "", based_on: str = "") -> str:
    based = f'<w:basedOn w:val="{based_on}"/>' if based_on else ""
    return f'<w:style w:type="paragraph" w:styleId="{identity}"><w:name w:val="{name}"/>{based}<w:pPr>{more}</w:pPr></w:style>'


def styled(text: str, identity: str, more: str = "") -> str:
    return paragraph(text, f'<w:pStyle w:val="{identity}"/>{more}')


LEVELS = "".join(
    f'<w:lvl w:ilvl="{level}"><w:start w:val="1"/><w:numFmt w:val="{kind}"/><w:lvlText w:val="{text}"/></w:lvl>'
    for level, (kind, text) in enumerate([("decimal", "%1"), ("decimal", "%1.%2"), ("lowerLetter", "%3)")])
)
NUMBERING = (
    f'<w:abstractNum w:abstractNumId="7">{LEVELS}</w:abstractNum>'
    '<w:abstractNum w:abstractNumId="8"><w:lvl w:ilvl="0"><w:start w:val="3"/><w:numFmt w:val="chineseCountingThousand"/>'
    '<w:lvlText w:val="第%1章"/></w:lvl><w:lvl w:ilvl="1"><w:numFmt w:val="bullet"/><w:lvlText w:val="·"/></w:lvl></w:abstractNum>'
    '<w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="8"/></w:num>'
)


def in_list(text: str, number: int, level: int, more: str = "") -> str:
    return paragraph(text, f'{more}<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>')


def test_headings_come_from_styles_and_outline_levels_whatever_the_language_of_word(read: Read) -> None:
    styles = (
        style("1", "heading 1")
        + style("Mine", "Unser Kapitel", based_on="1")
        + style("Third", "Third", '<w:outlineLvl w:val="2"/>')
        + style("No", "No", '<w:outlineLvl w:val="9"/>', based_on="1")
    )
    body = (
        styled("Scope", "1") + styled("Kapitel", "Mine") + styled("Tief", "Third") + styled("body", "No")
        + paragraph("direct", '<w:outlineLvl w:val="1"/>') + paragraph("end") + styled("  ", "1")
    )  # fmt: skip
    document = read(docx(body, styles=styles))
    assert [(h.level, h.title) for h in document.headings] == [(1, "Scope"), (1, "Kapitel"), (3, "Tief"), (2, "direct")]
    assert document.text == "Scope\n\nKapitel\n\nTief\n\nbody\n\ndirect\n\nend"
    assert all(document.text[h.start :].startswith(h.title) for h in document.headings)
    assert document.title == "Scope"


def test_numbers_are_counted_as_word_counts_them(read: Read) -> None:
    numbered = '<w:numPr><w:numId w:val="1"/></w:numPr><w:outlineLvl w:val="0"/>'
    body = (
        styled("Mill", "H") + in_list("race", 1, 1) + in_list("wheel", 1, 1) + in_list("hub", 1, 2) + in_list("rim", 1, 2)
        + styled("River", "H") + in_list("weir", 1, 1) + in_list("水", 2, 0) + in_list("石", 2, 0) + in_list("dot", 2, 1)
    )  # fmt: skip
    document = read(docx(body, styles=style("H", "H", numbered), numbering=NUMBERING))
    assert document.text.split("\n") == [
        *("1 Mill", "", "  1.1 race", "  1.2 wheel", "    a) hub", "    b) rim", "", "2 River", ""),
        *("  2.1 weir", "第三章 水", "第四章 石", "  - dot"),
    ]
    assert [h.title for h in document.headings] == ["1 Mill", "2 River"]


def test_changes_are_accepted_and_what_is_hidden_or_code_is_left_out(read: Read) -> None:
    def field(code: str, result: str) -> str:
        marks = [f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>' for kind in ("begin", "separate", "end")]
        return f"{marks[0]}<w:r><w:instrText>{code}</w:instrText></w:r>{marks[1]}{result}{marks[2]}"

    body = (
        "<w:p>" + run("kept ")
        + '<w:ins w:id="1">' + run("inserted ") + "</w:ins>"
        + '<w:del w:id="2"><w:r><w:delText>deleted</w:delText></w:r></w:del>'
        + "<w:moveFrom>" + run("moved") + "</w:moveFrom><w:moveTo>" + run("arrived ") + "</w:moveTo>"
        + run("hidden", "<w:vanish/>") + run("shown ", '<w:vanish w:val="0"/>')
        + field("IF " + "x", run("result ")) + field("PAGE", field("REF a", run("inner ")))
        + "<w:hyperlink>" + run("link") + "</w:hyperlink>"
        + "<w:r><w:noBreakHyphen/><w:t>a</w:t><w:br/><w:t>b</w:t><w:softHyphen/><w:tab/><w:t>c</w:t></w:r>"
        + '<w:r><w:sym w:font="Wingdings" w:char="F0FC"/><w:sym w:font="Arial" w:char="00D7"/></w:r></w:p>'
    )  # fmt: skip
    assert read(docx(body)).text == "kept inserted arrived shown result inner link\u2011a\nb c×"


def test_a_table_of_contents_is_left_out_and_content_controls_are_not(read: Read) -> None:
    contents = (
        '<w:sdt><w:sdtPr><w:docPartObj><w:docPartGallery w:val="Table of Contents"/></w:docPartObj></w:sdtPr>'
        f"<w:sdtContent>{paragraph('Scope 3')}</w:sdtContent></w:sdt>"
    )
    control = f"<w:sdt><w:sdtContent>{paragraph('chosen')}</w:sdtContent></w:sdt>"
    body = contents + styled("Scope 3", "T") + control
    assert read(docx(body, styles=style("T", "toc 1"))).text == "chosen"


def test_tables_have_a_row_a_line_spans_and_their_header(read: Read) -> None:
    def cell(content: str, properties: str = "") -> str:
        return f"<w:tc><w:tcPr>{properties}</w:tcPr>{content}</w:tc>"

    span, begin, goes_on = '<w:gridSpan w:val="2"/>', '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    inner = f"<w:tbl><w:tr>{cell(paragraph('x'))}{cell(paragraph('y'))}</w:tr></w:tbl>"
    rows = [
        "<w:trPr><w:tblHeader/></w:trPr>" + cell(paragraph("Level")) + cell(paragraph("Meaning"), span),
        cell(paragraph("red"), begin) + cell(paragraph("flood")) + cell(paragraph("leave") + paragraph("now")),
        cell(paragraph(""), goes_on) + cell(paragraph("more")) + cell(inner),
        "<w:trPr><w:del/></w:trPr>" + cell(paragraph("gone")),
    ]
    body = (
        paragraph("before")
        + "<w:tbl>"
        + "".join(f"<w:tr>{row}</w:tr>" for row in rows)
        + "</w:tbl>"
        + paragraph("after")
    )
    document = read(docx(body))
    table = "Level | Meaning\nred | flood | leave now\nred | more | x | y"
    assert document.text == f"before\n\n{table}\n\nafter"
    [found] = document.tables
    assert document.text[found.start : found.end] == table
    assert document.text[found.start : found.body] == "Level | Meaning\n"


def test_notes_stand_below_their_paragraph_and_boxes_once(read: Read) -> None:
    box = f"<w:txbxContent>{paragraph('In the box')}</w:txbxContent>"
    both = (
        f"<mc:AlternateContent><mc:Choice><w:drawing>{box}</w:drawing></mc:Choice>"
        f"<mc:Fallback><w:pict>{box}</w:pict></mc:Fallback></mc:AlternateContent>"
    )
    body = (
        "<w:p>" + run("first") + '<w:r><w:footnoteReference w:id="2"/></w:r>' + run(" and")
        + '<w:r><w:endnoteReference w:id="1"/></w:r>' + f"<w:r>{both}</w:r></w:p>" + paragraph("next")
    )  # fmt: skip
    footnotes = f'<w:footnote w:id="0" w:type="separator">{paragraph("--")}</w:footnote><w:footnote w:id="2">{paragraph("see A")}</w:footnote>'
    endnotes = f'<w:endnote w:id="1">{paragraph("see B")}</w:endnote>'
    document = read(docx(body, footnotes=footnotes, endnotes=endnotes))
    assert document.text == "first[1] and[2]\n\n[1] see A\n\n[2] see B\n\nIn the box\n\nnext"


def test_its_title_is_that_of_its_properties(read: Read) -> None:
    assert read(docx(paragraph("x"), title="The  Mill")).title == "The Mill"
    assert read(docx(paragraph("x"))).title == "a"


def test_it_lies_deeper_than_python_may_recurse(read: Read) -> None:
    deep = "<w:tbl><w:tr><w:tc>" * 600 + paragraph("bottom") + "</w:tc></w:tr></w:tbl>" * 600
    assert "bottom" in read(docx(deep)).text
    assert "bottom" in read(docx("<w:p>" + "<w:ins>" * 600 + run("bottom") + "</w:ins>" * 600 + "</w:p>")).text


def laughs() -> bytes:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return package(
        {
            "[Content_Types].xml": "<Types/>",
            "word/document.xml": f'<!DOCTYPE d [<!ENTITY l0 "ha">{entities}<!ENTITY f SYSTEM "file:///etc/passwd">]>'
            "<d>&l9;&f;</d>",
        }
    )


ENCRYPTED = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le")


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        (b"", "empty", "0 bytes"),
        (docx(paragraph("x"))[:300], "damaged", "cannot be unpacked"),
        (docx("<w:p>"), "damaged", "word/document.xml is no XML"),
        (docx(""), "no_text", "no text"),
        (package({"[Content_Types].xml": "<Types/>"}), "damaged", "word/document.xml is missing"),
        (package({"a.txt": "x"}), "unsupported_format", "ZIP archive"),
        (b"\x89PNG\r\n\x1a\n", "unsupported_format", "a PNG image"),
        (ENCRYPTED, "encrypted", "encrypted"),
        (ENCRYPTED[:500], "unsupported_format", "old binary format"),
        (laughs(), "damaged", "is no XML"),
    ],
)
def test_what_cannot_be_read_says_why(content: bytes, reason: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(content)
    [reject] = read_documents(source_file(path), DocumentOptions())
    assert isinstance(reject, Reject)
    assert (reject.reason, words in reject.message) == (reason, True), reject
    assert reject.remedy


def test_a_part_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.tasks.documents.office.package.MAX_PART_BYTES", 10_000)
    path = tmp_path / "a.docx"
    path.write_bytes(docx(paragraph("a" * 10_000)))
    [reject] = read_documents(source_file(path), DocumentOptions())
    assert isinstance(reject, Reject)
    assert reject.reason == "too_large"
    assert "word/document.xml" in reject.message
