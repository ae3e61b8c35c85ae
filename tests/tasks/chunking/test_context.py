"""What is embedded before a chunk's text: its headings, innermost first where room is short, and its table's header."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks.chunking import ChunkOptions, Tokenizer, chunk_document
from millrace.tasks.documents.markup import read_markdown
from millrace.tasks.records import Chunk, Document, embedded_text


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load("qwen")


def document(text: str, title: str = "Handbook") -> Document:
    read = read_markdown(text)
    return Document("a.md", text, title, "0" * 64, headings=read.headings, tables=read.tables)


def chunks(one: Document, tokenizer: Tokenizer, max_tokens: int = 128) -> list[Chunk]:
    return list(chunk_document(one, tokenizer, ChunkOptions(max_tokens=max_tokens, context="headings")))


def test_title_and_headings_stand_before_the_text_and_are_no_part_of_it(tokenizer: Tokenizer) -> None:
    one = document("# Mill\n\nstone wheel " + "water " * 60 + "\n\n## Gates 闸门\n\n" + "shut " * 80)
    first, *_, last = chunks(one, tokenizer)
    assert (first.context, last.context) == ("Handbook > Mill", "Handbook > Mill > Gates 闸门")
    assert all(one.text[chunk.start : chunk.end] == chunk.content for chunk in chunks(one, tokenizer))
    assert last.metadata()["embedded_context"] == last.context
    assert last.embedded_tokens == tokenizer.count(embedded_text(last.content, last.context))


def test_a_title_that_is_the_first_heading_is_not_repeated(tokenizer: Tokenizer) -> None:
    [only] = chunks(document("# Mill\n\nwheel", title="Mill"), tokenizer)
    assert only.context == "Mill"


def test_where_room_is_short_the_innermost_headings_are_kept(tokenizer: Tokenizer) -> None:
    long = "A very long heading about the weir and the river that flows past it every day of the year"
    one = document(f"# {long}\n\n## Keys\n\n" + "wheel " * 90)
    assert chunks(one, tokenizer)[-1].context == "Keys"


def test_each_piece_of_a_cut_table_has_its_header_row(tokenizer: Tokenizer) -> None:
    rows = "\n".join(f"| {n} | red | leave by the upper door number {n} |" for n in range(40))
    one = document(f"# Mill\n\n| No | State | Meaning |\n|---|---|---|\n{rows}\n\nAfter the table.")
    first, *pieces = chunks(one, tokenizer)
    assert "| No | State | Meaning |" in first.content
    assert len(pieces) > 3
    for piece in pieces[:-1]:
        assert piece.context == "Handbook > Mill\n| No | State | Meaning |"
        assert "| No |" not in piece.content


@settings(max_examples=40)
@given(
    st.lists(
        st.sampled_from(["# A b c", "## 闸门 d", "word " * 30, "字" * 40, "| a | b |\n|---|---|\n| 1 | 2 |"]),
        max_size=12,
    )
)
def test_what_is_embedded_keeps_the_bound(parts: list[str]) -> None:
    tokenizer = Tokenizer.load("qwen")
    for chunk in chunks(document("\n\n".join(parts)), tokenizer, max_tokens=64):
        assert tokenizer.count(embedded_text(chunk.content, chunk.context)) <= 64
        assert chunk.tokens == tokenizer.count(chunk.content)
