"""reStructuredText is kept as it is; its sections are those of docutils."""

from collections.abc import Callable

import pytest

from millrace.tasks.documents.markup import read_restructured
from millrace.tasks.records import Document


def headings(text: str) -> list[tuple[int, str]]:
    return [(h.level, h.title) for h in read_restructured(text).headings]


def test_levels_follow_the_order_in_which_the_styles_appear(document: Callable[..., Document]) -> None:
    text = "=====\nTitle\n=====\n\nA\n=\n\nA.1\n---\n\nB\n=\n\n水闸\n----\n\nend\n"
    found = document("a.rst", text)
    assert headings(text) == [(1, "Title"), (2, "A"), (3, "A.1"), (2, "B"), (3, "水闸")]
    assert [text[h.start :].split("\n", maxsplit=1)[0] for h in found.headings] == ["Title", "A", "A.1", "B", "水闸"]
    assert found.title == "Title"
    assert found.text == text


@pytest.mark.parametrize(
    "text",
    [
        "a paragraph\nof two lines\n============\n",
        "before\n\n------\n\nafter\n",
        "code::\n\n    Title\n    =====\n",
        "=====  =====\nA      B\n=====  =====\n1      2\n=====  =====\n",
        "+-----+\n| A   |\n+-----+\n",
        "Too long a title\n==\n",
    ],
)
def test_what_only_looks_like_a_section_is_none(text: str) -> None:
    assert headings(text) == []


@pytest.mark.parametrize(
    ("written", "title"),
    [
        (":mod:`array` --- Efficient *arrays*", "array --- Efficient arrays"),
        ("Using :doc:`pdb <library/pdb>` with ``pytest``", "Using pdb with pytest"),
        ("`Docutils <http://x>`__ and Sphinx_ Guide", "Docutils and Sphinx Guide"),
        (r"A \* star", "A * star"),
    ],
)
def test_titles_are_without_marks(written: str, title: str) -> None:
    assert headings(f"{written}\n{'=' * 60}\n") == [(1, title)]


def test_line_ends_of_windows_are_no_obstacle() -> None:
    assert headings("Title\r\n=====\r\n\r\ntext\r\n\r\nSub\r\n---\r\n") == [(1, "Title"), (2, "Sub")]
