"""Markdown is kept as it is; its headings are found where CommonMark has them."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.documents.markup import read_markdown
from millrace.tasks.records import Document


def headings(text: str) -> list[tuple[int, str]]:
    return [(h.level, h.title) for h in read_markdown(text).headings]


def test_text_is_untouched_and_headings_point_at_their_lines(document: Callable[..., Document]) -> None:
    text = "intro\r\n\r\n# 水闸 #\r\n正文\r\n\r\n## Opening\r\n"
    found = document("a.md", text)
    assert found.text == text
    assert [text[h.start :].split("\r\n", maxsplit=1)[0] for h in found.headings] == ["# 水闸 #", "## Opening"]
    assert found.title == "水闸"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# One\n###### Six\n####### Seven\n", [(1, "One"), (6, "Six")]),
        ("#No space\n#\n# \n", []),
        ("   ## Three spaces\n    ## Four\n", [(2, "Three spaces")]),
        ("Setext\n===\n\nSecond\n---\n", [(1, "Setext"), (2, "Second")]),
        ("Two lines\nof title\n---\n", [(2, "Two lines of title")]),
        ("- item\n---\n\n> quote\n---\n\n| a | b |\n|---|---|\n", []),
        ("\n---\n\n***\n\n===\n", []),
        ("para\n\n---\n", []),
        ('<h2 align="center">\n  <img src="x"/> 标题 &amp; more\n</h2>\n', [(2, "标题 & more")]),
        ("```sh\n# comment\n```\n# Real\n", [(1, "Real")]),
        ("~~~~\n```\n# comment\n~~~\n# comment\n~~~~~\n# Real\n", [(1, "Real")]),
        ("```\n# never closed\n", []),
        ("``` `x` ```\n# Real\n", [(1, "Real")]),
        ("<!-- # no\n# no -->\n# Real\n", [(1, "Real")]),
        ("`<!--` is how a comment begins\n\n# Real\n", [(1, "Real")]),
        ("text <!-- in a line --> text\n# Real\n", [(1, "Real")]),
    ],
)
def test_headings_are_those_of_commonmark(text: str, found: list[tuple[int, str]]) -> None:
    assert headings(text) == found


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ("The **`run`** command, see [docs](http://x) {#run}", "The run command, see docs"),
        ("![logo](a.png) ~~Old~~ *new* name", "logo Old new name"),
        ("snake_case and 2 * 3 * 4", "snake_case and 2 * 3 * 4"),
        (r"C\# and \*stars\*", "C# and *stars*"),
        ("<a name='x'></a>Anchored", "Anchored"),
    ],
)
def test_titles_are_without_marks(written: str, title: str) -> None:
    assert headings(f"# {written}\n") == [(1, title)]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("---\ntitle: '引水渠'\ntags: [a]\n---\n# Other\n", "引水渠"),
        ('+++\ntitle = "Weir"\n+++\n# Other\n', "Weir"),
        ("---\nlayout: page\n# comment\n---\n## Second level\n# First level\n", "First level"),
        ("## Only second\n", "Only second"),
        ("no heading\n", ""),
    ],
)
def test_the_title_is_the_front_matters_else_the_first_h1_else_the_first_heading(text: str, title: str) -> None:
    assert read_markdown(text).title == title


def test_without_a_heading_the_title_is_the_file_name(document: Callable[..., Document]) -> None:
    assert document("值班日志.md", "nothing more").title == "值班日志"


@given(
    st.lists(st.sampled_from(["# A", "B", "===", "---", "```", "~~~", "<!--", "-->", "", "    x", "> q", "- l", "中"]))
)
def test_headings_come_in_order_and_inside_the_text(lines: list[str]) -> None:
    text = "\n".join(lines)
    found = read_markdown(text)
    starts = [h.start for h in found.headings]
    assert starts == sorted(set(starts))
    for heading in found.headings:
        assert heading.start == 0 or text[heading.start - 1] == "\n"
        assert heading.title.split()[0] in text[heading.start :]
