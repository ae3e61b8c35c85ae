"""A PDF page is read as a person sees it: no more than is shown, and no less."""

from collections.abc import Callable

import pytest

from millrace.tasks.documents import PdfEngine
from millrace.tasks.records import Document, Reject
from tests.tasks.documents.conftest import Read
from tests.tasks.documents.pdf_files import HELVETICA, PROSE, PdfFile, composite_font


def line(text: str, x: float = 72, y: float = 700, size: float = 12, before: str = "") -> bytes:
    return f"BT /F1 {size} Tf {before} {x} {y} Td ({text}) Tj ET\n".encode()


@pytest.mark.parametrize(
    "again",
    [
        line("Opening hours", x=72.4),
        line("Opening hours", x=72.3, y=699.6),
        line("Opening hours", before="3 Tr"),
        b"BT /F1 12 Tf 72.4 700 Td [(Open) 20 (ing hours)] TJ ET\n",
    ],
    ids=["fake bold", "shadow", "invisible", "kerned"],
)
def test_text_drawn_twice_is_read_once(document: Callable[..., Document], again: bytes) -> None:
    file = PdfFile(pages=[line("Opening hours") + again + line(PROSE, y=600)])
    assert document("a.pdf", file.to_bytes()).text == f"Opening hours\n{PROSE}"


def test_equal_text_that_stands_elsewhere_is_no_second_drawing(document: Callable[..., Document]) -> None:
    letters = b"".join(line(letter, x=72 + at, y=600) for letter, at in (("a", 0), ("l", 6.7), ("l", 9.4), ("s", 12)))
    file = PdfFile(pages=[line("Total 12") + line("Total 12", y=686) + line("ha", y=650) + line("ha", x=86, y=650)])
    file.pages[0] += letters
    text = document("a.pdf", file.to_bytes()).text
    assert "".join(text.split()) == "Total12Total12hahaalls"


def test_an_invisible_layer_word_by_word_over_real_text_is_not_read(
    document: Callable[..., Document], engine: PdfEngine
) -> None:
    if engine == "pdfium":
        pytest.skip("pdfium leaves out what is drawn again in the same font and place only")
    words = [line(word, x=70 + 7 * at, y=701, before="3 Tr") for at, word in enumerate("The sluice is opened".split())]
    again = b"BT /F2 11.5 Tf 3 Tr 72.2 600.5 Td (Opening hours) Tj ET\n"
    file = PdfFile(fonts={"F1": HELVETICA, "F2": HELVETICA.replace(b"Helvetica", b"Courier")})
    file.pages = [
        line("The sluice is opened at dawn") + b"".join(words) + line("Opening hours", y=600, before="0 Tr") + again
    ]
    assert document("a.pdf", file.to_bytes()).text.split() == "The sluice is opened at dawn Opening hours".split()


@pytest.mark.parametrize(
    ("configuration", "layer", "is_read"),
    [
        (b"/OFF [4 0 R]", b"4 0 R", False),
        (b"/OFF []", b"4 0 R", True),
        (b"/BaseState /OFF", b"4 0 R", False),
        (b"/BaseState /OFF /ON [4 0 R]", b"4 0 R", True),
        (b"/OFF [4 0 R]", b"<< /Type /OCMD /OCGs [4 0 R 5 0 R] >>", True),
        (b"/OFF [4 0 R]", b"<< /Type /OCMD /OCGs [4 0 R 5 0 R] /P /AllOn >>", False),
        (b"/OFF [4 0 R 5 0 R]", b"<< /Type /OCMD /OCGs [4 0 R 5 0 R] >>", False),
    ],
)
@pytest.mark.parametrize("is_form", [False, True])
def test_a_layer_that_is_off_is_not_read(
    document: Callable[..., Document], configuration: bytes, layer: bytes, *, is_read: bool, is_form: bool
) -> None:
    file = PdfFile(extras=[b"<< /Type /OCG /Name (old) >>", b"<< /Type /OCG /Name (new) >>"])
    file.catalog = b"/OCProperties << /OCGs [4 0 R 5 0 R] /D << %s >> >>" % configuration
    file.resources = b"/Properties << /L1 %s >>" % layer
    file.forms["X1"] = line("one crown", y=500)
    hidden = b"/X1 Do" if is_form else line("one crown", y=500)
    file.pages.append(line(PROSE) + b"/OC /L1 BDC q " + hidden + b" Q EMC\n" + line("The end.", y=400))
    said = [PROSE, *(["one crown"] if is_read else []), "The end."]
    assert document("a.pdf", file.to_bytes()).text.split("\n") == said


