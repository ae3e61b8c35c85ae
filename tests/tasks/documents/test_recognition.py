"""Text recognition: Chinese and English as they are on the page, in reading order, once, and only where it is needed."""

import io
from pathlib import Path

import pytest
from PIL import Image

from millrace.tasks.documents import DocumentOptions, ParsedFiles, read_documents
from millrace.tasks.documents.pdf import recognition as page_recognition
from millrace.tasks.documents.pdf.picture import page_pictures
from millrace.tasks.documents.recognition import Line, as_text
from millrace.tasks.records import Document, Reject
from tests.tasks.documents.conftest import source_file
from tests.tasks.documents.test_external import Kept

SAMPLE = Path(__file__).parents[3] / "data" / "sample"


def top_of(name: str) -> Image.Image:
    """The first lines of a sample at 150 dpi, cut between two of them."""
    page = next(page_pictures(source_file(SAMPLE / name), [1], dpi=150)).convert("L")
    between = next(y for y in range(300, 200, -1) if page.crop((0, y, page.width, y + 1)).getextrema() == (255, 255))
    return page.crop((0, 0, page.width, between))


def scan_of(*pictures: Image.Image) -> bytes:
    """A PDF of nothing but these pictures."""
    written = io.BytesIO()
    pictures[0].save(written, "PDF", save_all=True, append_images=pictures[1:], resolution=150)
    return written.getvalue()


def edits(a: str, b: str) -> int:
    """The fewest insertions, deletions and replacements that make one of the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def test_chinese_and_english_are_recognized_on_scans_and_in_pictures(tmp_path: Path) -> None:
    scan, picture = tmp_path / "scan.pdf", tmp_path / "a.png"
    scan.write_bytes(scan_of(top_of("restoration-report.zh.pdf")))
    top_of("flood-and-low-water-plan.pdf").save(picture)
    for path, sample in ((scan, "restoration-report.zh.pdf"), (picture, "flood-and-low-water-plan.pdf")):
        [found] = read_documents(source_file(path), DocumentOptions(ocr="all"))
        assert isinstance(found, Document)
        [original] = read_documents(source_file(SAMPLE / sample), DocumentOptions())
        assert isinstance(original, Document)
        text = "".join(found.text.split())
        assert len(text) > 40
        assert edits(text, "".join(original.text.split())[: len(text)]) <= 0.02 * len(text)


def test_only_pages_without_text_are_recognized_and_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recognized: list[tuple[int, int]] = []

    def recognize(picture: Image.Image) -> str:
        recognized.append(picture.size)
        return "the miller's own hand" if picture.getbbox() and len(recognized) == 1 else ""

    monkeypatch.setattr(page_recognition, "recognize", recognize)
    path, kept = tmp_path / "scan.pdf", Kept()
    path.write_bytes(scan_of(Image.new("L", (800, 600), 128), Image.new("L", (400, 300), 90)))
    announced: list[str] = []

    def read(*, may_recognize: bool = True, ocr: str = "pages") -> list[object]:
        options = DocumentOptions(ocr=ocr, may_recognize=may_recognize)  # type: ignore[arg-type]
        return list(read_documents(source_file(path), options, at=announced.append, parsed=ParsedFiles(kept)))

    planned = read(may_recognize=False)
    assert [(one.item, one.reason) for one in planned if isinstance(one, Reject)] == [
        ("page 1", "page_not_recognized"),
        ("page 2", "page_not_recognized"),
    ]
    assert recognized == []
    document, reject = read()
    assert isinstance(document, Document)
    assert (document.text, document.pages[0].number) == ("the miller's own hand", 1)
    assert isinstance(reject, Reject)
    assert (reject.item, reject.reason) == ("page 2", "page_scanned")
    assert "Text recognition found no text in it." in reject.message
    assert announced.count("text recognition of page 1") == 1
    assert read() == [document, reject] == read(may_recognize=False)
    assert len(recognized) == 2
    [refused] = read(ocr="off")
    assert isinstance(refused, Reject)
    assert refused.reason == "no_text_layer"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"\x89PNG\r\n\x1a\n broken", "damaged"), (b"", "empty"), (b"GIF8", "damaged")]
)
def test_a_picture_that_cannot_be_decoded_is_a_reject(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    [reject] = read_documents(source_file(path), DocumentOptions(ocr="all"))
    assert isinstance(reject, Reject)
    assert reject.reason == reason


def test_a_picture_of_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 6_000)).save(path)
    [reject] = read_documents(source_file(path), DocumentOptions(ocr="all"))
    assert isinstance(reject, Reject)
    assert reject.reason == "too_large"
    assert "20,000 times 6,000 pixels" in reject.message


def test_columns_are_read_one_after_the_other_and_rows_of_a_table_are_not() -> None:
    head = Line("Head", 0, 0, 1000, 20)
    left = [Line(f"left {n}", 0, 40 + 30 * n, 450, 60 + 30 * n) for n in range(3)]
    right = [Line(f"right {n}", 550, 41 + 30 * n, 1000, 61 + 30 * n) for n in range(3)]
    assert as_text([*right, head, *left]) == "Head\n\nleft 0\nleft 1\nleft 2\n\nright 0\nright 1\nright 2"
    cells = [
        Line(f"{word}{n}", x, 40 + 30 * n, x + 80, 60 + 30 * n) for n in range(2) for word, x in (("a", 0), ("b", 500))
    ]
    assert as_text([head, *cells]) == "Head\n\na0 b0\na1 b1"


def test_a_blank_line_stands_between_paragraphs() -> None:
    lines = [Line(text, 0, top, 500, top + 20) for text, top in (("one", 0), ("two", 26), ("three", 90))]
    assert as_text(lines) == "one\ntwo\n\nthree"
    assert as_text([]) == ""
