"""PDF files, page by page: what is readable is read, and each page that is not says why."""

import logging
import re
import tracemalloc
import warnings
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from millrace.tasks.documents import DocumentOptions, read_documents
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.records import Document, Heading, Page, Reject
from tests.tasks.documents.conftest import Read, source_file
from tests.tasks.documents.pdf_files import PROSE, PdfFile, composite_font, shown


def test_pages_are_joined_by_a_blank_line_and_keep_their_numbers(document: Callable[..., Document]) -> None:
    file = PdfFile().add_page("First page", PROSE).add_page("Second page", PROSE)
    found = document("mill.pdf", file.to_bytes())
    assert found.text == f"First page\n{PROSE}\n\nSecond page\n{PROSE}"
    end = len(f"First page\n{PROSE}")
    assert found.pages == (Page(1, 0, end), Page(2, end + 2, len(found.text)))
    assert found.title == "mill"


@pytest.mark.parametrize(
    ("info", "bookmarks", "title"),
    [
        (b"/Title (Flood plan)", [], "Flood plan"),
        (b"/Title <feff6c348f6e>", [], "水轮"),
        (b"/Title (Microsoft Word - Flood plan)", [], "Flood plan"),
        (b"/Title (Microsoft Word - plan.doc)", [], "mill"),
        (b"/Title (untitled)", [], "mill"),
        (b"/Title 12", [("The book", 1)], "mill"),
        (b"", [("Chapter 1", 1), ("Chapter 2", 1)], "mill"),
    ],
)
def test_the_title_is_the_document_informations_if_it_is_one(
    document: Callable[..., Document], info: bytes, bookmarks: list[tuple[str, int]], title: str
) -> None:
    file = PdfFile(info=info, bookmarks=bookmarks).add_page(PROSE)
    assert document("mill.pdf", file.to_bytes()).title == title


def test_bookmarks_become_headings_at_the_lines_that_say_them(document: Callable[..., Document]) -> None:
    file = PdfFile(bookmarks=[("Sluices", 1), ("The  wheel", 2), ("Not said there", 2)])
    file.add_page(PROSE, "1.2 Sluices", PROSE).add_page(PROSE, "The", "Wheel", PROSE)
    found = document("mill.pdf", file.to_bytes())
    assert found.headings == (
        Heading(1, "Sluices", found.text.index("1.2 Sluices")),
        Heading(1, "The wheel", found.text.index("The\nWheel")),
        Heading(1, "Not said there", found.text.index("The\nWheel")),
    )


def test_a_broken_page_costs_itself_alone(read: Read) -> None:
    file = PdfFile(broken_pages=frozenset([2])).add_page("one").add_page("two").add_page("three")
    found, lost = read("mill.pdf", file.to_bytes())
    assert isinstance(found, Document)
    assert [p.number for p in found.pages] == [1, 3]
    assert isinstance(lost, Reject)
    assert (lost.item, lost.reason) == ("page 2", "page_damaged")


def test_a_heading_of_a_lost_page_stands_at_the_next_one(read: Read) -> None:
    file = PdfFile(broken_pages=frozenset([2]), bookmarks=[("Lost", 2), ("Kept", 3)])
    found = read("mill.pdf", file.add_page("one").add_page("Lost").add_page("three", "Kept").to_bytes())[0]
    assert isinstance(found, Document)
    assert found.headings == (Heading(1, "Lost", 5), Heading(1, "Kept", found.text.index("Kept")))


def test_chinese_is_read_through_the_fonts_encoding(document: Callable[..., Document]) -> None:
    font = composite_font(b"STSong-Light", b"UniGB-UCS2-H", b"GB1")
    file = PdfFile(pages=[shown("水轮机的检修".encode("utf-16-be"))], fonts={"F1": font})
    assert document("a.pdf", file.to_bytes()).text == "水轮机的检修"


@pytest.mark.parametrize(
    ("turned", "matrix"), [(90, b"0 1 -1 0 300 100"), (180, b"-1 0 0 -1 500 300"), (270, b"0 -1 1 0 300 700")]
)
def test_a_page_that_is_turned_to_be_read_is_read_in_order(
    document: Callable[..., Document], turned: int, matrix: bytes
) -> None:
    page = b"BT /F1 12 Tf %s Tm (First line) Tj 0 -14 Td (Second line) Tj 0 -14 Td (Third line) Tj ET" % matrix
    data = PdfFile(pages=[page]).to_bytes().replace(b"/MediaBox", b"/Rotate %d /MediaBox" % turned)
    assert document("a.pdf", data).text == "First line\nSecond line\nThird line"