def test_text_outside_the_crop_box_is_not_read(document: Callable[..., Document]) -> None:
    file = PdfFile(page_entries=b"/CropBox [50 100 500 792]")
    file.forms["X1"] = line("in a form below", y=20)
    file.pages.append(
        line("below", y=20) + line("above", y=850) + line("right", x=550) + b"/X1 Do\n" + line(PROSE, x=60, y=120)
    )
    assert document("a.pdf", file.to_bytes()).text == PROSE


def test_a_box_that_would_leave_nothing_is_not_believed(document: Callable[..., Document]) -> None:
    file = PdfFile(page_entries=b"/CropBox [0 0 612 100]", pages=[line(PROSE)])
    assert document("a.pdf", file.to_bytes()).text == PROSE


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"(flow 10) Tj /F1 7 Tf 5 Ts (6) Tj 0 Ts /F1 12 Tf ( litres) Tj", "flow 10^6 litres"),
        (b"(flow 10) Tj /F1 7 Tf 38.1 4.4 Td (6) Tj /F1 12 Tf 5 -4.4 Td ( litres) Tj", "flow 10^6 litres"),
        (b"(area 25 m) Tj /F1 7 Tf 5 Ts (2) Tj", "area 25 m^2"),
        (b"(H) Tj /F1 7 Tf -3 Ts (2) Tj 0 Ts /F1 12 Tf (O) Tj", "H2O"),
        (b"(gate 10) Tj /F1 7 Tf (6) Tj", "gate 106"),
    ],
    ids=["risen", "moved", "a unit", "lowered", "smaller"],
)
def test_raised_figures_are_told_from_the_number_before(
    document: Callable[..., Document], content: bytes, text: str
) -> None:
    file = PdfFile(pages=[b"BT /F1 12 Tf 72 700 Td " + content + b" ET\n" + line(PROSE, y=600)])
    assert " ".join(document("a.pdf", file.to_bytes()).text.split("\n")[:-1]).replace("  ", " ") == text


def test_actual_text_stands_for_the_glyphs_it_describes(document: Callable[..., Document]) -> None:
    spelled = b"/Span << /ActualText <feff%s> >> BDC " % "spillway".encode("utf-16-be").hex().encode()
    file = PdfFile(pages=[line(PROSE) + spelled + line("spill-", y=480) + line("way", y=466) + b"EMC"])
    assert document("a.pdf", file.to_bytes()).text == f"{PROSE}\nspillway"


def test_the_hyphen_of_winansi_is_a_hyphen(document: Callable[..., Document]) -> None:
    file = PdfFile(pages=[line("The well\\255known mill") + line(PROSE, y=600)])
    assert document("a.pdf", file.to_bytes()).text == f"The well-known mill\n{PROSE}"


def font_of(text: str, *, encoding: bytes = b"Identity-H") -> tuple[PdfFile, Callable[[str], bytes]]:
    """A file with a font of which only a ToUnicode table (object 4) names the characters, and how to show a text."""
    characters = list(dict.fromkeys(text))
    table = b"\n".join(
        b"<%04x> <%s>" % (code, c.encode("utf-16-be").hex().encode()) for code, c in enumerate(characters, start=1)
    )
    table = (
        b"begincmap 1 begincodespacerange <0000> <ffff> endcodespacerange %d beginbfchar\n%s\nendbfchar endcmap"
    ) % (len(characters), table)
    extras = [b"<< /Length %d >>\nstream\n%s\nendstream" % (len(table), table)]
    font = composite_font(b"Made", encoding, b"Identity", b"/ToUnicode 4 0 R").replace(b"/DW 1000", b"/DW 500")
    return PdfFile(fonts={"F1": font, "F2": HELVETICA}, extras=extras), lambda words: b"".join(
        b"%04x" % (characters.index(c) + 1) for c in words
    )


def test_a_number_in_arabic_comes_where_it_is_read(document: Callable[..., Document]) -> None:
    words = "محمد يعمل في الطاحونة"
    file, codes = font_of(words + "0123456789")
    file.pages.append(b"BT /F1 12 Tf 300 740 Td <%s> Tj ET" % codes("21 " + words[::-1]))
    assert document("a.pdf", file.to_bytes()).text == f"{words} 21"


def test_columns_of_japanese_are_read_from_top_to_bottom(document: Callable[..., Document]) -> None:
    right, left = "いつもおせわに", "なっております"
    file, codes = font_of(right + left)
    file.pages.append(
        b"".join(
            b"BT /F1 12 Tf 1 0 0 1 %d %d Tm <%s> Tj ET\n" % (400 - 20 * column, 740 - 14 * row, codes(character))
            for column, characters in enumerate((right, left))
            for row, character in enumerate(characters)
        )
    )
    assert document("a.pdf", file.to_bytes()).text.split("\n") == [right, left]


