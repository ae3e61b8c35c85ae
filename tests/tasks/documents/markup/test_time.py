"""Markdown, reStructuredText and plain text take a time that grows with their length, whatever is in them."""

from collections.abc import Callable
from functools import partial

import pytest

from millrace.tasks.documents.markup import read_markdown, read_restructured
from millrace.tasks.documents.markup.plain_text import readable
from tests.tasks.documents.growth import growth, hostile_blocks, repeated

KNOWN = [
    "# a" + " " * 30,
    "[",
    "](",
    "<a",
    "``a",
    "*a",
    "<!--`",
    "\n<h2 ",
    "<h1>\n",
    "\n----- x",
    "###### a #_a*+++\n---\na: ",
]
PIECES = [
    *KNOWN, "![", "`", "**a", "~~a", "\\", "{#", "<!--", "<h1 ", "\n# ", "\n#", "\n```", "\n~~~~", "---\n", "\n---", "\n===",
    "a\n", ":a:a", ":a:`", "``", "`a <", "_", "a_ ", "\n=====\nT\n", "\nT\n=", " ", "\t", "\n", "word ", "中", "\n- ", "\n> ",
    "title: ", "...\n", "</h1", "&amp",
]  # fmt: skip


@pytest.mark.parametrize("block", KNOWN, ids=ascii)
def test_the_time_grows_with_the_markdown(block: str) -> None:
    assert growth(read_markdown, partial(repeated, block)) <= 2.5
    assert growth(read_markdown, lambda size: "# " + repeated(block, size)) <= 2.5


@pytest.mark.parametrize("block", [":a:a", ":a:`", "`a <", "\nT\n="], ids=ascii)
def test_the_time_grows_with_the_restructured_text(block: str) -> None:
    assert growth(read_restructured, lambda size: repeated(block, size) + "\n====\n") <= 2.5


@pytest.mark.slow
@pytest.mark.parametrize("block", hostile_blocks(PIECES, seeds=60), ids=ascii)
@pytest.mark.parametrize("read", [read_markdown, read_restructured])
def test_the_time_grows_with_any_text(read: Callable[[str], object], block: str) -> None:
    assert growth(read, lambda size: "# " + repeated(block, size) + "\n====\n") <= 2.5


@pytest.mark.parametrize("block", ["title: ", " a: b\n", "  x\n"], ids=ascii)
def test_the_time_grows_with_the_front_matter(block: str) -> None:
    assert growth(read_markdown, lambda size: "---\ntitle: " + repeated(block, size)) <= 2.5


@pytest.mark.parametrize(
    "block", ["\x1b[", "\x1b]a", "a\x08", "data:a/a,", "data:image/png;base64,", "a\u00ad"], ids=ascii
)
def test_the_time_grows_with_the_plain_text(block: str) -> None:
    assert growth(readable, partial(repeated, block)) <= 2.5