@pytest.mark.parametrize(
    ("ordering", "numbers", "text"),
    [(b"GB1", (3491, 2685, 2063, 1445, 2143, 4009), "水轮机的检修"), (b"Japan1", (526, 2603), "あ水")],
)
def test_characters_that_a_font_only_numbers_are_those_of_adobes_collection(
    document: Callable[..., Document], ordering: bytes, numbers: tuple[int, ...], text: str
) -> None:
    codes = b"".join(number.to_bytes(2, "big") for number in numbers)
    file = PdfFile(fonts={"F1": composite_font(b"Kai", b"Identity-H", ordering)})
    file.pages += [
        shown(codes),
        shown(codes[:2]),
        shown(codes),
    ]  # the font is shared; each page needs its own characters
    assert document("a.pdf", file.to_bytes()).text == f"{text}\n\n{text[0]}\n\n{text}"


def test_a_page_of_single_characters_without_outlines_is_read_and_not_blank(document: Callable[..., Document]) -> None:
    """As OCR programs write them: no glyph of the font has an outline, so pdfium leaves out every string of one."""
    font = composite_font(b"GlyphLess", b"UniGB-UCS2-H", b"GB1")
    words = [b"BT 3 Tr /F1 12 Tf %d 700 Td <%s> Tj ET" % (72 + 14 * n, c.encode("utf-16-be").hex().encode())
             for n, c in enumerate("水轮机的检修")]  # fmt: skip
    found = document("a.pdf", PdfFile(fonts={"F1": font}, pages=[b"\n".join(words)]).to_bytes())
    assert (found.text.replace(" ", ""), found.blank_pages) == ("水轮机的检修", 0)


def test_single_characters_without_outlines_between_longer_words_are_read(document: Callable[..., Document]) -> None:
    font = composite_font(b"GlyphLess", b"UniGB-UCS2-H", b"GB1")
    words = [b"BT 3 Tr /F1 12 Tf %d 700 Td <%s> Tj ET" % (72 + 40 * n, word.encode("utf-16-be").hex().encode())
             for n, word in enumerate(("水轮机", "的", "检修", "与", "保养"))]  # fmt: skip
    found = document("a.pdf", PdfFile(fonts={"F1": font}, pages=[b"\n".join(words)]).to_bytes())
    assert "".join(found.text.split()) == "水轮机的检修与保养"


def test_a_font_that_nothing_can_map_gives_no_text(reject: Callable[..., Reject]) -> None:
    file = PdfFile(pages=[shown(bytes(range(200)))], fonts={"F1": composite_font(b"X", b"Identity-H", b"Identity")})
    found = reject("a.pdf", file.to_bytes())
    assert found.reason == "no_text_layer"
    assert "page_replacement_characters" in found.message
    assert "ocrmypdf" in found.remedy


def test_gaps_between_words_become_spaces_where_a_font_has_no_space(document: Callable[..., Document]) -> None:
    words = b"BT /F1 12 Tf 72 700 Td [(Nine)-250(hou)20(rs)-229(a)-231(day)] TJ ET"
    assert document("a.pdf", PdfFile(pages=[words]).to_bytes()).text == "Nine hours a day"


def test_look_alikes_become_what_people_type(document: Callable[..., Document]) -> None:
    font = composite_font(b"STSong-Light", b"UniGB-UCS2-H", b"GB1")
    file = PdfFile(pages=[shown("⽔轮 ﬁrst ⻳".encode("utf-16-be"))], fonts={"F1": font})
    assert document("a.pdf", file.to_bytes()).text == "水轮 first 龟"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(cid:12)(cid:7) (cid:33)", "page_glyph_codes"),
        ("/G21/G22/G23 /G24", "page_glyph_codes"),
        ("\ue001\ue002 text", "page_private_use"),
        ("\ufffd\ufffd text", "page_replacement_characters"),
        ("\ud800 a \udc00", "page_replacement_characters"),
        ("\x01\x02\x03 text", "page_control_characters"),
        ("ÊýÁ¿ ×ÖµÄ", "page_mojibake"),
    ],
)
def test_a_page_of_debris_is_refused_with_its_kind(read: Read, text: str, reason: str) -> None:
    font = composite_font(b"STSong-Light", b"UniGB-UCS2-H", b"GB1")
    codes = text.encode("utf-16-be", "surrogatepass")
    file = PdfFile(fonts={"F1": font}, pages=[shown("好的".encode("utf-16-be")), shown(codes)])
    found, refused = read("a.pdf", file.to_bytes())
    assert isinstance(found, Document)
    assert found.text == "好的"
    assert isinstance(refused, Reject)
    assert (refused.stage, refused.source, refused.item, refused.reason) == ("read", "a.pdf", "page 2", reason)