def test_columns_of_a_font_that_writes_downwards_come_from_right_to_left(document: Callable[..., Document]) -> None:
    right, left = "いつもおせわに", "なっております"
    file, codes = font_of(right + left, encoding=b"Identity-V")
    file.pages.append(
        b"BT /F1 12 Tf 1 0 0 1 400 740 Tm <%s> Tj ET\nBT /F1 12 Tf 1 0 0 1 380 740 Tm <%s> Tj ET\n"
        % (codes(right), codes(left))
    )
    assert "".join(document("a.pdf", file.to_bytes()).text.split()) == right + left


def test_form_fields_and_typed_text_are_part_of_the_page(document: Callable[..., Document]) -> None:
    file = PdfFile(page_entries=b"/Annots [4 0 R 5 0 R 6 0 R 7 0 R 8 0 R 9 0 R 10 0 R]")
    widget = b"<< /Type /Annot /Subtype /Widget /Rect [200 700 400 720] %s >>"
    file.extras = [
        widget % b"/FT /Tx /T (f1) /TU (Visitor) /V (Marta Lindqvist) /F 4",
        widget % b"/Parent << /FT /Ch /T (f2) /V [(red) (green)] >>",
        b"<< /Type /Annot /Subtype /FreeText /Rect [0 0 9 9] /Contents (typed onto it) >>",
        widget % b"/FT /Tx /T (f3) /V (hidden) /F 2",
        widget % b"/FT /Tx /T (f4) /V (secret) /Ff 8192",
        widget % b"/FT /Btn /T (f5) /V /Off",
        b"<< /Type /Annot /Subtype /Text /Rect [0 0 9 9] /Contents (a note that is closed) >>",
    ]
    file.catalog = b"/AcroForm << /Fields [4 0 R 5 0 R 7 0 R 8 0 R 9 0 R] >>"
    shown = ["Visitor: Marta Lindqvist", "red, green", "typed onto it"]
    text = document("a.pdf", PdfFile(**vars(file)).add_page(PROSE).to_bytes()).text
    assert [word for word in text.split("\n") if word] == [PROSE, *shown]
    file.pages = [b""]
    alone = document("b.pdf", file.to_bytes())
    assert (alone.text.split("\n"), alone.blank_pages) == (shown, 0)


@pytest.mark.parametrize("needs_rendering", [b"/NeedsRendering true", b""])
def test_a_form_whose_page_only_says_please_wait_is_a_reject(
    reject: Callable[..., Reject], needs_rendering: bytes
) -> None:
    file = PdfFile(catalog=needs_rendering + b" /AcroForm << /Fields [] /XFA (<xdp/>) >>")
    file.add_page("Please wait...", "If this message is not eventually replaced by the contents of the document")
    found = reject("a.pdf", file.to_bytes())
    assert (found.item, found.reason, "Adobe" in found.remedy) == ("", "xfa_form", True)


def with_attachment(name: bytes, catalog: bytes = b"") -> PdfFile:
    file = PdfFile(catalog=catalog + b" /Names << /EmbeddedFiles << /Names [(%s) 5 0 R] >> >>" % name)
    file.extras = [
        b"<< /Length 4 /Type /EmbeddedFile >>\nstream\ndata\nendstream",
        b"<< /Type /Filespec /F (%s) /EF << /F 4 0 R >> >>" % name,
    ]
    return file.add_page(PROSE)


def test_attached_documents_are_named_and_data_is_not(read: Read, document: Callable[..., Document]) -> None:
    found, named = read("a.pdf", with_attachment(b"contract.pdf").to_bytes())
    assert isinstance(found, Document)
    assert isinstance(named, Reject)
    assert (named.item, named.reason) == ("attachments", "attachments_not_read")
    assert "contract.pdf" in named.message
    assert document("b.pdf", with_attachment(b"factur-x.xml").to_bytes()).text == PROSE


def test_a_portfolio_is_a_reject_that_names_its_files(reject: Callable[..., Reject]) -> None:
    found = reject("a.pdf", with_attachment(b"contract.pdf", b"/Collection << /View /D >>").to_bytes())
    assert (found.item, found.reason) == ("", "portfolio")
    assert "contract.pdf" in found.message


@pytest.mark.parametrize("count", [0, 1, 7, 1_000_000])
def test_all_pages_are_read_whatever_the_page_tree_counts(document: Callable[..., Document], count: int) -> None:
    file = PdfFile(count=count).add_page("one").add_page("two").add_page("three")
    assert document("a.pdf", file.to_bytes()).text == "one\n\ntwo\n\nthree"
