"""Where a text may be cut, and of which kind each place is."""

import numpy as np
import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.chunking import Tokenizer
from millrace.tasks.chunking.anchors import _RangeMinimum
from millrace.tasks.chunking.boundaries import Kind, TextWindow, skip_space
from millrace.tasks.chunking.characters import SPACE, WORD, class_table, code_points, line_ends, sure_breaks

_TRICKY = [
    "👨‍👩‍👧",
    "🇨🇳",
    "🇺",
    "e\u0301",
    "\u0301",
    "\u200d",
    "क्त",
    "क",
    "\u0600",
    "\u1112",
    "\u1161",
    "\u11ab",
    "한",
    "ำ",
    "\r",
    "\n",
    "a",
]


def _kinds(text: str, tokenizer: Tokenizer, headings: tuple[int, ...] = ()) -> list[tuple[str, str]]:
    """What precedes each boundary since the one before, and its kind."""
    b = TextWindow(text, 0, len(text), headings, tokenizer).boundaries
    pieces = zip([0, *b.starts], b.ends, b.kinds, strict=False)
    return [(text[start:end], Kind(kind).name) for start, end, kind in pieces][:-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", [("a", "WORD")]),
        ("Yes, he did. So?", [("Yes,", "CLAUSE"), ("he", "WORD"), ("did.", "SENTENCE")]),
        ('"Stop!" he said', [('"Stop!"', "SENTENCE"), ("he", "WORD")]),
        ("ask Dr. A. B. Chen", [("ask", "WORD"), ("Dr.", "WORD"), ("A.", "WORD"), ("B.", "WORD")]),
        ("version 3.11 of", [("version", "WORD"), ("3.11", "WORD")]),
        ("他来了。“走吧！”我说，好", [("他来了。", "SENTENCE"), ("“走吧！”", "SENTENCE"), ("我说，", "CLAUSE")]),
        ("行きます。はい、どうぞ", [("行きます。", "SENTENCE"), ("はい、", "CLAUSE")]),
        ("一……二——三", [("一……", "CLAUSE"), ("二——", "CLAUSE")]),
        ("one.\ntwo.\nthree\n4", [("one.", "FULL_LINE"), ("two.", "FULL_LINE"), ("three", "LINE")]),
        ("one\ntwo.\nthree", [("one", "LINE"), ("two.", "LINE")]),
        ("one\r\ntwo\rthree", [("one", "LINE"), ("two", "LINE")]),
        ("one\n \ntwo\r\n\r\nthree", [("one", "PARAGRAPH"), ("two", "PARAGRAPH")]),
    ],
)
def test_kinds_of_boundaries(tokenizer: Tokenizer, text: str, expected: list[tuple[str, str]]) -> None:
    assert _kinds(text, tokenizer) == expected


def test_a_heading_stays_with_its_text(tokenizer: Tokenizer) -> None:
    text = "Before.\n\n## A fine title\n\nIts text"
    assert _kinds(text, tokenizer, (9,)) == [
        ("Before.", "HEADING"),
        *[(word, "HEADING_LINE") for word in ("##", "A", "fine", "title")],
        ("Its", "WORD"),
    ]


def test_the_rules_around_a_title_belong_to_the_heading(tokenizer: Tokenizer) -> None:
    text = "x\n=====\nTitle\n=====\nText here"
    assert [kind for _, kind in _kinds(text, tokenizer, (2,))] == ["HEADING", *["HEADING_LINE"] * 3, "WORD"]


@given(st.lists(st.one_of(st.sampled_from(_TRICKY), st.characters(exclude_categories=["Cs"]))).map("".join))
def test_a_sure_break_is_always_between_two_graphemes(text: str) -> None:
    sure = np.flatnonzero(sure_breaks(class_table()[code_points(text)]))
    assert set(sure.tolist()) <= {0, *(m.end() for m in regex.finditer(r"\X", text))}


def test_classes_agree_with_python_on_every_code_point() -> None:
    points = [p for p in range(0x110000) if not 0xD800 <= p < 0xE000]
    classes = class_table()[points]
    assert [bool(c) for c in classes & SPACE] == [chr(p).isspace() for p in points]
    low = [i for i, p in enumerate(points) if p < 0x20000]
    assert [bool(classes[i] & WORD) for i in low] == [chr(points[i]).isalnum() for i in low]


@given(st.text("a \n\r\x0b\x0c\x1c\x85\u2028"))
def test_lines_are_counted_as_python_counts_them(text: str) -> None:
    expected = len((text + "a").splitlines()) - 1
    alone = line_ends(class_table()[code_points(text)])
    # A carriage return at the very end is one line end with what may follow.
    assert int(alone.sum()) == expected


@given(st.text(" \t\n\u3000a"), st.integers(0, 10))
def test_skip_space_finds_what_strip_would_leave(text: str, position: int) -> None:
    assert text[skip_space(text, position) :] == text[position:].lstrip()


@given(st.data(), st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_range_minimum_is_the_minimum_of_each_range(data: st.DataObject, values: list[int]) -> None:
    ranges = data.draw(st.lists(st.tuples(st.integers(0, len(values)), st.integers(0, len(values))), min_size=1))
    first = np.array([min(r) for r in ranges])
    last = np.array([max(r) for r in ranges])
    least = _RangeMinimum(np.array(values, dtype=np.uint64), int((last - first).max()))(first, last)
    expected = [min(values[a:b], default=2**64 - 1) for a, b in zip(first, last, strict=True)]
    assert least.tolist() == expected


def test_equal_surroundings_hash_alike_wherever_they_stand(tokenizer: Tokenizer) -> None:
    passage = "x" * 30 + " here is the place " + "y" * 60
    window = TextWindow("intro " + passage + " and " + passage, 0, 10_000, (), tokenizer)
    places = np.array([6 + 31, 6 + len(passage) + 5 + 31, 40])
    first, second, other = window.hashes(places).tolist()
    assert first == second != other