@pytest.mark.parametrize(
    "text",
    [
        "第一章 引水渠··················································7",
        "• • • ©®™ ½ ¾",
        "Þórður á Æðey, séra Jón í Ólafsfirði, Ísafjörður",
        "one \ufffd in a page that is readable otherwise",
        "see /G21 and (cid:12) in the listing of glyph names",
    ],
)
def test_an_unusual_page_is_no_debris(document: Callable[..., Document], text: str) -> None:
    font = composite_font(b"STSong-Light", b"UniGB-UCS2-H", b"GB1")
    file = PdfFile(fonts={"F1": font}, pages=[shown(text.encode("utf-16-be"))])
    assert document("a.pdf", file.to_bytes()).text == text


def test_scanned_and_empty_pages_are_told_apart(read: Read) -> None:
    image = b"q 612 0 0 792 0 0 cm /Im1 Do Q"
    scanned = PdfFile(pages=[image, image + b"BT /F1 9 Tf 9 9 Td (12) Tj ET"], images={"Im1": (700, 800)}).add_page(
        PROSE
    )
    empty = PdfFile(pages=[b"0 0 m 9 9 l S"]).add_page(PROSE)
    assert [r.reason for r in read("scan.pdf", scanned.to_bytes()) if isinstance(r, Reject)] == ["page_scanned"] * 2
    assert [r.reason for r in read("empty.pdf", empty.to_bytes()) if isinstance(r, Reject)] == ["page_empty"]


@pytest.mark.parametrize(
    "content",
    [b"", b"q 1 0 0 1 0 0 cm Q", b"BT /F1 12 Tf ET", b"BT /F1 12 Tf 72 700 Td (  ) Tj ET", b"0 0 612 792 re W n"],
    ids=["empty", "only a matrix", "a text without characters", "spaces", "only a clipping path"],
)
def test_a_page_on_which_nothing_is_drawn_is_blank_and_no_reject(
    document: Callable[..., Document], content: bytes
) -> None:
    file = PdfFile().add_page(PROSE)
    file.pages.append(content)
    file.images["Im1"] = (700, 800)  # in the resources that pages share, and drawn by none
    found = document("book.pdf", file.add_page(PROSE).to_bytes())
    assert (found.blank_pages, [page.number for page in found.pages]) == (1, [1, 3])


@pytest.mark.parametrize(
    "content",
    [b"72 700 m 80 710 90 710 98 700 c f", b"BT /F1 12 Tf <0102> Tj ET", b"/P <</MCID 0>> BDC 0 0 9 9 re f EMC"],
    ids=["curves, which may be letters", "characters that no font maps", "a surface"],
)
def test_a_page_without_text_on_which_something_is_drawn_is_a_reject(read: Read, content: bytes) -> None:
    file = PdfFile().add_page(PROSE)
    file.pages.append(content)
    found, refused = read("book.pdf", file.to_bytes())
    assert isinstance(found, Document)
    assert isinstance(refused, Reject)
    assert (found.blank_pages, refused.item) == (0, "page 2")


def test_a_file_of_blank_pages_alone_says_so(reject: Callable[..., Reject]) -> None:
    assert reject("book.pdf", PdfFile(pages=[b"", b""]).to_bytes()).reason == "blank"


