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
        ("# A\nB\n---\n", [(1, "A"), (2, "B")]),
        ("B\n---\nC\n===\n", [(2, "B"), (1, "C")]),
        ("```\nx\n```\nB\n---\n", [(2, "B")]),
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
    found = read_markdown("\n".join(lines))
    text = found.text
    starts = [h.start for h in found.headings]
    assert starts == sorted(set(starts))
    for heading in found.headings:
        assert heading.start == 0 or text[heading.start - 1] == "\n"
        assert heading.title.split()[0] in text[heading.start :]


@pytest.mark.parametrize(
    ("front", "title"),
    [
        ("---\ntitle: Dotted end\n# not a heading\nkeywords: mill\n...\n", "Dotted end"),
        ("---\ntitle: >\n  A folded\n  title\ndate: 2026\n---\n", "A folded title"),
        ("---\ntitle: A plain title\n  that goes on  # and a comment\n---\n", "A plain title that goes on"),
        ('---\ntitle: "With \\"quotes\\": and a colon" # comment\n---\n', 'With "quotes": and a colon'),
        ("---\r\n# a comment\r\ntitle: 'It''s'\r\n---\r\n", "It's"),
    ],
)
def test_front_matter_gives_the_title_and_is_no_text(front: str, title: str) -> None:
    found = read_markdown(front + "# Real\n\nBody.\n")
    assert (found.title, found.text) == (title, "# Real\n\nBody.\n")
    assert [(h.title, h.start) for h in found.headings] == [("Real", 0)]


def test_a_thematic_break_at_the_beginning_is_no_front_matter() -> None:
    text = "---\n\nA paragraph that is no entry.\n\n---\n\n# Real\n"
    assert read_markdown(text).text == text
    assert headings(text) == [(1, "Real")]


def test_a_page_of_front_matter_alone_is_kept() -> None:
    text = "---\ntitle: Alone\ndescription: All there is.\n---\n"
    assert (read_markdown(text).text, read_markdown(text).title) == (text, "Alone")


def test_a_comment_inside_code_hides_no_heading() -> None:
    assert headings("```html\n<!-- begins\n```\n# One\n\ntext -->\n\n# Two\n") == [(1, "One"), (1, "Two")]
