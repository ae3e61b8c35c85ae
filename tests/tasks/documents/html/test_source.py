"""A page takes a time that grows with its length, whatever its markup."""

from contextlib import suppress
from functools import partial

import pytest

from millrace.tasks.documents.html import read_html
from millrace.tasks.documents.html.source import MAX_DEPTH, repaired_source
from millrace.tasks.errors import Rejected
from tests.tasks.documents.growth import growth, hostile_blocks, repeated

KNOWN = [
    "<summary>", "<search>", "<ul><li>x", "<details>", "<table><tr><td>x", "<h1 ", "<!--", '<p a="<" ', "<b><div></b>",
    "<td colspan=999>x<td>y", "<sup>", "<a>Prev</a> |", "<rt>",
]  # fmt: skip
PIECES = [
    *KNOWN, "<li>", "<table><tr>", "<dl><dd>", "<b>", "<span><div></span>", "<p>x", "<h1>", "<p a='<'", "<a href=\"",
    "<aaaa", "<![CDATA[", "<td rowspan=999>x", "<del>x", "<header>x", "<div class=nav>x", "<math><msup>", "<script>",
    "<svg><g>", "<button>", "<ruby><rt>", "<select><option>", "<pre>", "<blockquote>", "<object>", "<ol reversed><li>",
    " ", "\n", "中", "&amp", "<", "</", "</div>", "</p>", "</table>",
]  # fmt: skip


@pytest.mark.parametrize("block", KNOWN)
def test_the_time_grows_with_the_page(block: str) -> None:
    assert growth(_read, partial(repeated, block)) <= 2.5


@pytest.mark.slow
@pytest.mark.parametrize("block", hostile_blocks(PIECES, seeds=60))
def test_the_time_grows_with_any_page(block: str) -> None:
    assert growth(_read, partial(repeated, block)) <= 2.5


@pytest.mark.parametrize(
    "start", ['<?xml version="1.0"?>', "<!DOCTYPE html><p "], ids=["in XHTML", "in the attributes of a tag"]
)
@pytest.mark.parametrize("block", ["<aaaa", "<b/>", "a='<' ", "='"])
def test_the_time_grows_with_the_page_that_begins_so(start: str, block: str) -> None:
    assert growth(_read, lambda size: start + block * (size // len(block))) <= 2.5


def test_formatting_elements_that_are_never_closed_do_not_multiply() -> None:
    page = "".join(f"<p><font color={i}>x" for i in range(20_000))
    assert growth(_read, lambda size: page[:size]) <= 2.5


def _read(page: str) -> None:
    with suppress(Rejected):  # a frameset
        read_html(page)


def test_an_ordinary_page_is_parsed_as_it_is() -> None:
    page = "<!DOCTYPE html><html><body>" + "<div><p>words <b>and</b> more<ul><li>one<li>two</ul></div>" * 500
    assert repaired_source(page) == page


def test_only_the_elements_that_lie_too_deep_lose_their_tags() -> None:
    page = "<div>" * (MAX_DEPTH + 5) + "<p>deep</p>" + "</div>" * (MAX_DEPTH + 5) + "<h2>after</h2>"
    assert repaired_source(page).count("<div>") == MAX_DEPTH
    assert read_html(page).text == "deep\n\nafter"


def test_elements_whose_end_tags_are_left_out_are_not_nested() -> None:
    page = "<table>" + "<tr><td><p><b>x</b><td>y" * 2_000 + "</table><ul>" + "<li><i>z" * 2_000
    assert repaired_source(page).count("<td>") == 4_000
    assert read_html(page).text.splitlines()[-1] == "- z"


@pytest.mark.parametrize(
    "page",
    [
        "<script>if (a<b && c == \"x>\") { document.write('<div>') }</script>",
        "<style>a::before { content: '<p a=\"' }</style>",
        "<!-- <p a='> -->",
        '<title><b a="</title>',
        "<p title='a > b'>",
    ],
)
def test_what_only_looks_like_a_tag_hides_no_text(page: str) -> None:
    assert read_html(page + "<p>kept</p>" * 300).text.count("kept") == 300