@pytest.mark.parametrize(
    "form",
    [b"/Self Do", b"q " * 20_000, b"[" * 50_000, b"<<" * 50_000, b"BT " + b"(" * 50_000],
    ids=["a form that draws itself", "deep states", "deep arrays", "deep dictionaries", "deep strings"],
)
def test_a_hostile_page_costs_itself_alone(read: Read, form: bytes) -> None:
    file = PdfFile().add_page(PROSE)
    file.pages.append(form)
    file.forms["Self"] = b"/Self Do"
    found, *lost = read("book.pdf", file.to_bytes())
    assert isinstance(found, Document)
    assert found.text == PROSE
    assert len(lost) + found.blank_pages == 1


def test_forms_that_share_their_resources_are_looked_at_once(read: Read) -> None:
    """All forms stood in the resources of each of them: of 60, a page took 7 s, and of 300 a quarter of an hour."""
    file = PdfFile().add_page(PROSE)
    file.forms = {f"X{number}": b"/X%d Do" % ((number + 1) % 300) for number in range(300)}
    file.pages += [b"/X0 Do " * 300, b"/Im1 Do"]
    file.images["Im1"] = (900, 900)
    found, *refused = read("a.pdf", file.to_bytes())
    assert isinstance(found, Document)
    assert found.text == PROSE
    assert [r.item for r in refused if isinstance(r, Reject)] == ["page 2", "page 3"]


def test_a_font_that_a_page_and_its_forms_share_is_read_in_all_of_them(document: Callable[..., Document]) -> None:
    file = PdfFile(fonts={"F1": composite_font(b"Kai", b"Identity-H", b"GB1")})
    file.pages.append(shown(bytes.fromhex("0e0d")) + b" /X1 Do")
    file.forms["X1"] = b"BT /F1 12 Tf 72 600 Td <06cd> Tj ET"
    both = document("a.pdf", file.to_bytes()).text
    assert len(both.split()) == 2
    assert "\ufffd" not in both


def test_a_file_whose_pages_take_ten_minutes_together_is_refused(
    reject: Callable[..., Reject], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = count(0.0, 250.0)
    monkeypatch.setattr("millrace.tasks.documents.pdf.reader.time.process_time", lambda: next(seconds))
    file = PdfFile()
    for _ in range(5):
        file.add_page(PROSE)
    refused = reject("a.pdf", file.to_bytes())
    assert (refused.item, refused.reason) == ("", "timeout")
    assert refused.message == "Reading its pages took more than 601 s of CPU."


def test_objects_that_are_not_where_the_file_says_are_all_found_in_one_pass(
    document: Callable[..., Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """pypdf searches the file for each of them: a file of 3,000 pages took 13 s to open, one of 20,000 ten minutes."""
    sound = PdfFile().add_page(PROSE).add_page("Second page", PROSE).to_bytes()
    head, table, tail = sound.rpartition(b"xref\n0 ")
    moved = re.sub(rb"(\d{10}) 00000 n ", lambda entry: b"%010d 00000 n " % (int(entry[1]) + 7), tail)
    monkeypatch.setattr("pypdf._reader.get_stream_data", lambda _: pytest.fail("the file is searched for one object"))
    assert document("a.pdf", head + table + moved).text == document("a.pdf", sound).text


def test_a_reference_to_an_object_that_is_nowhere_is_a_reference_to_nothing(
    document: Callable[..., Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pypdf._reader.get_stream_data", lambda _: pytest.fail("the file is searched for one object"))
    dangling = PdfFile(info=b"/Title 9999 0 R").add_page(PROSE)
    assert document("mill.pdf", dangling.to_bytes()).title == "mill"


def test_an_engine_that_is_not_installed_is_named_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r'pip install "millrace\[pdfium\]"'):
        DocumentOptions(pdf_engine="pdfium")


def test_a_short_page_with_a_small_image_is_no_scan(document: Callable[..., Document]) -> None:
    page = b"BT /F1 12 Tf 72 700 Td (Chapter 1) Tj ET q /Im1 Do Q"
    assert document("a.pdf", PdfFile(pages=[page], images={"Im1": (60, 60)}).to_bytes()).text == "Chapter 1"


def test_a_file_without_one_usable_page_is_one_reject(reject: Callable[..., Reject]) -> None:
    found = reject("scan.pdf", PdfFile(pages=[b"/Im1 Do"] * 40, images={"Im1": (900, 900)}).to_bytes())
    assert (found.item, found.reason) == ("", "no_text_layer")
    assert "None of 40 pages" in found.message
    assert "40 page_scanned" in found.message


def encrypted(path: Path, user_password: str) -> bytes:
    from pypdf import PdfReader, PdfWriter

    path.write_bytes(PdfFile().add_page(PROSE).to_bytes())
    writer = PdfWriter(clone_from=PdfReader(path))
    writer.encrypt(user_password=user_password, owner_password="owner", algorithm="AES-256")
    writer.write(path)
    return path.read_bytes()


def test_an_encrypted_file_opens_with_an_empty_password_and_with_no_other(tmp_path: Path, read: Read) -> None:
    [opened] = read("a.pdf", encrypted(tmp_path / "a.pdf", ""))
    [locked] = read("b.pdf", encrypted(tmp_path / "b.pdf", "secret"))
    assert isinstance(opened, Document)
    assert opened.text == PROSE
    assert isinstance(locked, Reject)
    assert locked.reason == "encrypted"


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda data: data[: data.index(b"xref")], PROSE),
        (lambda data: b"HTTP/1.1 200 OK\r\n" * 100 + data, PROSE),
        (lambda data: data.replace(b"startxref", b"startxrex"), PROSE),
        (lambda data: data.replace(b"/Kids [", b"/Kids [2 0 R "), PROSE),
    ],
    ids=["cut off before its table", "after a header", "without its end", "with a page tree that holds itself"],
)
def test_a_damaged_file_is_read_as_far_as_its_objects_go(
    document: Callable[..., Document], damage: Callable[[bytes], bytes], text: str
) -> None:
    assert document("a.pdf", damage(PdfFile().add_page(PROSE).to_bytes())).text == text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<!DOCTYPE html><title>404</title>", "not_a_pdf"),
        (b"", "not_a_pdf"),
        (b"%PDF-1.7\n", "damaged"),
        (PdfFile().add_page(PROSE).to_bytes()[:200], "damaged"),
        (PdfFile().to_bytes(), "damaged"),
        (PdfFile(broken_pages=frozenset([1])).add_page(PROSE).to_bytes(), "damaged"),
    ],
    ids=["web page", "nothing", "header only", "cut off early", "no pages", "only a broken page"],
)
def test_what_cannot_be_read_at_all_is_one_reject(reject: Callable[..., Reject], data: bytes, reason: str) -> None:
    found = reject("a.pdf", data)
    assert (found.item, found.reason) == ("", reason)
    assert found.remedy


