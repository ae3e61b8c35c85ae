"""Markdown, reStructuredText and plain text take a time that grows with their length, whatever is in them."""

from collections.abc import Callable

import pytest

from millrace.tasks.documents.markup import read_markdown, read_restructured
from millrace.tasks.documents.plain_text import readable
from tests.tasks.documents.growth import growth, hostile_texts

PIECES = [
    "# a" + " " * 30, "[", "](", "![", "<a", "`", "``a", "*a", "**a", "~~a", "\\", "{#", "<!--", "<!--`", "<h1 ", "<h1>",
    "<h1>\n", "\n<h2 ", "\n# ", "\n#", "\n```", "\n~~~~", "---\n", "\n---", "\n===", "\n----- x", "a\n", ":a:a", ":a:`", "``",
    "`a <", "_", "a_ ", "\n=====\nT\n", "\nT\n=", " ", "\t", "\n", "word ", "中", "\n- ", "\n> ", "title: ", "\x1b[", "\x1b]a",
    "\x1b", "a\x08", "data:a/a,", "data:image/png;base64,", "A", "\u200b", "\u00ad", "...\n", "</h1", "&amp",
]  # fmt: skip
TEXTS = list(hostile_texts(PIECES, seeds=8))
IDS = [ascii(block) for block, _ in TEXTS]


@pytest.mark.parametrize(("block", "repeated"), TEXTS, ids=IDS)
@pytest.mark.parametrize("start", ["", "# "], ids=["", "heading"])
def test_the_time_grows_with_the_markdown(start: str, block: str, repeated: Callable[[int], str]) -> None:
    assert growth(read_markdown, lambda size: start + repeated(size)) <= 2.5, block


@pytest.mark.parametrize(("block", "repeated"), TEXTS, ids=IDS)
def test_the_time_grows_with_the_restructured_text(block: str, repeated: Callable[[int], str]) -> None:
    assert growth(read_restructured, lambda size: repeated(size) + "\n====\n") <= 2.5, block


@pytest.mark.parametrize("block", ["title: ", " a: b\n", "\n", "...", "'", "  x\n"])
def test_the_time_grows_with_the_front_matter(block: str) -> None:
    assert growth(read_markdown, lambda size: "---\ntitle: " + block * (size // len(block))) <= 2.5


@pytest.mark.parametrize(
    "block", ["\x1b[", "\x1b]a", "\x1b", "a\x08", "data:a/a,", "data:image/png;base64,", "a\u00ad"]
)
def test_the_time_grows_with_the_plain_text(block: str) -> None:
    assert growth(readable, lambda size: block * (size // len(block))) <= 2.5
