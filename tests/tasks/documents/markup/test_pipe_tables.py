"""Markdown tables: where each begins, where its rows do, and where it ends."""

import pytest

from millrace.tasks.documents.markup.pipe_tables import find_tables

TABLE = "| a | b |\n|---|:-:|\n| 1 | 2 |\n| 3 | 4 |"


def pieces(text: str) -> list[tuple[str, str]]:
    return [(text[t.start : t.body], text[t.body : t.end]) for t in find_tables(text)]


@pytest.mark.parametrize("after", ["", "\n", "\n\nafter", "\nno pipe here"])
def test_a_table_has_a_head_and_rows(after: str) -> None:
    assert pieces(f"before\n\n{TABLE}{after}") == [("| a | b |\n|---|:-:|\n", "| 1 | 2 |\n| 3 | 4 |")]


def test_outer_pipes_may_lack_and_tables_follow_each_other() -> None:
    assert pieces("a | b\n--|--\n1 | 2\n\n" + TABLE)[0] == ("a | b\n--|--\n", "1 | 2")
    assert len(pieces("a | b\n--|--\n1 | 2\n\n" + TABLE)) == 2


@pytest.mark.parametrize("text", ["", "---", "a | b", "Title\n-----\n", "|---|---|", "\n|---|---|\nx", "a\n|---|\nb"])
def test_what_is_no_table(text: str) -> None:
    assert pieces(text) == []


def test_a_header_alone_has_no_rows() -> None:
    assert pieces("a | b\n--|--") == [("a | b\n--|--", "")]