def test_each_unit_is_announced_and_one_that_hung_is_not_touched_again(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(PdfFile(bookmarks=[("One", 1)]).add_page("One").add_page("Two").add_page("Three").to_bytes())
    announced: list[str] = []
    skip = {"page 2": "timeout: 60 s", "outline": "died: killed"}
    found, *rejects = read_documents(source_file(path), DocumentOptions(), skip=skip, at=announced.append)
    assert announced == ["", "page 1", "page 3"]
    assert isinstance(found, Document)
    assert (found.text, found.headings) == ("One\n\nThree", ())
    assert [(r.item, r.reason) for r in rejects if isinstance(r, Reject)] == [
        ("page 2", "timeout"),
        ("outline", "reader_died"),
    ]


def test_a_file_that_hung_while_it_was_opened_is_not_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(b"never read")
    [found] = read_documents(source_file(path), DocumentOptions(), skip={"": "timeout: 60 s"}, at=pytest.fail)
    assert isinstance(found, Reject)
    assert (found.item, found.reason) == ("", "timeout")


def test_what_pypdf_mutters_reaches_nobody(
    document: Callable[..., Document], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = PdfFile().add_page(PROSE).to_bytes().replace(b"startxref\n", b"startxref\n9")
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        document("a.pdf", data)
    assert (*capfd.readouterr(), caplog.text, warned) == ("", "", "", [])


def test_memory_does_not_grow_with_the_number_of_pages(document: Callable[..., Document]) -> None:
    def peak_of(pages: int) -> int:
        content = PdfFile().add_page(PROSE).pages[0] + b" % a comment" * 20_000
        data = PdfFile(pages=[content] * pages, is_compressed=True).to_bytes()
        tracemalloc.start()
        try:
            document("long.pdf", data)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_of(1)  # the first file also brings the reader's modules
    assert peak_of(160) < peak_of(40) + 1_000_000  # the contents of 120 pages have 31 MB
